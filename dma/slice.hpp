// A stretch of memory that the device can reach: where we see it and where the device sees it. A view: whoever made the
// Buffer or the Registration behind it keeps that alive until no command names it.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "pollux/vfio/device.hpp"

namespace pollux::dma {

struct Slice {
  std::byte* data = nullptr;
  vfio::Iova iova = 0;
  std::uint64_t size_bytes = 0;

  // handle + offset is an addition, never a lookup.
  Slice part(std::uint64_t offset, std::uint64_t bytes) const {
    assert(offset <= size_bytes && bytes <= size_bytes - offset);
    return {data + offset, iova + offset, bytes};
  }
};

}  // namespace pollux::dma
