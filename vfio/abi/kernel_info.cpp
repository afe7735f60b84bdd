#include "pollux/vfio/abi/kernel_info.hpp"

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "pollux/vfio/abi/capability_chain.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

constexpr unsigned kMaxQueries = 4;  // the answer may grow between two calls, when a device is attached meanwhile

// Kernels before 5.4 name no ranges. What every x86 IOMMU translates: below the MSI window, FEE00000h.
constexpr IovaRange kRangeWithoutInfo{0, 0xfedf'ffff};

// The fixed part of a capability that lists something: both kinds begin alike, and end in a flexible array that no
// expected can hold.
struct ListHeader {
  vfio_info_cap_header header;
  std::uint32_t count;
  std::uint32_t reserved;
};
static_assert(sizeof(ListHeader) == sizeof(vfio_iommu_type1_info_cap_iova_range));
static_assert(sizeof(ListHeader) == sizeof(vfio_region_info_cap_sparse_mmap));

// The entries behind a capability's fixed part: `count` of them, each an Entry.
template <typename Entry, typename Visit>
Result<void> each_entry(std::span<const std::byte> entries, std::uint32_t count, Visit&& visit) {
  if (count > kMaxInfoEntries || count > entries.size() / sizeof(Entry))
    return fail(fmt::format("a VFIO capability claims {} entries in {} bytes", count, entries.size()));
  for (std::uint32_t i = 0; i < count; i++) {
    const auto entry = read_struct<Entry>(entries.subspan(i * sizeof(Entry)));
    if (!entry) return std::unexpected(entry.error());
    if (auto done = visit(*entry); !done) return done;
  }
  return {};
}

Result<void> add_ranges(const InfoCapability& capability, std::vector<IovaRange>& ranges) {
  const auto header = read_struct<ListHeader>(capability.bytes);
  if (!header) return std::unexpected(header.error());
  return each_entry<vfio_iova_range>(
      capability.bytes.subspan(sizeof(ListHeader)), header->count, [&](const vfio_iova_range& range) -> Result<void> {
        if (range.end < range.start || (!ranges.empty() && range.start <= ranges.back().last))
          return fail(fmt::format("VFIO's IOVA range {:#x}-{:#x} is not in order", range.start, range.end));
        ranges.push_back({range.start, range.end});
        return {};
      });
}

Result<void> add_areas(const InfoCapability& capability, std::uint64_t region_bytes, std::vector<RegionArea>& areas) {
  const auto header = read_struct<ListHeader>(capability.bytes);
  if (!header) return std::unexpected(header.error());
  return each_entry<vfio_region_sparse_mmap_area>(
      capability.bytes.subspan(sizeof(ListHeader)), header->count,
      [&](const vfio_region_sparse_mmap_area& area) -> Result<void> {
        if (area.offset > region_bytes || area.size > region_bytes - area.offset)
          return fail(fmt::format("VFIO's mappable area {:#x}+{:#x} leaves its region of {:#x} bytes", area.offset,
                                  area.size, region_bytes));
        if (area.size != 0) areas.push_back({area.offset, area.size});
        return {};
      });
}

}  // namespace

Result<IommuInfo> parse_iommu_info(std::span<const std::byte> answer) {
  const auto fixed = read_struct<vfio_iommu_type1_info>(answer);
  if (!fixed) return std::unexpected(fixed.error());
  IommuInfo info;
  info.page_sizes = (fixed->flags & VFIO_IOMMU_INFO_PGSIZES) != 0 ? fixed->iova_pgsizes : 0;
  if (info.page_sizes == 0) return fail("VFIO's IOMMU info names no page size");
  bool ranges_told = false;
  const std::uint32_t first = (fixed->flags & VFIO_IOMMU_INFO_CAPS) != 0 ? fixed->cap_offset : 0;
  const auto walked = walk_capabilities(answer, first, [&](const InfoCapability& capability) -> Result<void> {
    if (capability.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
      ranges_told = true;
      return add_ranges(capability, info.ranges);
    }
    if (capability.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
      const auto available = read_struct<vfio_iommu_type1_info_dma_avail>(capability.bytes);
      if (!available) return std::unexpected(available.error());
      info.mappings_left = available->avail;
    }
    return {};
  });
  if (!walked) return std::unexpected(walked.error());
  if (!ranges_told) info.ranges = {kRangeWithoutInfo};
  return info;
}

Result<KernelRegion> parse_region_info(std::span<const std::byte> answer) {
  const auto fixed = read_struct<vfio_region_info>(answer);
  if (!fixed) return std::unexpected(fixed.error());
  KernelRegion region;
  region.file_offset = fixed->offset;
  region.info.size_bytes = fixed->size;
  region.info.readable = (fixed->flags & VFIO_REGION_INFO_FLAG_READ) != 0;
  region.info.writable = (fixed->flags & VFIO_REGION_INFO_FLAG_WRITE) != 0;
  bool sparse = false;
  std::vector<RegionArea> areas;
  const std::uint32_t first = (fixed->flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? fixed->cap_offset : 0;
  const auto walked = walk_capabilities(answer, first, [&](const InfoCapability& capability) -> Result<void> {
    if (capability.id == VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) region.info.msix_mappable = true;
    if (capability.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP) return {};
    sparse = true;
    return add_areas(capability, fixed->size, areas);
  });
  if (!walked) return std::unexpected(walked.error());
  if ((fixed->flags & VFIO_REGION_INFO_FLAG_MMAP) != 0 && fixed->size != 0) {
    if (sparse)
      region.info.mappable = std::move(areas);
    else
      region.info.mappable = {{0, fixed->size}};
  }
  return region;
}

Result<std::vector<std::byte>> query_info(int fd, unsigned long request, std::span<const std::byte> question,
                                          std::string_view name) {
  std::vector<std::byte> answer(question.size());
  for (unsigned query = 0; query < kMaxQueries; query++) {
    std::memcpy(answer.data(), question.data(), question.size());
    const auto argsz = static_cast<std::uint32_t>(answer.size());
    std::memcpy(answer.data(), &argsz, sizeof argsz);
    if (control(fd, request, answer.data()) != 0) return fail_errno(errno, fmt::format("{} failed", name));
    std::uint32_t wanted = 0;
    std::memcpy(&wanted, answer.data(), sizeof wanted);
    if (wanted <= answer.size()) return answer;
    if (wanted > kMaxInfoBytes)
      return fail(fmt::format("{} wants to answer with {} bytes, more than {}", name, wanted, kMaxInfoBytes));
    answer.assign(wanted, std::byte{0});
  }
  return fail(fmt::format("{} grew its answer {} times in a row", name, kMaxQueries));
}

}  // namespace pollux::vfio
