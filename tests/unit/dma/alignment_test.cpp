// A large IOMMU page needs an IOVA that agrees with the virtual address modulo that page: so the allocator is asked.
#include <catch2/catch.hpp>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

std::uint64_t distance(const Slice& slice) { return reinterpret_cast<std::uintptr_t>(slice.data) - slice.iova; }

TEST_CASE_METHOD(AttachedFixture, "a buffer of 2 MiB and more agrees with its IOVA modulo 2 MiB") {
  auto small = space->allocate(k4KiB);  // so that the lowest free address is not aligned by chance
  auto large = space->allocate(2 * k2MiB);
  REQUIRE((small && large));
  CHECK(distance(large->slice()) % k2MiB == 0);
  CHECK(large->slice().iova % k2MiB == 0);
}

TEST_CASE_METHOD(AttachedFixture, "registered memory agrees too, wherever it begins") {
  auto memory = Memory::allocate(3 * k2MiB);
  REQUIRE(memory);
  auto registered = space->register_memory(memory->data() + 3 * k4KiB, 2 * k2MiB);
  REQUIRE(registered);
  CHECK(distance(registered->slice()) % k2MiB == 0);
  CHECK(registered->slice().iova % k2MiB == 3 * k4KiB);
}

TEST_CASE_METHOD(AttachedFixture, "memory below 2 MiB is packed, not spread to multiples of 2 MiB") {
  auto first = space->allocate(k4KiB);
  auto second = space->allocate(k4KiB);
  REQUIRE((first && second));
  CHECK(second->slice().iova == first->slice().iova + k4KiB);
}

TEST_CASE_METHOD(SpaceFixture, "where only fragments are left, smaller pages do") {
  io->ranges_after_attach = {
      {k2MiB + k4KiB, 2 * k2MiB + k2MiB / 2 - 1}};  // no aligned 2 MiB in it, but 2.99 MiB in all
  attach();
  auto memory = Memory::allocate(k2MiB);
  REQUIRE(memory);
  auto registered = space->register_memory(memory->data(), k2MiB);
  REQUIRE(registered);
  CHECK(registered->slice().iova == k2MiB + k4KiB);
}

TEST_CASE_METHOD(SpaceFixture, "the IOMMU's granule rules, not ours") {
  io->sizes = 0x1'0000;  // 64 KiB pages only
  attach();
  auto memory = Memory::allocate(k2MiB);
  REQUIRE(memory);
  auto registered = space->register_memory(memory->data() + 0x2'1000, k4KiB, memory->fd(), 0x2'1000);
  REQUIRE(registered);
  const vfio::Iova iova = registered->slice().iova;
  CHECK(iova % 0x1'0000 == 0x1000);
  CHECK(io->mapping(iova - 0x1000).size_bytes == 0x1'0000);
  CHECK(io->mapping(iova - 0x1000).fd_offset == 0x2'0000);
  CHECK(io->violations().empty());
}

}  // namespace
}  // namespace pollux::dma::test
