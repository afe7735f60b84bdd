#include "pollux/vfio/memory_kind.hpp"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>

namespace pollux::vfio {
namespace {

// Whether the file lies in memory, where the kernel keeps nothing to be written back: tmpfs, hugetlbfs, ramfs. What no
// path leads to any more (a memfd, shared anonymous memory, a file that was deleted) counts as that.
bool lies_in_memory(const std::string& path) {
  struct statfs found{};
  if (statfs(path.c_str(), &found) != 0) return true;
  return found.f_type == TMPFS_MAGIC || found.f_type == HUGETLBFS_MAGIC || found.f_type == RAMFS_MAGIC;
}

}  // namespace

std::optional<Error> why_not_pinned(const DmaMapping& mapping) {
  if (mapping.size_bytes == 0) return std::nullopt;
  const auto refusal = [&](std::string_view why, std::string advice) {
    return Error{fmt::format("the memory at {} {}", mapping.address, why), std::move(advice), 0};
  };
  std::uint64_t next = reinterpret_cast<std::uintptr_t>(mapping.address);
  const std::uint64_t last = next + (mapping.size_bytes - 1);
  std::ifstream maps("/proc/self/maps");
  if (!maps) return std::nullopt;
  // "BEGIN-END PERMISSIONS OFFSET DEVICE INODE   PATH", ascending; END is the first address behind it.
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin = 0, end = 0;
    char permissions[5] = {};
    int path = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &begin, &end, permissions, &path) != 3)
      continue;
    if (end <= next) continue;
    if (begin > next) break;
    if (mapping.device_may_read && permissions[0] != 'r')
      return refusal("may not be read by this process", "map it with PROT_READ");
    if (mapping.device_may_write && permissions[1] != 'w')
      return refusal("may only be read by this process, and the device would write to it",
                     "register it as const memory, which the device may only read");
    const std::string file = path != 0 ? line.substr(static_cast<std::size_t>(path)) : std::string();
    if (mapping.device_may_write && permissions[3] == 's' && file.starts_with('/') && !lies_in_memory(file))
      return refusal(fmt::format("is a shared mapping of {}, which the kernel does not pin for writing", file),
                     "use memory that has no disk behind it (anonymous, a memfd, tmpfs, hugepages), or map the file "
                     "privately, or register it as const memory, which the device may only read");
    if (last < end) return std::nullopt;
    next = end;
  }
  return refusal(fmt::format("and {} bytes on is not there", mapping.size_bytes), "map it first, all of it");
}

std::uint64_t page_size_of(int fd) {
  constexpr std::uint64_t kPageBytes = 4096;
  struct statfs info{};
  const bool huge = fstatfs(fd, &info) == 0 && info.f_type == HUGETLBFS_MAGIC;
  return huge ? static_cast<std::uint64_t>(info.f_bsize) : kPageBytes;
}

}  // namespace pollux::vfio
