#include "pollux/tools/softnvme/server/shared_memory.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "pollux/tools/softnvme/mapping_table.hpp"
#include "pollux/tools/softnvme/server/fault_guard.hpp"

namespace pollux::softnvme::server {
namespace {

using vfio::user::DmaMapPayload;
using vfio::user::DmaUnmapPayload;

constexpr std::uint64_t kPageMask = MappingTable::kGranuleBytes - 1;
constexpr auto kMaxFileBytes = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
static_assert(MappingTable::kMaxMappings <= fault_guard::kMaxMappings);

std::string range_text(vfio::Iova iova, std::uint64_t size_bytes) {
  return fmt::format("{:#x} bytes at IOVA {:#x}", size_bytes, iova);
}

// Whether so many bytes can be mapped from there on: the end of a file lies where it says, that of a device nobody
// knows.
bool lies_in_file(int fd, std::uint64_t offset, std::uint64_t size_bytes) {
  struct stat info{};
  if (fstat(fd, &info) != 0 || offset > kMaxFileBytes || size_bytes > kMaxFileBytes - offset) return false;
  return !S_ISREG(info.st_mode) || offset + size_bytes <= static_cast<std::uint64_t>(info.st_size);
}

}  // namespace

vfio::Iova SharedMemory::last_byte(const Mappings::value_type& mapping) {
  return mapping.first + (mapping.second.size_bytes - 1);
}

bool SharedMemory::overlaps(vfio::Iova first, vfio::Iova last) const {
  const auto after = mappings_.upper_bound(last);
  if (after == mappings_.begin()) return false;
  const auto below = std::prev(after);
  return last_byte(*below) >= first;
}

Result<void> SharedMemory::map(const DmaMapPayload& wanted, const vfio::FileDescriptor& file) {
  const std::string range = range_text(wanted.iova, wanted.size_bytes);
  constexpr std::uint32_t kFlags = DmaMapPayload::kReadable | DmaMapPayload::kWriteable;
  if (wanted.argsz < sizeof wanted || wanted.flags == 0 || (wanted.flags & ~kFlags) != 0)
    return fail_errno(EINVAL, fmt::format("{}: argsz {}, flags {:#x}", range, wanted.argsz, wanted.flags));
  const vfio::Iova last = wanted.iova + (wanted.size_bytes - 1);
  if (wanted.size_bytes == 0 || last < wanted.iova || ((wanted.iova | wanted.size_bytes) & kPageMask) != 0)
    return fail_errno(EINVAL, range + ": no whole pages below 2^64");
  if (overlaps(wanted.iova, last)) return fail_errno(EEXIST, range + ": some of it is mapped");
  if (mappings_.size() == MappingTable::kMaxMappings)
    return fail_errno(ENOSPC, fmt::format("{}: {} mappings are the limit", range, MappingTable::kMaxMappings));
  Mapping mapping{.size_bytes = wanted.size_bytes};
  if (file) {
    if (const Result<void> mapped = map_file(wanted, file, mapping); !mapped) return mapped;
  }
  mappings_.emplace(wanted.iova, mapping);
  return {};
}

Result<void> SharedMemory::map_file(const DmaMapPayload& wanted, const vfio::FileDescriptor& file, Mapping& mapping) {
  const std::string range = range_text(wanted.iova, wanted.size_bytes);
  if ((wanted.fd_offset & kPageMask) != 0 || !lies_in_file(file.get(), wanted.fd_offset, wanted.size_bytes))
    return fail_errno(EINVAL, fmt::format("{}: no whole pages of the file at {:#x}", range, wanted.fd_offset));
  const bool writeable = (wanted.flags & DmaMapPayload::kWriteable) != 0;
  void* const address = mmap(nullptr, wanted.size_bytes, PROT_READ | (writeable ? PROT_WRITE : 0), MAP_SHARED,
                             file.get(), static_cast<off_t>(wanted.fd_offset));
  if (address == MAP_FAILED) return fail_errno(errno, range + ": mmap");
  mapping.address = address;
  mapping.slot = fault_guard::publish(address, wanted.size_bytes);
  Result<void> mapped = space_.map({.address = address,
                                    .iova = wanted.iova,
                                    .size_bytes = wanted.size_bytes,
                                    .device_may_read = (wanted.flags & DmaMapPayload::kReadable) != 0,
                                    .device_may_write = writeable});
  if (!mapped) {
    fault_guard::retract(mapping.slot);
    munmap(address, wanted.size_bytes);
  }
  return mapped;
}

Result<void> SharedMemory::unmap(const DmaUnmapPayload& wanted) {
  const std::string range = range_text(wanted.iova, wanted.size_bytes);
  const bool all = wanted.flags == kUnmapAll && wanted.iova == 0 && wanted.size_bytes == 0;
  if (wanted.argsz < sizeof wanted || (wanted.flags != 0 && !all))
    return fail_errno(EINVAL, fmt::format("{}: argsz {}, flags {:#x}", range, wanted.argsz, wanted.flags));
  if (all) {
    clear();
    return {};
  }
  if (wanted.size_bytes == 0) return {};
  const vfio::Iova last = wanted.iova + (wanted.size_bytes - 1);
  if (last < wanted.iova) return fail_errno(EINVAL, range + ": it ends beyond 2^64");
  auto mapping = mappings_.lower_bound(wanted.iova);
  const auto end = mappings_.upper_bound(last);
  if (mapping != mappings_.begin() && last_byte(*std::prev(mapping)) >= wanted.iova)
    return fail_errno(EINVAL, range + ": it begins within a mapping");
  if (mapping != end && last_byte(*std::prev(end)) > last)
    return fail_errno(EINVAL, range + ": it ends within a mapping");
  while (mapping != end) mapping = remove(mapping);
  return {};
}

SharedMemory::Mappings::iterator SharedMemory::remove(Mappings::iterator mapping) {
  const auto& [size_bytes, address, slot] = mapping->second;
  if (address != nullptr) {
    // From when this returns no controller uses the memory.
    static_cast<void>(space_.unmap(mapping->first, size_bytes));
    fault_guard::retract(slot);
    munmap(address, size_bytes);
  }
  return mappings_.erase(mapping);
}

void SharedMemory::clear() {
  for (auto mapping = mappings_.begin(); mapping != mappings_.end();) mapping = remove(mapping);
}

}  // namespace pollux::softnvme::server
