// The capability chains behind VFIO's info structures, as the kernel or a vfio-user server answers them, and the lists
// in them. What is decoded is what the seam promises: ranges in order, areas within their region.
#include "input.hpp"
#include "pollux/vfio/abi/kernel_info.hpp"

using namespace pollux;
using fuzz::must;

namespace {

void try_iommu(std::span<const std::byte> answer) {
  const auto info = vfio::parse_iommu_info(answer);
  if (!info) return must(!info.error().what.empty(), "an error says what is wrong");
  must(info->page_sizes != 0, "some page size");
  const vfio::IovaRange* last = nullptr;
  for (const vfio::IovaRange& range : info->ranges) {
    must(range.first <= range.last, "a range runs forwards");
    must(last == nullptr || last->last < range.first, "ranges ascend and are disjoint");
    last = &range;
  }
}

void try_region(std::span<const std::byte> answer) {
  const auto region = vfio::parse_region_info(answer);
  if (!region) return must(!region.error().what.empty(), "an error says what is wrong");
  const std::uint64_t size = region->info.size_bytes;
  for (const vfio::RegionArea& area : region->info.mappable)
    must(area.size_bytes != 0 && area.offset <= size && area.size_bytes <= size - area.offset, "an area is inside");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto answer = std::as_bytes(std::span(data, size));
  try_iommu(answer);
  try_region(answer);
  return 0;
}
