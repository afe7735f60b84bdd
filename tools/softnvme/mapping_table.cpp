#include "pollux/tools/softnvme/mapping_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace pollux::softnvme {

Window MappingTable::window(std::uint64_t iova) const {
  auto after = windows_.upper_bound(iova);
  if (after == windows_.begin()) return {};
  const Window& window = std::prev(after)->second;
  return window.holds(iova) ? window : Window{};
}

Result<void> MappingTable::map(const vfio::DmaMapping& mapping, std::span<const vfio::IovaRange> usable) {
  const std::string what = fmt::format("soft: mapping {} bytes at IOVA {:#x} failed", mapping.size_bytes, mapping.iova);
  const std::uint64_t last = mapping.iova + mapping.size_bytes - 1;
  const auto address = reinterpret_cast<std::uintptr_t>(mapping.address);
  if (mapping.size_bytes == 0 || last < mapping.iova ||
      ((mapping.size_bytes | mapping.iova | address) & (kGranuleBytes - 1)) != 0) {
    return fail_errno(EINVAL, what, fmt::format("address, IOVA and size are multiples of {}", kGranuleBytes));
  }
  if (!mapping.device_may_read && !mapping.device_may_write) {
    return fail_errno(EINVAL, what, "a mapping lets the device read, write, or both");
  }
  if (std::ranges::none_of(
          usable, [&](const vfio::IovaRange& range) { return mapping.iova >= range.first && last <= range.last; })) {
    return fail_errno(EINVAL, what, "it lies outside the usable ranges");
  }
  const auto after = windows_.upper_bound(last);
  if (after != windows_.begin()) {
    const Window& below = std::prev(after)->second;
    if (below.iova + (below.size_bytes - 1) >= mapping.iova) {
      return fail_errno(EEXIST, what, fmt::format("{} bytes are mapped at {:#x}", below.size_bytes, below.iova));
    }
  }
  if (mappings_left() == 0) return fail_errno(ENOSPC, what, fmt::format("{} mappings are the limit", kMaxMappings));
  windows_.emplace(mapping.iova, Window{mapping.iova, mapping.size_bytes, static_cast<std::byte*>(mapping.address),
                                        mapping.device_may_read, mapping.device_may_write});
  changed();
  return {};
}

Result<void> MappingTable::unmap(vfio::Iova iova, std::uint64_t size_bytes) {
  const auto it = windows_.find(iova);
  if (it == windows_.end() || it->second.size_bytes != size_bytes) {
    return fail_errno(ENOENT, fmt::format("soft: unmapping {} bytes at IOVA {:#x} failed", size_bytes, iova),
                      "no mapping was made of just these");
  }
  windows_.erase(it);
  changed();
  return {};
}

}  // namespace pollux::softnvme
