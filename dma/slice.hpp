// A stretch of memory that the device can reach: where we see it and where the device sees it. A view: whoever made the
// Buffer or the Registration behind it keeps that alive until no command names it. It knows whose memory it is: a
// channel refuses one of another drive's space, and one that lies nowhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/vfio/device.hpp"

namespace pollux::dma {

// Which Space memory is reachable in. Even numbers that are never used twice in a process: a slice that outlived its
// space is nobody's. The odd one after it is that of memory which the devices of the space may only read.
using SpaceId = std::uint64_t;
inline constexpr SpaceId kNoSpace = ~SpaceId{0};
constexpr SpaceId only_read(SpaceId space) { return space | 1; }

struct Slice {
  std::byte* data = nullptr;
  vfio::Iova iova = 0;
  std::uint64_t size_bytes = 0;
  SpaceId space = kNoSpace;

  // handle + offset is an addition, never a lookup. What does not lie within this slice is an empty one, of no space
  // and at a null pointer: every submission refuses it.
  constexpr Slice part(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset > size_bytes || bytes > size_bytes - offset) [[unlikely]]
      return {};
    return {data + offset, iova + offset, bytes, space};
  }
};

}  // namespace pollux::dma
