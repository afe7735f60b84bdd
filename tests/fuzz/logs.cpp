// Log pages and asynchronous events of a controller that was good until it was up: any event at any time, any bytes in
// its page, any completion of the commands that fetch it. Events come out in a bounded number, with a text, and the
// page is as long as that kind has.
#include <memory>

#include "hostile_controller.hpp"
#include "pollux/driver/block/block.hpp"
#include "pollux/driver/controller/identify.hpp"

using namespace pollux;
using fuzz::must;

namespace {

constexpr unsigned kMostTurns = 64;

void check(const Event& event) {
  must(!event.text().empty(), "an event has a text");
  must(event.log.size() <= nvme::kAdminDataBytes, "a page is not longer than what was asked for");
  must(event.changed_namespaces().size() <= nvme::kNsListEntries, "as many namespaces as the page names");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  fuzz::HostileController device(input, true);
  const vfio::Scheme scheme = fuzz::HostileController::scheme();
  auto drive = Drive::open("fuzz:", {.schemes = {&scheme, 1}, .io_queues = 1, .clock = &device});
  if (!drive) return 0;
  device.be_hostile();
  for (unsigned turn = 0; turn < kMostTurns && !input.at_end(); ++turn) {
    const std::uint8_t action = input.u8();
    switch (action % 4) {
      case 0:
        device.raise_event(input.u32());
        break;
      case 1:
        device.step();
        break;
      case 2:
        if (const auto event = (*drive)->take_event()) check(*event);
        break;
      case 3:
        (void)nvme::smart_log((*drive)->controller());
        break;
    }
    (void)(*drive)->poll();
  }
  std::size_t events = 0;
  while (const auto event = (*drive)->take_event()) {
    check(*event);
    must(++events <= nvme::Controller::kMaxEvents, "events wait in a bounded number");
  }
  return 0;
}
