// The kernel's noiommu backend of IoAddressSpace: a group and a container that translate nothing. An IOVA is a physical
// address, every device reaches all of memory, and an error of ours or of the drive's overwrites whatever lies there.
// For machines without an IOMMU, under its own name in the address alone. Wants CAP_SYS_RAWIO, CAP_SYS_ADMIN for the
// physical addresses, and vfio's parameter enable_unsafe_noiommu_mode. Safe from any thread. Source: the kernel's
// drivers/vfio/Kconfig (VFIO_NOIOMMU), group.c, container.c; Documentation/admin-guide/mm/pagemap.rst.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/kernel/group.hpp"
#include "pollux/vfio/kernel/kernel_space.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

class NoIommu final : public KernelSpace {
 public:
  // Errors: no VFIO in this kernel, noiommu not switched on, no permission.
  static Result<std::unique_ptr<NoIommu>> open(Sysfs sysfs = Sysfs());

  // Error besides: an IOMMU translates for the function, so that nobody needs this.
  Result<std::unique_ptr<Device>> attach(const Address& address) override;

  // There is nothing to map: what physical_address() found is where the memory is.
  Result<void> map(const DmaMapping&) override { return {}; }
  Result<void> unmap(Iova, std::uint64_t) override { return {}; }
  std::vector<IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  MemoryDemands demands() const override { return {.file_descriptor = false, .physical_addresses = true}; }
  Result<Iova> physical_address(const void* address, std::uint64_t size_bytes) const override;
  std::string warning() const override;
  std::string describe() const override { return "noiommu"; }
  int group_file(unsigned number) const override;
  void device_closed(unsigned group, bool released) noexcept override;

 private:
  NoIommu(Sysfs sysfs, FileDescriptor file) : sysfs_(std::move(sysfs)), file_(std::move(file)) {}

  Sysfs sysfs_;
  FileDescriptor file_;
  mutable std::mutex mutex_;  // guards what follows
  Groups groups_;
};

}  // namespace pollux::vfio
