#include "pollux/vfio/abi/kernel_info.hpp"

#include <linux/vfio.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "pollux/vfio/abi/capability_chain.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
void append(Bytes& to, const T& value) {
  to.resize(to.size() + sizeof value);
  std::memcpy(to.data() + to.size() - sizeof value, &value, sizeof value);
}

struct Pair {
  std::uint64_t first, second;
};

// A capability at the end of `to`, whose header says that the next one follows at once, or that there is none.
void append_list(Bytes& to, std::uint16_t id, std::uint32_t count, const std::vector<Pair>& entries, bool last) {
  const std::size_t end = to.size() + 16 + entries.size() * sizeof(Pair);
  append(to, vfio_info_cap_header{id, 1, last ? 0u : static_cast<std::uint32_t>(end)});
  append(to, count);
  append(to, std::uint32_t{0});
  for (const auto& entry : entries) append(to, entry);
}

constexpr std::uint32_t kIommuFixed = sizeof(vfio_iommu_type1_info);
constexpr std::uint32_t kRegionFixed = sizeof(vfio_region_info);

Bytes iommu_info(std::uint32_t first) {
  Bytes bytes;
  append(bytes, vfio_iommu_type1_info{.argsz = 0,
                                      .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
                                      .iova_pgsizes = 0x40201000,
                                      .cap_offset = first});
  return bytes;
}

Bytes region_info(std::uint32_t first, std::uint64_t size, std::uint32_t flags) {
  Bytes bytes;
  append(bytes, vfio_region_info{
                    .argsz = 0, .flags = flags, .index = 0, .cap_offset = first, .size = size, .offset = 7ull << 40});
  return bytes;
}

constexpr std::uint32_t kAllFlags =
    VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;

}  // namespace

TEST_CASE("IOMMU info tells page sizes, ranges and mappings left") {
  Bytes bytes = iommu_info(kIommuFixed);
  append_list(bytes, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 2, {{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}}, false);
  append(bytes, vfio_iommu_type1_info_dma_avail{{VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0}, 65535});
  const auto info = parse_iommu_info(bytes);
  REQUIRE(info);
  CHECK(info->page_sizes == 0x40201000);
  CHECK(info->ranges == std::vector<IovaRange>{{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}});
  CHECK(info->mappings_left == 65535u);
}

TEST_CASE("IOMMU info without ranges is taken to reach what lies below the MSI window") {
  const auto info = parse_iommu_info(iommu_info(0));
  REQUIRE(info);
  CHECK(info->ranges == std::vector<IovaRange>{{0, 0xfedf'ffff}});
  CHECK_FALSE(info->mappings_left);
}

TEST_CASE("IOVA ranges that overlap or run backwards are refused") {
  const std::vector<std::vector<Pair>> wrong = {{{0, 10}, {10, 20}}, {{20, 30}, {0, 10}}, {{5, 4}}};
  for (const auto& entries : wrong) {
    Bytes bytes = iommu_info(kIommuFixed);
    append_list(bytes, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, static_cast<std::uint32_t>(entries.size()), entries, true);
    CHECK_FALSE(parse_iommu_info(bytes));
  }
}

TEST_CASE("a capability chain is followed past kinds that nobody knows, in any order of offsets") {
  Bytes bytes = iommu_info(kIommuFixed + 8);
  append(bytes, vfio_info_cap_header{77, 1, 0});  // reached last, from above
  append(bytes, vfio_info_cap_header{78, 1, kIommuFixed + 16});
  append(bytes, vfio_info_cap_header{79, 1, kIommuFixed});
  std::vector<int> seen;
  REQUIRE(walk_capabilities(bytes, kIommuFixed + 8, [&](const InfoCapability& one) -> Result<void> {
    seen.push_back(one.id);
    return {};
  }));
  CHECK(seen == std::vector<int>{78, 79, 77});
  CHECK(parse_iommu_info(bytes));
}

TEST_CASE("a capability chain that comes back to itself ends in an error") {
  Bytes bytes = iommu_info(kIommuFixed);
  append(bytes, vfio_info_cap_header{77, 1, kIommuFixed + 8});
  append(bytes, vfio_info_cap_header{78, 1, kIommuFixed});
  const auto info = parse_iommu_info(bytes);
  REQUIRE_FALSE(info);
  CHECK(info.error().message().find("does not end within 64") != std::string::npos);
}

TEST_CASE("a capability chain that leaves the answer is refused") {
  for (const std::uint32_t first :
       {kIommuFixed + 1, kIommuFixed + 7, kIommuFixed + 8, kIommuFixed + 9, 0x7fff'ffffu, 0xffff'ffffu}) {
    Bytes bytes = iommu_info(first);
    append(bytes, vfio_info_cap_header{77, 1, 0});
    CHECK_FALSE(parse_iommu_info(bytes));
  }
}

TEST_CASE("a list that claims more entries than the answer holds is refused") {
  for (const std::uint32_t count : {2u, 4097u, 0x1000'0000u, 0xffff'ffffu}) {
    Bytes iommu = iommu_info(kIommuFixed);
    append_list(iommu, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, count, {{0, 1}}, true);
    const auto info = parse_iommu_info(iommu);
    REQUIRE_FALSE(info);
    CHECK(info.error().message().find("claims") != std::string::npos);
    Bytes region = region_info(kRegionFixed, 0x4000, kAllFlags);
    append_list(region, VFIO_REGION_INFO_CAP_SPARSE_MMAP, count, {{0, 0x1000}}, true);
    CHECK_FALSE(parse_region_info(region));
  }
}

TEST_CASE("an answer that is cut off anywhere is an error") {
  Bytes bytes = iommu_info(kIommuFixed);
  append_list(bytes, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, {{0, 0xffff}}, false);
  append(bytes, vfio_iommu_type1_info_dma_avail{{VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0}, 9});
  REQUIRE(parse_iommu_info(bytes));
  for (std::size_t size = 0; size < bytes.size(); size++) {
    // A vector of its own, so that AddressSanitizer sees a read past the end.
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_FALSE(parse_iommu_info(cut));
  }
}

TEST_CASE("a region may be mapped whole where there is no sparse-mmap capability") {
  Bytes bytes = region_info(kRegionFixed, 0x4000, kAllFlags);
  append(bytes, vfio_info_cap_header{VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, 0});
  const auto region = parse_region_info(bytes);
  REQUIRE(region);
  CHECK(region->info.size_bytes == 0x4000);
  CHECK(region->file_offset == 7ull << 40);
  CHECK(region->info.readable);
  CHECK(region->info.writable);
  CHECK(region->info.msix_mappable);
  CHECK(region->info.mappable == std::vector<RegionArea>{{0, 0x4000}});
}

TEST_CASE("of a region with a sparse-mmap capability only the areas may be mapped") {
  Bytes bytes = region_info(kRegionFixed, 0x4000, kAllFlags);
  append_list(bytes, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 2, {{0x1000, 0x1000}, {0x3000, 0x1000}}, true);
  const auto region = parse_region_info(bytes);
  REQUIRE(region);
  CHECK(region->info.mappable == std::vector<RegionArea>{{0x1000, 0x1000}, {0x3000, 0x1000}});
}

TEST_CASE("a sparse-mmap capability without areas means that nothing may be mapped") {
  Bytes bytes = region_info(kRegionFixed, 0x4000, kAllFlags);
  append_list(bytes, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, {}, true);
  const auto region = parse_region_info(bytes);
  REQUIRE(region);
  CHECK(region->info.mappable.empty());
}

TEST_CASE("a region without the MMAP flag is reached by call only") {
  const auto region = parse_region_info(region_info(0, 0x1000, VFIO_REGION_INFO_FLAG_READ));
  REQUIRE(region);
  CHECK(region->info.mappable.empty());
  CHECK(region->info.readable);
  CHECK_FALSE(region->info.writable);
}

TEST_CASE("an area that leaves its region is refused") {
  for (const auto& area : {Pair{0x4000, 1}, Pair{0x3000, 0x1001}, Pair{0x1000, 0xffff'ffff'ffff'f000}}) {
    Bytes bytes = region_info(kRegionFixed, 0x4000, kAllFlags);
    append_list(bytes, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, {area}, true);
    CHECK_FALSE(parse_region_info(bytes));
  }
}
