// What may be advised about the functions that stand between a drive and VFIO: other members of its IOMMU group, and a
// VMD controller above it. An advice must not cost somebody a drive. Reads sysfs; changes nothing. Source: Linux'
// drivers/pci/controller/vmd.c (domains above FFFFh, DMA in the controller's name) and arch/x86/pci/common.c,
// pci_real_dma_dev().
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

// How a member of a drive's group gets out of its way: pollux binds it, too; or its driver is unbound, if nobody needs
// it; or not at all, as others live on it, and the drive moves to a slot of its own.
enum class WayOut : std::uint8_t { bind, unbind, move };
WayOut way_out(const Sysfs& sysfs, const PciFunction& member);

// The VMD controller that a function stands behind, empty where sysfs does not name it; nothing: it stands behind none.
// All of these drives do DMA as the controller, so that no IOMMU tells them apart.
std::optional<std::string> vmd_above(const Sysfs& sysfs, const std::string& bdf);

// Of such a function: why VFIO does not get it.
Error explain_vmd(const std::string& bdf, const std::string& vmd);

}  // namespace pollux::vfio
