// The kernel's block devices of a namespace, over all controllers: two of an NVM subsystem may share one. Without
// native multipath each then has a block device of its own, nvme0n1 and nvme1n1; with it, both have the same. So what
// is to be asked of a namespace cannot be asked of one function's block devices. Nothing here writes. Source: NVMe
// base 2.0c, 2.4.1 (shared namespaces); drivers/nvme/host/sysfs.c (wwid, nsid, subsysnqn), multipath.c (names).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

// A namespace as its controller names it, where sysfs does not: vfio-pci shows no subsystem.
struct NamespaceName {
  std::string subsystem_nqn;  // SUBNQN of Identify Controller; empty: the controller has none
  std::string serial, model;  // SN and MN, padded or not: by these the kernel knows a subsystem without an NQN
  std::uint32_t nsid = 0;
};

struct KernelDisk {
  std::string name;                  // "nvme0n1"
  bool own = true;                   // of the function that was asked about
  std::vector<std::string> through;  // who reaches it: PCI functions, and "nvme3" where that is none
};

// The function's own block devices, then those of the same namespaces that others have: equal wwid, or, where one has
// none, equal NSID in one subsystem.
std::vector<KernelDisk> disks_of(const Sysfs& sysfs, const PciFunction& function);

// Those of namespaces that a controller names itself: equal NSID in one subsystem.
std::vector<KernelDisk> disks_of(const Sysfs& sysfs, std::span<const NamespaceName> namespaces);

}  // namespace pollux::vfio
