// The table of mappings of a soft: address space: the kernel's refusals, and what is found where.
#include "pollux/tools/softnvme/mapping_table.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>

namespace pollux::softnvme {
namespace {

constexpr std::array<vfio::IovaRange, 2> kUsable{{{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}}};
alignas(4096) std::byte memory[4 * 4096];

int map_error(MappingTable& table, vfio::DmaMapping mapping) {
  const Result<void> mapped = table.map(mapping, kUsable);
  return mapped ? 0 : mapped.error().os_error;
}

TEST_CASE("an IOVA is found in its mapping and nowhere else") {
  MappingTable table;
  REQUIRE(map_error(table, {memory, 0x1'0000, 2 * 4096}) == 0);
  REQUIRE(map_error(table, {memory + 2 * 4096, 0x2'0000, 4096, -1, 0, true, false}) == 0);
  CHECK(table.window(0x1'0000).host == memory);
  CHECK(table.window(0x1'1fff).iova == 0x1'0000);
  CHECK(table.window(0x1'1fff).size_bytes == 2 * 4096);
  CHECK(table.window(0x1'2000).size_bytes == 0);
  CHECK(table.window(0xffff).size_bytes == 0);
  CHECK(table.window(0x2'0000).device_may_read);
  CHECK_FALSE(table.window(0x2'0000).device_may_write);
}

TEST_CASE("what the kernel refuses to map is refused with its errno") {
  MappingTable table;
  CHECK(map_error(table, {memory, 0x1000, 0}) == EINVAL);
  CHECK(map_error(table, {memory, 0x1000, 100}) == EINVAL);
  CHECK(map_error(table, {memory, 0x1010, 4096}) == EINVAL);
  CHECK(map_error(table, {memory + 16, 0x1000, 4096}) == EINVAL);
  CHECK(map_error(table, {memory, 0x1000, 4096, -1, 0, false, false}) == EINVAL);
  CHECK(map_error(table, {memory, ~0xfffull, 4096 * 2}) == EINVAL);    // wraps
  CHECK(map_error(table, {memory, 0xfee0'0000, 4096}) == EINVAL);      // the MSI window
  CHECK(map_error(table, {memory, 0xfedf'f000, 2 * 4096}) == EINVAL);  // reaches into it
  CHECK(map_error(table, {memory, 0x80'0000'0000, 4096}) == EINVAL);   // beyond 39 bits
  CHECK(map_error(table, {memory, 0xfedf'f000, 4096}) == 0);
  CHECK(map_error(table, {memory, 0xfef0'0000, 4096}) == 0);
}

TEST_CASE("an overlap on either side, inside or around is EEXIST; a neighbour is none") {
  MappingTable table;
  REQUIRE(map_error(table, {memory, 0x1'1000, 2 * 4096}) == 0);
  CHECK(map_error(table, {memory, 0x1'0000, 2 * 4096}) == EEXIST);
  CHECK(map_error(table, {memory, 0x1'2000, 2 * 4096}) == EEXIST);
  CHECK(map_error(table, {memory, 0x1'1000, 4096}) == EEXIST);
  CHECK(map_error(table, {memory, 0x1'0000, 4 * 4096}) == EEXIST);
  CHECK(map_error(table, {memory, 0x1'0000, 4096}) == 0);
  CHECK(map_error(table, {memory, 0x1'3000, 4096}) == 0);
}

TEST_CASE("unmapping names exactly what was mapped") {
  MappingTable table;
  REQUIRE(map_error(table, {memory, 0x1'0000, 2 * 4096}) == 0);
  const std::uint64_t generation = table.generation();
  CHECK_FALSE(table.unmap(0x1'0000, 4096));
  CHECK_FALSE(table.unmap(0x1'1000, 4096));
  CHECK(table.generation() == generation);
  CHECK(table.unmap(0x1'0000, 2 * 4096));
  CHECK(table.generation() != generation);
  CHECK_FALSE(table.unmap(0x1'0000, 2 * 4096));
  CHECK(table.window(0x1'0000).size_bytes == 0);
}

TEST_CASE("65535 mappings fit and one more is ENOSPC") {
  MappingTable table;
  for (std::uint64_t i = 0; i < 65535; ++i) REQUIRE(map_error(table, {memory, i * 4096, 4096}) == 0);
  CHECK(table.mappings_left() == 0);
  CHECK(map_error(table, {memory, 65535 * 4096ull, 4096}) == ENOSPC);
  REQUIRE(table.unmap(0, 4096));
  CHECK(table.mappings_left() == 1);
  CHECK(map_error(table, {memory, 65535 * 4096ull, 4096}) == 0);
}

}  // namespace
}  // namespace pollux::softnvme
