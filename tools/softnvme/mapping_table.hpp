// What is mapped in a soft: address space: IOVA to memory. Guarded by its owner, who also keeps every controller still
// while it changes.
#pragma once

#include <cstdint>
#include <map>

#include "pollux/tools/softnvme/core/host_memory.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::softnvme {

class MappingTable final : public HostMemory {
 public:
  Window window(std::uint64_t iova) const override;

  // Errors are the kernel's (type1v2): EINVAL, EEXIST, ENOSPC.
  Result<void> map(const vfio::DmaMapping& mapping, std::span<const vfio::IovaRange> usable);
  // Exactly one mapping. Error: ENOENT.
  Result<void> unmap(vfio::Iova iova, std::uint64_t size_bytes);

  std::uint32_t mappings_left() const { return kMaxMappings - static_cast<std::uint32_t>(windows_.size()); }

  static constexpr std::uint64_t kGranuleBytes = 4096;
  static constexpr std::uint32_t kMaxMappings = 65535;

 private:
  std::map<std::uint64_t, Window> windows_;  // by first IOVA
};

}  // namespace pollux::softnvme
