// The kernel's group/container backend of IoAddressSpace: one I/O address space, with the groups that were attached to
// it. A group stays in the container as long as the container lives, so that mappings outlast a device that is closed
// and opened again; only one whose last device was released goes at once, since the kernel may wait for it to. A
// container that loses its last group so takes no other. Safe from any thread: attach() is serialised here, map() and
// unmap() by the kernel. Source: Documentation/driver-api/vfio.rst; linux/vfio.h, VFIO_SET_IOMMU, VFIO_IOMMU_GET_INFO,
// _MAP_DMA, _UNMAP_DMA.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/vfio/abi/kernel_info.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/kernel/group.hpp"
#include "pollux/vfio/kernel/kernel_space.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

class Container final : public KernelSpace {
 public:
  // Opens /dev/vfio/vfio. Errors: no VFIO in this kernel, no permission, an API that is not version 0, neither type1v2
  // nor type1.
  static Result<std::unique_ptr<Container>> open(Sysfs sysfs = Sysfs());

  Result<std::unique_ptr<Device>> attach(const Address& address) override;
  Result<void> map(const DmaMapping& mapping) override;
  Result<void> unmap(Iova iova, std::uint64_t size_bytes) override;
  std::vector<IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  std::optional<std::uint32_t> mappings_left() const override;
  std::string describe() const override;
  int group_file(unsigned number) const override;
  void device_closed(unsigned group, bool released) noexcept override;

  // "type1v2" or "type1"; "no IOMMU set" before the first attach.
  std::string_view iommu_type() const;

  // The groups attached, in the order of their attach().
  std::vector<unsigned> groups() const;

 private:
  Container(Sysfs sysfs, FileDescriptor file) : sysfs_(std::move(sysfs)), file_(std::move(file)) {}
  Result<unsigned> choose_iommu(unsigned group, const std::string& bdf);
  Result<IommuInfo> query() const;

  Sysfs sysfs_;
  FileDescriptor file_;
  mutable std::mutex mutex_;  // guards what follows
  Groups groups_;
  unsigned iommu_type_ = 0;  // VFIO_TYPE1v2_IOMMU or VFIO_TYPE1_IOMMU; 0 before the first attach
  bool left_ = false;        // by its last group: the kernel has dropped what was mapped
  IommuInfo info_;           // as of the last attach
};

}  // namespace pollux::vfio
