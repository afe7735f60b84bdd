// Every precondition of I/O, in the order in which a machine is made ready. Nothing here changes anything.
#pragma once

#include <cstdint>

#include "pollux/tools/pollux/doctor/finding.hpp"
#include "pollux/tools/pollux/doctor/machine.hpp"

namespace pollux::cli {

// What pollux-bench pins at most for a drive and one job of iodepth 32 with blocks of 4 KiB: rings, PRP lists, buffers.
// It is 404 KiB on QEMU's drive, and more where commands are larger (MDTS). tests/guest/doctor holds it there.
inline constexpr std::uint64_t kMemlockNeededBytes = 1ull << 20;

// What a drive is used through: IOMMU, kernel, module, limits, hugepages.
Findings examine_machine(const Machine& machine);

// One drive: function, group, users, driver, permissions, bus, NUMA node.
Findings examine_drive(const Machine& machine, const vfio::PciFunction& function);

// Temperature and health. Where vfio-pci has the drive, this opens it, and asks which namespaces it has: the kernel may
// use one of them through another controller.
Findings examine_health(const Machine& machine, const vfio::PciFunction& function);

// What raises the limit of locked memory.
std::string remedy_for_memlock(const Machine& machine, std::uint64_t needed_kib);

// What the kernel uses of a drive's namespaces, and what is to be said besides where that is nothing.
Finding use_finding(const std::vector<std::string>& uses, const std::string& besides = {});

}  // namespace pollux::cli
