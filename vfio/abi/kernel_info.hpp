// VFIO's info structures as the kernel answers them, decoded: IOMMU info and region info with their capabilities.
// Decoding is apart from asking, so that it can be tested and fuzzed without a device.
// Source: linux/vfio.h, VFIO_IOMMU_GET_INFO and VFIO_DEVICE_GET_REGION_INFO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

inline constexpr std::size_t kMaxInfoBytes = 1 << 20;
inline constexpr std::uint32_t kMaxInfoEntries = 4096;  // ranges or areas in one capability

struct IommuInfo {
  std::uint64_t page_sizes = 0;                // bitmap
  std::vector<IovaRange> ranges;               // ascending, disjoint
  std::optional<std::uint32_t> mappings_left;  // nothing where the kernel does not tell (before 5.10)
};

struct KernelRegion {
  RegionInfo info;
  std::uint64_t file_offset = 0;  // where the region begins in the device's file
};

// Decodes the answer to VFIO_IOMMU_GET_INFO. Errors: truncated, a chain that leaves the buffer, ranges that overlap or
// run backwards.
Result<IommuInfo> parse_iommu_info(std::span<const std::byte> answer);

// Decodes the answer to VFIO_DEVICE_GET_REGION_INFO. Errors: truncated, a chain or an area that leaves its bounds.
Result<KernelRegion> parse_region_info(std::span<const std::byte> answer);

// Asks `fd` with `request`, growing the buffer to what the kernel wants (argsz), and returns the whole answer.
// `question` is the fixed structure with its input fields filled; its first four bytes are argsz. `name` is for
// messages.
Result<std::vector<std::byte>> query_info(int fd, unsigned long request, std::span<const std::byte> question,
                                          std::string_view name);

}  // namespace pollux::vfio
