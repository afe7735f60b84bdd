// Virtualization Management: a primary controller, such as that of a physical function, shares queues and interrupts
// out among its secondary controllers, such as those of its virtual functions, and puts them online. Admin commands to
// the primary that wait; from any thread. The virtual functions themselves: vfio/virtual_functions.hpp.
//
// Errors of all: not a primary controller, the controller refuses the command, does not answer, or tells what cannot
// be. NVMe base 2.0c, 5.28, 8.26.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/identify.hpp"

namespace pollux::nvme {

// The counts of one kind of resource: VQ, a submission and a completion queue, or VI, an interrupt vector.
struct Resources {
  bool flexible = false;  // false: each controller has its own for good, and what follows is 0
  std::uint32_t total = 0;
  std::uint32_t of_secondaries = 0;
  std::uint16_t of_primary = 0;     // until the next reset of its function, whatever was allocated since
  std::uint16_t secondary_max = 0;  // what one secondary controller may have

  std::uint32_t unassigned() const { return total - of_secondaries - of_primary; }
};

struct PrimaryController {
  std::uint16_t id = 0;  // CNTLID
  Resources queues;      // VQ: one of a controller's is its admin queue
  Resources interrupts;  // VI
};
Result<PrimaryController> primary_controller(Controller& primary);

struct SecondaryController {
  std::uint16_t id = 0;                // CNTLID
  std::uint16_t virtual_function = 0;  // from 1; 0: it is none
  bool online = false;
  std::uint16_t queues = 0;      // VQ
  std::uint16_t interrupts = 0;  // VI
};
// By id. Most are offline and have nothing.
Result<std::vector<SecondaryController>> secondary_controllers(Controller& primary);

// How many flexible resources the primary keeps for itself, beside its private ones. It is the number after the next
// reset of its function: close the drive and open it again, with VFIO that resets it. Returns what the controller made
// of `count`. Survives power cycles.
Result<std::uint16_t> allocate_to_primary(Controller& primary, ResourceType type, std::uint16_t count);

// What a virtual function is to have: I/O queue pairs, and interrupt vectors. Vector 0 is the admin queue's; a channel
// that sleeps (Wait) has the vector of its queue, so where all do there is one more vector than there are queue pairs.
struct SecondaryWants {
  std::uint16_t io_queues = 1;
  std::uint16_t interrupts = 1;
};

// Gives virtual function `number`, from 1, its resources and puts it online; it can be opened then. One that is online
// with as much stays as it is. Errors: no such virtual function; more than one may have, or than is unassigned (says
// what to allocate to the primary); online with less.
Result<void> bring_online(Controller& primary, std::uint16_t number, const SecondaryWants& wants = {});

// Takes it offline and its resources away. Close its drive before: whoever drives it loses it.
Result<void> take_offline(Controller& primary, std::uint16_t number);

// What Identify returns, checked. `from`: the lowest controller id that was asked for.
Result<PrimaryController> decode(const PrimaryControllerCapabilities& page);
Result<std::vector<SecondaryController>> decode(const SecondaryControllerList& page, std::uint16_t primary_id,
                                                std::uint32_t from);

}  // namespace pollux::nvme
