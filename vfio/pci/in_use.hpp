// Whether a drive is in use through the kernel: a mounted file system, swap, device-mapper, LVM or RAID, a loop device,
// an export of the kernel's NVMe target, a program that has it open raw, on a namespace of the drive or on a partition
// of it, through this controller or another. Binding asks before it takes a drive away. Nothing here writes. Source:
// Documentation/filesystems/proc.rst (mountinfo), Documentation/ABI/testing/sysfs-block (holders), drivers/block/loop.c
// (backing_file), drivers/nvme/target/configfs.c (device_path, enable), open(2) on O_EXCL.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/pci/kernel_disks.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

// Why the drive is in use, a sentence each: "nvme0n1p2 is mounted at /", "dm-0 (vg-root) on nvme0n1p3 is swap",
// "nvme1n1 (the same namespace, through 0000:03:00.0) is mounted at /data", "nvme0n1 is open in dd (pid 4711)". Empty:
// it is not. Without root only the programs of this user are seen.
std::vector<std::string> uses_of(const Sysfs& sysfs, const PciFunction& function);

// The same of namespaces that a controller names itself, which is how to ask once the kernel's nvme has it no more.
std::vector<std::string> uses_of(const Sysfs& sysfs, std::span<const NamespaceName> namespaces);

// Exclusive opens of block devices, by name: while they live nobody can mount them, nor put them into a volume.
using Claims = std::map<std::string, FileDescriptor>;

// Claims every block device of the drive's namespaces but those that are claimed in `ours`, or says what uses it. Waits
// a second for a program that has one open: udev looks at each new block device for a moment. The
// kernel answers EBUSY also for what uses_of() cannot see: a mount in another mount namespace, a file system over
// several drives. A device without a node in /dev is not claimed.
Result<Claims> claim(const Sysfs& sysfs, const PciFunction& function, const Claims& ours = {});

}  // namespace pollux::vfio
