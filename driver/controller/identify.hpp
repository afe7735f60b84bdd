// What a controller tells about itself and its namespaces: Identify and Get Log Page, as admin commands that wait. From
// any thread. Errors: the controller refuses the command, or does not answer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/controller/namespace_identity.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/driver/spec/log.hpp"

namespace pollux::nvme {

// NN may be 2^32 - 1, and a controller could list as many, or take its time for each.
inline constexpr std::size_t kMaxNamespaces = 65536;
inline constexpr std::uint32_t kNamespacesTimeoutMs = 60'000;

// Active namespaces, ascending. Where the controller does not give that list, as before NVMe 1.1, whose CNS has one
// bit: those of 1..NN, 1024 at most, that Identify does not refuse and that have a size. Bounded by
// kNamespacesTimeoutMs and one command's own time. Errors besides: more than kMaxNamespaces; Identify refuses every one
// of 1..NN.
Result<std::vector<std::uint32_t>> active_namespaces(Controller& controller);

// Namespaces that exist in the subsystem, attached to this controller or not, ascending, 1024 at most; empty where the
// controller has no namespace management, or does not tell. Source: NVMe base 2.0c, 5.17.2, CNS 10h.
std::vector<std::uint32_t> allocated_namespaces(Controller& controller);

// All zeros for a namespace that is not active.
Result<IdentifyNamespace> identify_namespace(Controller& controller, std::uint32_t nsid);

// The limits of the NVM command set; all zeros, which is "none reported", before NVMe 2.0.
Result<IdentifyControllerNvm> identify_nvm(Controller& controller);

// Namespace identification descriptors; empty where the controller has none, as before NVMe 1.3.
Result<std::vector<NsId>> namespace_descriptors(Controller& controller, std::uint32_t nsid);

// The command set of an active namespace with these descriptors: what they say, else in whose list of active namespaces
// (CNS 07h) it stands; the NVM command set where the controller knows no other (CAP.CSS). Error besides: a controller
// that knows several, and of which neither tells.
Result<CommandSet> command_set(Controller& controller, std::uint32_t nsid, std::span<const NsId> descriptors);

// "zoned", "key value", …; "unknown".
const char* name_of(CommandSet set);

Result<SmartLog> smart_log(Controller& controller);

}  // namespace pollux::nvme
