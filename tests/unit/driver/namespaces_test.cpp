// The list of active namespaces, from controllers that do not let it end or do not know it.
#include "played_controller.hpp"
#include "pollux/driver/identify.hpp"

namespace pollux::nvme {
namespace {

PlayedController* played = nullptr;  // the drive owns it

std::unique_ptr<Drive> open(const std::string& address = "test:",
                            const std::function<void(PlayedController&)>& prepare = nullptr) {
  auto controller = std::make_unique<PlayedController>();
  played = controller.get();
  if (prepare) prepare(*controller);
  auto drive = open_played(std::move(controller), address);
  if (!drive) FAIL(drive.error().message());
  return std::move(*drive);
}

Status refused(StatusCode code) { return Status::from(code, true); }

// As many as fit, from the namespace that was asked for on.
Status list_on(const Command& command, std::byte* page) {
  for (std::uint32_t i = 0; i < kNsListEntries; ++i) {
    const std::uint32_t nsid = command.nsid + 1 + i;
    std::memcpy(page + i * sizeof nsid, &nsid, sizeof nsid);
  }
  return {};
}

}  // namespace

TEST_CASE("a list of active namespaces that goes on and on is refused at a limit") {
  const auto drive = open();
  played->identify = list_on;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.ends_with("more than 65536 active namespaces"));
  CHECK(played->asked <= kMaxNamespaces / kNsListEntries + 1);
}

TEST_CASE("a controller that takes its time for each answer is not waited for namespace by namespace") {
  const auto drive = open();
  played->command_ns = 10'000 * kNsPerMs;  // within the bound of each command
  const bool knows_lists = GENERATE(true, false);
  played->identify = [knows_lists](const Command& command, std::byte* page) {
    if (cns_of(command) != Cns::active_ns_list) return Status{};
    return knows_lists ? list_on(command, page) : refused(StatusCode::invalid_field);
  };
  const std::uint64_t start_ns = played->clock.now_;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.find("could not be listed within 60000 ms") != std::string::npos);
  CHECK(played->clock.now_ - start_ns <= 90'000 * kNsPerMs);
}

}  // namespace pollux::nvme
