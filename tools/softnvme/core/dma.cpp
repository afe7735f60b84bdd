#include "pollux/tools/softnvme/core/dma.hpp"

#include <fmt/format.h>

namespace pollux::softnvme {

std::span<std::byte> Dma::find(std::uint64_t iova, std::uint64_t length, Access access) {
  for (unsigned i = 0; i < kept_.size(); ++i) {
    if (kept_[i].holds(iova)) {
      last_ = i;
      return part(kept_[i], iova, length, access);
    }
  }
  const Window window = memory_.window(iova);
  if (window.size_bytes == 0) {
    violations_.add(Rule::dma_unmapped, fmt::format("{} of {} bytes at IOVA {:#x}, which is not mapped",
                                                    access == Access::read ? "read" : "write", length, iova));
    return {};
  }
  last_ = next_;
  next_ = (next_ + 1) % static_cast<unsigned>(kept_.size());
  kept_[last_] = window;
  return part(window, iova, length, access);
}

std::span<std::byte> Dma::forbidden(std::uint64_t iova, std::uint64_t length, Access access) {
  violations_.add(Rule::dma_forbidden, fmt::format("{} of {} bytes at IOVA {:#x}, which is not mapped for that",
                                                   access == Access::read ? "read" : "write", length, iova));
  return {};
}

}  // namespace pollux::softnvme
