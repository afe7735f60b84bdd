// What stands between a program and a PCI function, found before anything is touched, and said so that a person can act
// on it: no such function, no IOMMU, vfio-pci not loaded, another driver, a group that is not viable, no permission,
// another process. Reads sysfs and /proc; changes nothing.
#pragma once

#include <string>
#include <vector>

#include "pollux/vfio/address.hpp"
#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/open_files.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

// Whether an IOMMU stands between a function and memory.
enum class Translation : std::uint8_t { iommu, none };

// The facts of a function that is bound to vfio-pci and has a group of the wanted kind. Errors: what is missing, and
// the command that mends it; it has the other kind.
Result<PciFunction> ready_function(const Sysfs& sysfs, const std::string& bdf, Translation wanted = Translation::iommu);

// The functions of a group whose drivers do DMA through the kernel: with one of these a group is not viable.
// Harmless are no driver, vfio-pci, pci-stub and pcieport (they leave DMA to their user, or do none).
std::vector<PciFunction> foreign_members(const Sysfs& sysfs, unsigned group);

// Those of a function's group but for itself: what would still be in its way if vfio-pci had it. None without a group.
std::vector<PciFunction> foreign_neighbours(const Sysfs& sysfs, const PciFunction& function);

// Whether VFIO is to take functions that no IOMMU translates for (its parameter enable_unsafe_noiommu_mode), and
// whether it made this group for one.
bool noiommu_enabled(const Sysfs& sysfs);
bool is_noiommu_group(const Sysfs& sysfs, unsigned group);

// How a function is opened: "0000:02:00.0", or "noiommu:0000:02:00.0" where no IOMMU translates for it.
std::string address_of(const Sysfs& sysfs, const PciFunction& function);

// The character device of a function that is bound to vfio-pci, /dev/vfio/devices/vfioN; empty where the kernel has
// none (before 6.6, or built without).
std::string device_node(const Sysfs& sysfs, const std::string& bdf);

// The nodes that opening a function takes, the function's own first: by iommufd (none where this kernel has no
// character device for it, and for a virtual function, whose token that does not take), and by its group.
inline constexpr std::string_view kContainerNode = "/dev/vfio/vfio";
inline constexpr std::string_view kIommufdNode = "/dev/iommu";
std::vector<std::string> iommufd_nodes(const Sysfs& sysfs, const PciFunction& function);
std::vector<std::string> group_nodes(const Sysfs& sysfs, const PciFunction& function);

// Whether sysfs is read-only, as a container has it unless it is privileged: modules, bindings and the boot are the
// host's then.
bool in_container(const Sysfs& sysfs);

// What to do about a node that is not there though the kernel has the device, and about one that nobody here may open
// whatever its mode: device rules of a control group answer EPERM, the mode EACCES.
std::string advice_missing_node(std::string_view node);
std::string advice_forbidden_node(std::string_view node);

// The processes that have /dev/vfio/GROUP or the character device of a member open. Without root, only our own are
// seen.
std::vector<Process> group_holders(const Sysfs& sysfs, unsigned group);

// Whether somebody has the group, or a device of it, open: what /proc shows, and the kernel's EBUSY for what it does
// not (another PID namespace, a device opened through iommufd). Opens the group for a moment where it is free.
bool group_busy(const Sysfs& sysfs, unsigned group);

// The Error for a function without an IOMMU group.
Error explain_no_iommu(const std::string& bdf);

// The Error for a call that failed with `os_error`: open("/dev/vfio/vfio"); open("/dev/vfio/GROUP"); a status that is
// not viable; VFIO_SET_IOMMU; VFIO_GROUP_GET_DEVICE_FD.
Error explain_vfio_open(const Sysfs& sysfs, int os_error);
Error explain_group_open(const Sysfs& sysfs, unsigned group, const std::string& bdf, int os_error);
Error explain_noiommu_group_open(const Sysfs& sysfs, unsigned group, const std::string& bdf, int os_error);
Error explain_not_viable(const Sysfs& sysfs, unsigned group, const std::string& bdf);
Error explain_set_iommu(unsigned group, const std::string& bdf, int os_error);
Error explain_device_open(const Sysfs& sysfs, unsigned group, const Address& address, int os_error);

// The same of iommufd: open("/dev/iommu"); no character device; open() of it; VFIO_DEVICE_BIND_IOMMUFD.
Error explain_iommufd_open(const Sysfs& sysfs, int os_error);
Error explain_no_device_node(const std::string& bdf);
Error explain_device_node_open(const std::string& bdf, const std::string& node, int os_error);
Error explain_bind_iommufd(const Sysfs& sysfs, const PciFunction& function, int os_error);

}  // namespace pollux::vfio
