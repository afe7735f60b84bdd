// What pollux uses of linux/iommufd.h (Linux 6.2) and of linux/vfio.h since 6.6: the headers of older systems lack
// them. Names and layout are the kernel's.
#pragma once

#include <linux/ioctl.h>
#include <linux/vfio.h>

#include <cstdint>

namespace pollux::vfio::abi {

// linux/iommufd.h: type ';', commands from 80h on. Each structure begins with its own size.
inline constexpr unsigned long kIommuIoasAlloc = _IO(';', 0x81);
inline constexpr unsigned long kIommuIoasIovaRanges = _IO(';', 0x84);
inline constexpr unsigned long kIommuIoasMap = _IO(';', 0x85);
inline constexpr unsigned long kIommuIoasUnmap = _IO(';', 0x86);

struct iommu_ioas_alloc {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t out_ioas_id;
};

struct iommu_iova_range {
  std::uint64_t start;
  std::uint64_t last;
};

struct iommu_ioas_iova_ranges {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint32_t num_iovas;  // in: how many fit behind allowed_iovas; out: how many there are
  std::uint32_t reserved;
  std::uint64_t allowed_iovas;
  std::uint64_t out_iova_alignment;
};
static_assert(sizeof(iommu_ioas_iova_ranges) == 32);

inline constexpr std::uint32_t kIoasMapFixedIova = 1u << 0;
inline constexpr std::uint32_t kIoasMapWriteable = 1u << 1;
inline constexpr std::uint32_t kIoasMapReadable = 1u << 2;

struct iommu_ioas_map {
  std::uint32_t size;
  std::uint32_t flags;
  std::uint32_t ioas_id;
  std::uint32_t reserved;
  std::uint64_t user_va;
  std::uint64_t length;
  std::uint64_t iova;
};
static_assert(sizeof(iommu_ioas_map) == 40);

struct iommu_ioas_unmap {
  std::uint32_t size;
  std::uint32_t ioas_id;
  std::uint64_t iova;
  std::uint64_t length;  // out: how much was unmapped
};
static_assert(sizeof(iommu_ioas_unmap) == 24);

// linux/vfio.h, calls on a device's character device.
inline constexpr unsigned long kVfioDeviceBindIommufd = _IO(VFIO_TYPE, VFIO_BASE + 18);
inline constexpr unsigned long kVfioDeviceAttachIommufdPt = _IO(VFIO_TYPE, VFIO_BASE + 19);

struct vfio_device_bind_iommufd {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::int32_t iommufd;
  std::uint32_t out_devid;
};

struct vfio_device_attach_iommufd_pt {
  std::uint32_t argsz;
  std::uint32_t flags;
  std::uint32_t pt_id;
};

// vfio_pci_hot_reset_info::flags of a device opened through iommufd; a dependent device then tells, in place of its
// group, whether it is ours.
inline constexpr std::uint32_t kHotResetDevId = 1u << 0;
inline constexpr std::uint32_t kDevIdNotOwned = ~0u;

}  // namespace pollux::vfio::abi
