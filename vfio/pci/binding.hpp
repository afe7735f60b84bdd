// Which driver has a drive: bind() gives it to vfio-pci, unbind() back to the kernel's nvme. Both take NVMe functions
// only (class 0108xx), check every one of them before they touch the first, and undo what they did when a step fails:
// all of them change hands, or none. Both need root, or write access to the attributes. Source:
// Documentation/ABI/testing/sysfs-bus-pci (driver_override, new_id, remove_id).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

enum class BindWay {
  driver_override,  // unbind, driver_override, drivers_probe, clear the override: touches this function alone
  new_id,           // unbind, new_id, remove_id: by vendor and device id, as old instructions have it
};

// What changed, and what a person should know besides, a line each.
struct BindReport {
  std::vector<std::string> changed;  // addresses
  std::vector<std::string> notices;
};

// Whether bind() would find nothing in the way of these functions but a driver that is not loaded. Errors: those of
// bind().
Result<void> bindable(const Sysfs& sysfs, std::span<const std::string> bdfs);

// Binds the functions to vfio-pci; one that is there already stays. Errors: no such function, not NVMe, no IOMMU,
// vfio-pci not loaded, kept for another driver (by new_id), behind VMD, in use (by what), virtual functions of it are
// there, no permission, vfio-pci does not take it.
Result<BindReport> bind(const Sysfs& sysfs, std::span<const std::string> bdfs, BindWay way);

// Gives the functions to the kernel's nvme driver; one that is there already stays. Errors: as above; bound to a third
// driver; a process holds the group open (which: the kernel would wait for it without end); nvme not loaded, or it does
// not take it.
Result<BindReport> unbind(const Sysfs& sysfs, std::span<const std::string> bdfs);

}  // namespace pollux::vfio
