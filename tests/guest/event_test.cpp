// Asynchronous events of a controller that nobody here wrote: QEMU's tells of namespaces that come and go.
#include <array>
#include <cstring>

#include "../conformance/test_device.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::conformance {
namespace {

constexpr std::uint32_t kNamespaceAttachment = 0x15;  // NVMe base 2.0c, 5.19; CDW10: 0 attaches, 1 detaches
constexpr std::uint32_t kAttach = 0, kDetach = 1;
constexpr std::uint32_t kNsid = 9;

// Of one controller: this one.
void select(Drive& drive, std::uint32_t what) {
  std::array<std::uint16_t, 2048> controllers{1,
                                              drive.controller().identity().cntlid};  // figure 275: how many, and who
  nvme::Command command;
  command.cdw0 = kNamespaceAttachment;
  command.nsid = kNsid;
  command.cdw10 = what;
  const auto result = drive.controller().admin(command, std::as_writable_bytes(std::span(controllers)),
                                               nvme::DataDirection::to_controller);
  if (!result) FAIL(result.error().message());
  INFO(result->status.text());
  REQUIRE(result->status.ok());
}

std::optional<Event> next_event(Drive& drive) {
  constexpr std::uint64_t kLimitNs = 10'000 * kNsPerMs;
  const std::uint64_t end_ns = steady_clock().now_ns() + kLimitNs;
  while (steady_clock().now_ns() < end_ns) {
    if (const auto alive = drive.poll(); !alive) FAIL(alive.error().message());
    if (auto event = drive.take_event()) return event;
    steady_clock().pause_ns(kNsPerMs);
  }
  return std::nullopt;
}

TEST_CASE_METHOD(TestDevice, "a namespace that is detached, and attached again, is told of each time", "[events]") {
  REQUIRE(drive->open_namespace(kNsid));
  REQUIRE(drive->poll());  // asks for events
  for (const std::uint32_t what : {kDetach, kAttach, kDetach, kAttach}) {
    select(*drive, what);
    const auto event = next_event(*drive);
    REQUIRE(event);
    CHECK(event->text() == "notice: namespace attribute changed (log page 04h)");
    std::uint32_t changed[2] = {};
    REQUIRE(event->log.size() >= sizeof changed);
    std::memcpy(changed, event->log.data(), sizeof changed);
    CHECK((changed[0] == kNsid && changed[1] == 0));
    CHECK(drive->open_namespace(kNsid).has_value() == (what == kAttach));
  }
  CHECK_FALSE(drive->take_event());
}

}  // namespace
}  // namespace pollux::conformance
