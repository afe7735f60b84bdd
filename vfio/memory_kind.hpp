// What is behind memory of this process: whether the kernel pins it for a device, and why not, which /proc/self/maps
// tells, and its file's pages. Apart from the spaces, which ask when the kernel refused, or instead of the kernel.
// Source: the kernel's mm/gup.c, check_vma_flags() and writable_file_mapping_allowed() (FOLL_LONGTERM, since 6.5);
// drivers/vfio/vfio_iommu_type1.c and drivers/iommu/iommufd/pages.c, which pin with FOLL_WRITE only what the device may
// write.
#pragma once

#include <cstdint>
#include <optional>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// Nothing: there is no reason. Else what is wrong with the memory ("the memory at 0x1000 …"), and what to do.
std::optional<Error> why_not_pinned(const DmaMapping& mapping);

// The size of a file's pages: a hugepage's on hugetlbfs. What is mapped of it changes by whole ones.
std::uint64_t page_size_of(int fd);

}  // namespace pollux::vfio
