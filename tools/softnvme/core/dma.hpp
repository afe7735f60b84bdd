// The controller's way into host memory: IOVA to pointer, with the last windows kept, so that a translation is a
// comparison and an addition. What is not mapped, or not for this direction, is a violation and no pointer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pollux/tools/softnvme/core/host_memory.hpp"
#include "pollux/tools/softnvme/core/violation_log.hpp"

namespace pollux::softnvme {

enum class Access : std::uint8_t { read, write };  // of host memory, by the controller

class Dma {
 public:
  Dma(const HostMemory& memory, ViolationLog& violations) : memory_(memory), violations_(violations) {}

  // The longest contiguous run at `iova` of at most `length` bytes (> 0). Empty after a violation.
  std::span<std::byte> run(std::uint64_t iova, std::uint64_t length, Access access) {
    const Window& window = kept_[last_];
    if (!window.holds(iova)) [[unlikely]]
      return find(iova, length, access);
    return part(window, iova, length, access);
  }

  // Whether anything was mapped or unmapped since the last refresh().
  bool stale() const { return generation_ != memory_.generation(); }

  // The same; drops the windows that were kept.
  bool refresh() {
    if (!stale()) return false;
    generation_ = memory_.generation();
    kept_ = {};
    return true;
  }

 private:
  std::span<std::byte> part(const Window& window, std::uint64_t iova, std::uint64_t length, Access access) {
    if (!(access == Access::read ? window.device_may_read : window.device_may_write)) [[unlikely]] {
      return forbidden(iova, length, access);
    }
    const std::uint64_t offset = iova - window.iova;
    const std::uint64_t left = window.size_bytes - offset;
    return {window.host + offset, length < left ? length : left};
  }
  std::span<std::byte> find(std::uint64_t iova, std::uint64_t length, Access access);
  std::span<std::byte> forbidden(std::uint64_t iova, std::uint64_t length, Access access);

  const HostMemory& memory_;
  ViolationLog& violations_;
  std::array<Window, 4> kept_{};
  unsigned last_ = 0;  // the window that was used last
  unsigned next_ = 0;  // the one to give up next
  std::uint64_t generation_ = 0;
};

}  // namespace pollux::softnvme
