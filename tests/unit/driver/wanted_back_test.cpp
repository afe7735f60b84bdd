// The machine asks for its device (VFIO's request interrupt: it is being unbound or removed) while an admin command of
// minutes runs.
#include <sys/eventfd.h>

#include "played_namespaces.hpp"

namespace pollux::nvme {

TEST_CASE("a device that the machine wants back is given back although an admin command runs for an hour") {
  constexpr std::uint32_t kHourMs = 3'600'000;
  auto controller = std::make_unique<PlayedController>();
  PlayedController& played = *controller;
  played.identify = PlayedNamespaces{.all = {{.nsid = 1}}};
  const auto drive = *open_played(std::move(controller));
  played.other = [&](const Command& command, std::uint32_t&) {
    if (static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0)) == AdminOpcode::format_nvm) {
      played.hangs = true;
      REQUIRE(eventfd_write(played.device->request_fd, 1) == 0);
    }
    return Status{};
  };
  Command format;
  format.cdw0 = static_cast<std::uint32_t>(AdminOpcode::format_nvm);
  format.nsid = 1;
  const std::uint64_t start_ns = played.clock.now_;
  const auto done = drive->controller().admin(format, {}, DataDirection::none, kHourMs);
  REQUIRE_FALSE(done);
  CHECK(done.error().what.find("the machine wants the drive back") != std::string::npos);
  CHECK(played.clock.now_ - start_ns < 1'000 * kNsPerMs);
  CHECK(played.device->releases == 0);

  const auto polled = drive->poll();
  REQUIRE_FALSE(polled);
  CHECK(polled.error().what.find("the machine wants the drive back") != std::string::npos);
  CHECK(played.device->releases == 1);
}

}  // namespace pollux::nvme
