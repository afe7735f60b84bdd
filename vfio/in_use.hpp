// Whether the kernel uses a drive: a mounted file system, swap, device-mapper, LVM or RAID, on the drive or on a
// partition of it. Binding asks before it takes a drive away. Nothing here writes. Source:
// Documentation/filesystems/proc.rst (mountinfo), Documentation/ABI/testing/sysfs-block (holders), open(2) on O_EXCL.
#pragma once

#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/sysfs.hpp"

namespace pollux::vfio {

// Why the drive is in use, a sentence each: "nvme0n1p2 is mounted at /", "dm-0 (vg-root) on nvme0n1p3 is swap". Empty:
// it is not.
std::vector<std::string> uses_of(const Sysfs& sysfs, const PciFunction& function);

// Exclusive opens of a drive's block devices: while they live nobody can mount the drive, nor put it into a volume.
using Claims = std::vector<FileDescriptor>;

// Claims every block device of the drive, or says what uses it. The kernel answers EBUSY also for what uses_of() cannot
// see: a mount in another mount namespace, a file system over several drives. A device without a node in /dev is not
// claimed.
Result<Claims> claim(const Sysfs& sysfs, const PciFunction& function);

}  // namespace pollux::vfio
