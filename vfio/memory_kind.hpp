// Whether the kernel pins memory of this process for a device, and why not: what /proc/self/maps tells of it. Apart
// from the spaces, which ask when the kernel refused, or instead of the kernel. Source: the kernel's mm/gup.c,
// check_vma_flags() and writable_file_mapping_allowed() (FOLL_LONGTERM, since 6.5); drivers/vfio/vfio_iommu_type1.c and
// drivers/iommu/iommufd/pages.c, which pin with FOLL_WRITE only what the device may write.
#pragma once

#include <cstdint>
#include <optional>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// Nothing: there is no reason. Else what is wrong with the memory ("the memory at 0x1000 …"), and what to do.
std::optional<Error> why_not_pinned(const DmaMapping& mapping);

}  // namespace pollux::vfio
