#include "pollux/vfio/abi/map_error.hpp"

#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "pollux/vfio/memory_kind.hpp"

namespace pollux::vfio {
namespace {

constexpr std::uint64_t kKiB = 1024;

std::string ranges_text(const std::vector<IovaRange>& ranges) {
  std::string text;
  for (const auto& range : ranges)
    text += fmt::format("{}{:#x}-{:#x}", text.empty() ? "" : ", ", range.first, range.last);
  return text.empty() ? "none" : text;
}

std::string wrong_argument(const DmaMapping& mapping, const MapState& state) {
  const std::uint64_t granule = std::uint64_t{1} << std::countr_zero(state.page_sizes | (std::uint64_t{1} << 63));
  const auto address = reinterpret_cast<std::uintptr_t>(mapping.address);
  if (mapping.size_bytes == 0) return "the size is 0";
  if (((address | mapping.iova | mapping.size_bytes) & (granule - 1)) != 0)
    return fmt::format("address {:#x}, IOVA and size must be multiples of {} bytes", address, granule);
  for (const auto& range : state.ranges)
    if (mapping.iova >= range.first && mapping.iova <= range.last &&
        mapping.size_bytes - 1 <= range.last - mapping.iova)
      return {};
  return fmt::format("the IOMMU's ranges are {}", ranges_text(state.ranges));
}

}  // namespace

Memlock current_memlock() {
  Memlock memlock;
  std::uint64_t capabilities = 0;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmLck:")) memlock.locked_bytes = std::strtoull(line.c_str() + 6, nullptr, 10) * kKiB;
    if (line.starts_with("VmPin:")) memlock.pinned_bytes = std::strtoull(line.c_str() + 6, nullptr, 10) * kKiB;
    if (line.starts_with("CapEff:")) capabilities = std::strtoull(line.c_str() + 7, nullptr, 16);
  }
  rlimit limit{};
  const bool waived = (capabilities >> CAP_IPC_LOCK & 1) != 0;
  if (!waived && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    memlock.limit_bytes = limit.rlim_cur;
  return memlock;
}

std::uint64_t pinned_by_user(const Sysfs& sysfs, unsigned uid) {
  std::uint64_t sum_bytes = 0;
  for (const auto& entry : sysfs.names("/proc")) {
    if (entry.find_first_not_of("0123456789") != std::string::npos) continue;
    bool theirs = false;
    std::ifstream status(sysfs.path("/proc/" + entry + "/status"));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("Uid:")) theirs = std::strtoul(line.c_str() + 4, nullptr, 10) == uid;  // the real one
      if (theirs && line.starts_with("VmPin:")) sum_bytes += std::strtoull(line.c_str() + 6, nullptr, 10) * kKiB;
    }
  }
  return sum_bytes;
}

Error explain_map_error(const DmaMapping& mapping, int os_error, const MapState& state) {
  const auto error = [&](const std::string& why, std::string advice) {
    std::string what = fmt::format("cannot map {} KiB at IOVA {:#x}", mapping.size_bytes / kKiB, mapping.iova);
    if (!why.empty()) what += ": " + why;
    return fail_errno(os_error, std::move(what), std::move(advice)).error();
  };
  switch (os_error) {
    case ENOMEM: {
      const std::uint64_t needed_kib = (state.memlock.locked_bytes + mapping.size_bytes + kKiB - 1) / kKiB;
      if (state.memlock.of_user && state.memlock.limit_bytes) {
        return error(
            fmt::format(
                "all processes of user {} together would lock {} KiB, {} KiB of which this one has, and may have {} "
                "KiB (RLIMIT_MEMLOCK, which iommufd counts by user)",
                getuid(), needed_kib, state.memlock.pinned_bytes / kKiB, *state.memlock.limit_bytes / kKiB),
            fmt::format(
                "end others of this user that hold drives, go by a group (group:BDF), where each process counts "
                "alone, or raise it to the sum of all: \"ulimit -l {0}\" or more, memlock {0} in "
                "/etc/security/limits.conf, or LimitMEMLOCK={0}K in the service",
                needed_kib));
      }
      if (!state.memlock.limit_bytes || needed_kib * kKiB <= *state.memlock.limit_bytes)
        return error("the kernel has no memory to pin it with",
                     "free memory, or check the memory limit of the control group");
      return error(fmt::format("{} KiB of locked memory are needed and the limit (RLIMIT_MEMLOCK) is {} KiB",
                               needed_kib, *state.memlock.limit_bytes / kKiB),
                   fmt::format("raise it: \"ulimit -l {0}\", memlock {0} in /etc/security/limits.conf, "
                               "or LimitMEMLOCK={0}K in the service",
                               needed_kib));
    }
    case ENOSPC:
      return error(fmt::format("no DMA mapping is left in this container{}",
                               state.mappings_left ? fmt::format(" ({} left)", *state.mappings_left) : ""),
                   "map fewer, larger pieces, or raise dma_entry_limit of the module vfio_iommu_type1");
    case EEXIST:
      return error("part of it is mapped already", "unmap that first");
    case EINVAL:
      return error(wrong_argument(mapping, state), {});
    case E2BIG:
      return error("it is larger than this IOMMU takes at once", "map it in smaller pieces");
    case EFAULT:
    case EOPNOTSUPP: {  // the latter for a file on persistent memory (DAX)
      const std::optional<Error> why = why_not_pinned(mapping);
      if (why) return error(why->what, why->advice);
      return error(fmt::format("the kernel cannot pin the memory at {}", mapping.address), {});
    }
    default:
      return error({}, {});
  }
}

}  // namespace pollux::vfio
