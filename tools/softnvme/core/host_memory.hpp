// The host's memory as the controller reaches it: I/O virtual addresses to pointers. Whoever runs a core implements
// this; a table of mappings in-process, a vfio-user client's files behind a socket. Called by the thread that steps the
// core, and it may change only between two steps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pollux::softnvme {

// One stretch of IOVA that is contiguous in memory. size_bytes = 0: nothing is mapped there. Bounds are multiples of 4
// KiB.
struct Window {
  std::uint64_t iova = 0;
  std::uint64_t size_bytes = 0;
  std::byte* host = nullptr;
  bool device_may_read = false;
  bool device_may_write = false;

  bool holds(std::uint64_t address) const { return address - iova < size_bytes; }
};

class HostMemory {
 public:
  virtual ~HostMemory() = default;

  // The window that holds `iova`.
  virtual Window window(std::uint64_t iova) const = 0;

  // Grows with every change of what is mapped: the core keeps windows until then.
  std::uint64_t generation() const { return generation_; }

 protected:
  void changed() { ++generation_; }

 private:
  std::uint64_t generation_ = 1;
};

}  // namespace pollux::softnvme
