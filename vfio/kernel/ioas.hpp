// The kernel's iommufd backend of IoAddressSpace: one IOAS, and devices opened by their character devices. Devices come
// and go, the IOAS and what is mapped in it stay. Safe from any thread: attach() is serialised here, map() and unmap()
// by the kernel. Linux 6.6. Source: Documentation/userspace-api/iommufd.rst, Documentation/driver-api/vfio.rst (IOMMUFD
// and VFIO, VFIO device cdev).
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/kernel/kernel_space.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

class Ioas final : public KernelSpace {
 public:
  // Whether this kernel offers a function's character device and iommufd, and this process may open both.
  static bool offered(const Sysfs& sysfs, const std::string& bdf);

  // Opens /dev/iommu. Errors: no iommufd in this kernel, no permission.
  static Result<std::unique_ptr<Ioas>> open(Sysfs sysfs = Sysfs());

  Result<std::unique_ptr<Device>> attach(const Address& address) override;
  Result<void> map(const DmaMapping& mapping) override;
  Result<void> unmap(Iova iova, std::uint64_t size_bytes) override;
  std::vector<IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  // iommufd has no limit of its own; memory that is locked is what ends.
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  std::string describe() const override { return "iommufd"; }

 private:
  Ioas(Sysfs sysfs, FileDescriptor file, std::uint32_t id)
      : sysfs_(std::move(sysfs)), file_(std::move(file)), id_(id) {}
  Result<void> query();

  Sysfs sysfs_;
  FileDescriptor file_;
  const std::uint32_t id_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<IovaRange> ranges_;
  std::uint64_t granule_ = 0;  // 0 before the first attach
};

}  // namespace pollux::vfio
