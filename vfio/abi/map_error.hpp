// Why the kernel refused a DMA mapping, in numbers that a person can act on: how much locked memory is needed and what
// the limit is, which ranges there are, how many mappings are left. Apart from the container, so that each answer can
// be tested without an IOMMU. Source: drivers/vfio/vfio_iommu_type1.c, vfio_dma_do_map.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

// What this process may lock, and has locked and pinned. type1 charges every mapped page as locked, iommufd as pinned,
// unless the process holds CAP_IPC_LOCK.
struct Memlock {
  std::optional<std::uint64_t> limit_bytes;  // nothing: unlimited, or waived by CAP_IPC_LOCK
  std::uint64_t locked_bytes = 0;
  std::uint64_t pinned_bytes = 0;
  bool of_user =
      false;  // the limit holds for the sum over all processes of this user (iommufd), and so does locked_bytes
};

// Of this process, now: RLIMIT_MEMLOCK, and VmLck, VmPin and CapEff of /proc/self/status.
Memlock current_memlock();

// What the processes of a user have pinned together, as far as /proc shows them: the sum that iommufd compares with the
// limit of each.
std::uint64_t pinned_by_user(const Sysfs& sysfs, unsigned uid);

struct MapState {
  std::uint64_t page_sizes = 0;
  std::vector<IovaRange> ranges;
  std::optional<std::uint32_t> mappings_left;
  Memlock memlock;
};

// The Error for VFIO_IOMMU_MAP_DMA that failed with `os_error`.
Error explain_map_error(const DmaMapping& mapping, int os_error, const MapState& state);

}  // namespace pollux::vfio
