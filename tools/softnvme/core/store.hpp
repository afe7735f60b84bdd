// Where a namespace keeps its blocks: bytes by offset. What was never written, or was zeroed, reads as zeros. Offsets
// and lengths lie inside the namespace: the core has checked them. Called by the thread that steps the core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::softnvme {

class Store {
 public:
  virtual ~Store() = default;

  // False: the medium failed; the command is answered with Unrecovered Read Error or Write Fault.
  virtual bool read(std::uint64_t offset, std::span<std::byte> into) = 0;
  virtual bool write(std::uint64_t offset, std::span<const std::byte> from) = 0;

  // Makes a range read as zeros; gives its space back where that is possible.
  virtual bool zero(std::uint64_t offset, std::uint64_t size_bytes) = 0;

  // Makes everything written so far durable.
  virtual bool flush() = 0;
};

}  // namespace pollux::softnvme
