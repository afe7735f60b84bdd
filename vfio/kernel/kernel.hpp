// The kernel's VFIO as kinds of address: through iommufd, through a group and a container, or without an IOMMU.
#pragma once

#include <span>

#include "pollux/vfio/device.hpp"

namespace pollux::vfio {

// "pci" (whichever of the next two is there), "iommufd", "group" and "noiommu". Errors of make_space(): the function is
// not there or not bound to vfio-pci, no VFIO in this kernel, no permission.
std::span<const Scheme> kernel_schemes();

}  // namespace pollux::vfio
