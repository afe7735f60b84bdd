// A controller that is given up and that nothing cuts off from memory: neither Bus Master nor a reset. And one behind a
// socket, where Bus Master is a note in a program.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

struct Unstoppable {
  Unstoppable() {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}}};
    drive = *open_played(std::move(controller));
    buffer = *drive->allocate(4096);
    played->device->closed = &closed;
    played->device->config_is_dead = true;
  }
  std::string give_up() {
    std::memcpy(played->identity.sn, "OTHER1", 6);  // what a reset does not cure
    const auto reset = drive->reset();
    REQUIRE_FALSE(reset);
    return drive->poll().error().message();
  }

  PlayedController* played;
  std::unique_ptr<Drive> drive;
  dma::Buffer buffer;
  bool closed = false;
};

struct Served {
  explicit Served(std::uint32_t reconnect_ms = 0) {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}}};
    drive = *open_played(std::move(controller), "test:", reconnect_ms);
    played->device->reaches_memory = true;
    played->device->on_release = [this] { phase_at_release = phase_at_release.value_or(phase()); };
    played->device->closed = &closed;
  }
  Pulse::Phase phase() const { return Pulse{drive->controller().pulse().load()}.phase(); }

  PlayedController* played;
  bool closed = false;
  std::optional<Pulse::Phase> phase_at_release;  // the first
  std::unique_ptr<Drive> drive;
};

}  // namespace

TEST_CASE("a server has parted with the memory before an owner is told that its controller is gone") {
  Served one;
  SECTION("it is given up, and lives") {
    std::memcpy(one.played->identity.sn, "OTHER1", 6);
    CHECK_FALSE(one.drive->reset());
  }
  SECTION("its registers are gone, and its config space lives") {
    one.played->device->word(reg::kVs) = 0;
    one.played->device->word(reg::kCsts) = 0;
    CHECK_FALSE(one.drive->poll());
  }
  CHECK(one.phase() == Pulse::Phase::gone);
  REQUIRE(one.phase_at_release);
  CHECK(*one.phase_at_release != Pulse::Phase::gone);
}

TEST_CASE("a server that is waited for has parted with the memory when its drive is closed") {
  Served one(60'000);
  auto* const device = one.played->device;
  device->comes_back = [] {};
  device->word(reg::kVs) = 0;
  device->word(reg::kCsts) = 0;
  CHECK(one.drive->poll());
  CHECK(one.played->device->releases == 0);
  bool was_open = false;
  device->on_release = [&] { was_open = !one.closed; };
  one.drive.reset();
  CHECK(was_open);
  CHECK(one.closed);
}

TEST_CASE("behind an IOMMU a device that cannot be cut off is closed, which takes its memory away") {
  Unstoppable one;
  (void)one.give_up();
  CHECK(one.played->device->releases > 0);
  one.drive.reset();
  CHECK(one.closed);
}

TEST_CASE(
    "without an IOMMU a device that cannot be cut off stays claimed, and its memory mapped, and the error says so") {
  Unstoppable one;
  one.played->wants.physical_addresses = true;
  CHECK(one.give_up().find("stays claimed until this process ends") != std::string::npos);
  CHECK(one.played->device->releases == 0);
  std::byte* const data = one.buffer.slice().data;
  const unsigned unmaps = one.played->unmaps;
  one.drive.reset();
  one.buffer = {};
  CHECK_FALSE(one.closed);
  CHECK(one.played->unmaps == unmaps);
  *data = std::byte{1};  // nobody else's: it would be a SIGSEGV
}

}  // namespace pollux::nvme
