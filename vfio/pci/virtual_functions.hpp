// The virtual functions of a PCI function (SR-IOV): which there are, and how many there shall be. Creating and removing
// them is the kernel's, asked for in sysfs; it needs root. Whose one is: PciFunction::physical_function. Source:
// Documentation/PCI/pci-iov-howto.rst, Documentation/ABI/testing/sysfs-bus-pci (sriov_*, virtfnN).
#pragma once

#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

struct VirtualFunctions {
  unsigned total = 0;             // how many there may be
  std::vector<std::string> bdfs;  // those there are: virtual function 1 first
};

// Errors: no such function, or one without SR-IOV.
Result<VirtualFunctions> virtual_functions(const Sysfs& sysfs, const std::string& bdf);

// Gives the function `count` virtual functions, 0 to its total, and returns them. A number that is there already stays;
// any other begins with none, so those that there are go first. They come up offline (driver/virtualization.hpp), which
// the kernel's nvme driver takes for broken: it is kept from probing them. Of a function on vfio-pci the new ones
// are on vfio-pci too. Takes a second, and as long as the kernel does.
// Errors: no SR-IOV, more than the total, no driver, a driver that does not do it (vfio-pci: only with enable_sriov),
// a virtual function in use (by what), no room in the address space, no permission.
Result<VirtualFunctions> set_virtual_functions(const Sysfs& sysfs, const std::string& bdf, unsigned count);

}  // namespace pollux::vfio
