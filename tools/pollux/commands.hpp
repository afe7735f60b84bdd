// The commands of `pollux`, a file each. Every one prints its result to stdout, or returns the one line that says why
// there is none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/binding.hpp"

namespace pollux::cli {

enum class Format { text, json };

struct Machine;  // doctor/machine.hpp

// What is between here and I/O: on this machine, and on one drive, or on all of them where `address` is empty. The exit
// code: 0 nothing, 1 something is in the way, 3 nothing but warnings.
Result<int> doctor(const Machine& machine, const std::string& address, Format format);

// Makes the machine ready for a user, and drives if any are named, over boots too; or takes that back.
struct SetupRequest {
  std::string user;
  std::vector<std::string> words;  // as bind()
  std::uint64_t hugepages = 64;    // of 2 MiB
  bool dry_run = false;
  bool undo = false;
};
Result<void> setup(const SetupRequest& request);

// The drives as `nvme list` has them, and those that the kernel does not drive.
Result<void> list(Format format);

// Hugepages; and of each function its driver, its group and whether that is viable, and who uses it.
Result<void> status(Format format);

// Gives functions to vfio-pci, or back to nvme: all or none. Each word is an address or a pattern of ids (targets.hpp).
// A signal that ends the program waits until they have changed hands.
Result<void> bind(const std::vector<std::string>& words, vfio::BindWay way);
Result<void> unbind(const std::vector<std::string>& words);

// The virtual functions of a function, as a table; `count`: how many it shall have from now on.
Result<void> vfs(const std::string& address, std::optional<unsigned> count, Format format);

// Opens a device and tells what was met on the way: container, group, device, regions, interrupts, DMA, controller,
// namespaces.
Result<void> info(const std::string& address, Format format);

// The same of the kernel's objects alone, drawn, each with the call and the kernel's function that told it.
Result<void> info_kernel(const std::string& address, Format format);

}  // namespace pollux::cli
