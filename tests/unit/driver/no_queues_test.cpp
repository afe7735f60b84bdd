// A controller that grants no I/O queue: it is opened, identified and administered; channels alone are refused.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

struct WithoutQueues {
  explicit WithoutQueues(const std::function<void(PlayedController&)>& prepare) {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}}};
    prepare(*controller);
    auto opened = open_played(std::move(controller));
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
  }

  void check_admin() {
    CHECK(drive->controller().io_queue_limit() == 0);
    CHECK(drive->controller().serial() == "PLAYED");
    const auto ns = drive->open_namespace();
    REQUIRE(ns);
    CHECK(ns->block_count == 1024);
    CHECK(smart_log(drive->controller()));
    CHECK(drive->poll());
  }
  std::string refusal() {
    const auto channel = drive->open_channel(*drive->open_namespace());
    REQUIRE_FALSE(channel);
    return channel.error().message();
  }

  PlayedController* played = nullptr;
  std::unique_ptr<Drive> drive;
};

bool sets_number_of_queues(const Command& command) {
  return cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(AdminOpcode::set_features) &&
         features::kFid.of(command.cdw10) == static_cast<unsigned>(FeatureId::number_of_queues);
}

}  // namespace

TEST_CASE("a controller that refuses I/O queues is identified and administered; a channel is refused with its status") {
  WithoutQueues one([](PlayedController& controller) {
    controller.other = [](const Command& command, std::uint32_t&) {
      return sets_number_of_queues(command) ? Status::from(StatusCode::internal_error, true) : Status{};
    };
  });
  one.check_admin();
  CHECK(one.refusal().find("grants no I/O queue: Internal Error (SCT 0h, SC 06h") != std::string::npos);
  REQUIRE(one.drive->reset());
  one.check_admin();
  CHECK(one.drive->shutdown());
}

TEST_CASE("a controller whose firmware was mended in the meantime has queues after a reset") {
  bool refuses = true;
  WithoutQueues one([&](PlayedController& controller) {
    controller.other = [&](const Command& command, std::uint32_t&) {
      return sets_number_of_queues(command) && refuses ? Status::from(StatusCode::invalid_field, true) : Status{};
    };
  });
  refuses = false;
  CHECK(one.refusal().find("grants no I/O queue") != std::string::npos);
  REQUIRE(one.drive->reset());
  CHECK(one.drive->open_channel(*one.drive->open_namespace()));
}

// NVMe base 2.0c, 3.1.2.3 and figure 36: CAP.CSS has bit 7 alone, and CC.CSS is 111b.
TEST_CASE("an administrative controller is asked for no queues, and administered") {
  unsigned asked = 0;
  WithoutQueues one([&](PlayedController& controller) {
    controller.cap = cap::kCss.put(controller.cap, cap::kCssAdminOnly);
    controller.other = [&](const Command& command, std::uint32_t&) {
      asked += sets_number_of_queues(command) ? 1 : 0;
      return Status{};
    };
  });
  CHECK(cc::kCss.of(one.played->device->word(reg::kCc)) == 7);
  one.check_admin();
  CHECK(asked == 0);
  CHECK(one.refusal().find("it has no I/O command set (CAP.CSS)") != std::string::npos);
}

}  // namespace pollux::nvme
