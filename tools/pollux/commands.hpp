// The commands of `pollux`, a file each. Every one prints its result to stdout, or returns the one line that says why
// there is none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pollux/vfio/binding.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::cli {

enum class Format { text, json };

// The NVMe functions of this machine, as a table.
Result<void> list(Format format);

// Of each: its driver, its group and whether that is viable, and who uses it.
Result<void> status(Format format);

// Gives functions to vfio-pci, or back to nvme: all or none. A signal that ends the program waits until they have
// changed hands.
Result<void> bind(const std::vector<std::string>& addresses, vfio::BindWay way);
Result<void> unbind(const std::vector<std::string>& addresses);

// The virtual functions of a function, as a table; `count`: how many it shall have from now on.
Result<void> vfs(const std::string& address, std::optional<unsigned> count, Format format);

// Opens a device and tells what was met on the way: container, group, device, regions, interrupts, DMA, controller,
// namespaces.
Result<void> info(const std::string& address, Format format);

}  // namespace pollux::cli
