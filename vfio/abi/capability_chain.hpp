// The capability chain that follows VFIO's info structures: a header {id, version, next}, `next` an offset from the
// structure's start, 0 at the end. Region info and IOMMU info share it. The bytes may come from a peer that is not the
// kernel: every step is checked against the buffer, and a chain that comes back to itself ends at kMaxInfoCapabilities.
// Source: linux/vfio.h, struct vfio_info_cap_header.
#pragma once

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

inline constexpr unsigned kMaxInfoCapabilities = 64;  // the kernel defines fewer than ten for any one structure

struct InfoCapability {
  std::uint16_t id;
  std::uint16_t version;
  std::span<const std::byte> bytes;  // from its header to the end of the buffer
};

// A T at the start of `bytes`, or an Error where they end too early. T is a plain structure of the ABI.
template <typename T>
Result<T> read_struct(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(T))
    return fail(fmt::format("VFIO answered with {} bytes where a structure has {}", bytes.size(), sizeof(T)));
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Calls visit(const InfoCapability&), which returns Result<void>, for each capability from offset `first` on (0: there
// is none). `info` is the whole structure as answered. Errors: a step out of the buffer, a chain without an end, the
// visitor's own.
template <typename Visit>
Result<void> walk_capabilities(std::span<const std::byte> info, std::uint32_t first, Visit&& visit) {
  std::uint32_t offset = first;
  for (unsigned steps = 0; offset != 0; steps++) {
    if (steps == kMaxInfoCapabilities)
      return fail(fmt::format("VFIO's capability chain does not end within {} steps", kMaxInfoCapabilities));
    if (offset > info.size())
      return fail(fmt::format("VFIO's capability chain leads to byte {} of {}", offset, info.size()));
    const auto bytes = info.subspan(offset);
    const auto header = read_struct<vfio_info_cap_header>(bytes);
    if (!header) return std::unexpected(header.error());
    if (auto done = visit(InfoCapability{header->id, header->version, bytes}); !done) return done;
    offset = header->next;
  }
  return {};
}

}  // namespace pollux::vfio
