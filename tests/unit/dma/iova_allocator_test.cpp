// The allocator's edges, one at a time; iova_model_test.cpp covers the middle.
#include "pollux/dma/iova_allocator.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

namespace pollux::dma {
namespace {

constexpr std::uint64_t kPage = 0x1000;
constexpr Iova kTop = std::numeric_limits<Iova>::max();

using Ranges = std::vector<IovaRange>;

TEST_CASE("before ranges are known nothing is handed out") {
  IovaAllocator allocator;
  CHECK_FALSE(allocator.allocate(kPage, kPage));
}

TEST_CASE("IOVA 0 is never handed out, even where the range begins there") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0, 0xffff}}));
  CHECK(allocator.allocate(kPage, kPage) == kPage);
}

TEST_CASE("a range that is nothing but IOVA 0 holds nothing") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0, 0}, {0x1000, 0x1fff}}));
  CHECK(allocator.free_ranges() == Ranges{{0x1000, 0x1fff}});
}

TEST_CASE("size 0 is not an allocation") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0x1000, 0xffff}}));
  CHECK_FALSE(allocator.allocate(0, kPage));
  CHECK(allocator.allocations() == 0);
}

TEST_CASE("the last page below 2^64 can be used and given back") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{kTop - 3 * kPage + 1, kTop}}));
  REQUIRE(allocator.allocate(2 * kPage, kPage) == kTop - 3 * kPage + 1);
  REQUIRE(allocator.allocate(kPage, kPage) == kTop - kPage + 1);
  CHECK(allocator.free_ranges().empty());
  CHECK_FALSE(allocator.allocate(kPage, kPage));

  REQUIRE(allocator.confine(Ranges{{kTop - 3 * kPage + 1, kTop}}));
  CHECK(allocator.free_ranges().empty());

  CHECK(allocator.free(kTop - kPage + 1, kPage));
  CHECK(allocator.free(kTop - 3 * kPage + 1, 2 * kPage));
  CHECK(allocator.free_ranges() == Ranges{{kTop - 3 * kPage + 1, kTop}});
}

TEST_CASE("an alignment that would wrap past 2^64 finds nothing") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{kTop - 2 * kPage + 1, kTop}}));
  CHECK_FALSE(allocator.allocate(kPage, 1ull << 30));
}

TEST_CASE("a size near 2^64 does not wrap into a fit") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0x1000, 0xffff}}));
  CHECK_FALSE(allocator.allocate(kTop, kPage));
  CHECK_FALSE(allocator.allocate(kTop - kPage + 1, kPage));
}

TEST_CASE("only what was handed out, whole, is taken back, and only once") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0x1000, 0xffff}}));
  REQUIRE(allocator.allocate(4 * kPage, kPage) == 0x1000);
  CHECK_FALSE(allocator.free(0x2000, 3 * kPage));
  CHECK_FALSE(allocator.free(0x1000, kPage));
  CHECK(allocator.allocated_bytes() == 4 * kPage);
  CHECK(allocator.free(0x1000, 4 * kPage));
  CHECK_FALSE(allocator.free(0x1000, 4 * kPage));
  CHECK(allocator.allocated_bytes() == 0);
}

TEST_CASE("neighbouring ranges stay apart: the IOMMU checks a mapping against one of them") {
  IovaAllocator allocator;
  const Ranges ranges{{0x1000, 0x2fff}, {0x3000, 0x4fff}};
  REQUIRE(allocator.confine(ranges));
  CHECK_FALSE(allocator.allocate(3 * kPage, kPage));
  REQUIRE(allocator.allocate(2 * kPage, kPage) == 0x1000);
  REQUIRE(allocator.allocate(2 * kPage, kPage) == 0x3000);
  CHECK(allocator.free(0x1000, 2 * kPage));
  CHECK(allocator.free(0x3000, 2 * kPage));
  CHECK(allocator.free_ranges() == ranges);
}

TEST_CASE("ranges that are empty, overlap or descend are refused and change nothing") {
  IovaAllocator allocator;
  const Ranges before{{0x1000, 0xffff}};
  REQUIRE(allocator.confine(before));
  CHECK_FALSE(allocator.confine(Ranges{{0x2000, 0x1fff}}));
  CHECK_FALSE(allocator.confine(Ranges{{0x1000, 0x2fff}, {0x2fff, 0x3fff}}));
  CHECK_FALSE(allocator.confine(Ranges{{0x3000, 0x3fff}, {0x1000, 0x1fff}}));
  CHECK(allocator.free_ranges() == before);
}

TEST_CASE("a shrink that would leave an allocation outside names it and changes nothing") {
  IovaAllocator allocator;
  REQUIRE(allocator.confine(Ranges{{0x1000, 0xffff}}));
  REQUIRE(allocator.allocate(0x4000, kPage) == 0x1000);
  const auto cut = allocator.confine(Ranges{{0x1000, 0x3fff}});
  REQUIRE_FALSE(cut);
  CHECK(cut.error().message().find("0x1000-0x4fff") != std::string::npos);
  CHECK(allocator.free_ranges() == Ranges{{0x5000, 0xffff}});
  CHECK(allocator.confine(Ranges{{0x1000, 0x4fff}}));
  CHECK(allocator.free_ranges().empty());
}

}  // namespace
}  // namespace pollux::dma
