// What runs out: mappings, memory that may be locked, I/O address space. Each says so with numbers, and leaves nothing
// half done.
#include <catch2/catch.hpp>
#include <vector>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

bool says(const Error& error, const char* words) {
  INFO(error.message());
  CHECK(error.message().find(words) != std::string::npos);
  return error.message().find(words) != std::string::npos;
}

TEST_CASE_METHOD(AttachedFixture, "the last mapping is used; the one after it says how many there are") {
  io->entry_limit = 3;
  std::vector<Buffer> buffers;
  for (int i = 0; i < 3; ++i) {
    auto buffer = space->allocate(k4KiB);
    REQUIRE(buffer);
    buffers.push_back(std::move(*buffer));
  }
  const auto refused = space->allocate(k4KiB);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().os_error == ENOSPC);
  CHECK(says(refused.error(), "this address space holds 3 mappings of 12 KiB, 16 KiB with this one"));

  buffers.pop_back();
  CHECK(space->allocate(k4KiB));
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "too little memory may be locked: says how much it would be in all") {
  io->memlock_limit_bytes = 3 * k4KiB;
  auto held = space->allocate(2 * k4KiB);
  REQUIRE(held);
  const auto refused = space->allocate(2 * k4KiB);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().os_error == ENOMEM);
  CHECK(says(refused.error(), "mapping memory for DMA failed (ENOMEM"));
  CHECK(says(refused.error(), "this address space holds 1 mappings of 8 KiB, 16 KiB with this one"));

  // The address of the mapping that failed is free again.
  auto fits = space->allocate(k4KiB);
  REQUIRE(fits);
  CHECK(fits->slice().iova == held->slice().iova + 2 * k4KiB);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(SpaceFixture, "no I/O address space left: says how much is held") {
  io->ranges_after_attach = {{0x1000, 0x4fff}};
  attach();
  auto held = space->allocate(3 * k4KiB);
  REQUIRE(held);
  const auto refused = space->allocate(2 * k4KiB);
  REQUIRE_FALSE(refused);
  CHECK(
      says(refused.error(), "no 8192 bytes of I/O address space are left in fake space: 1 mappings hold 12288 bytes"));
}

TEST_CASE_METHOD(SpaceFixture, "before a device is attached there is nowhere to map to") {
  io->ranges = {};
  const auto refused = space->allocate(k4KiB);
  REQUIRE_FALSE(refused);
  CHECK(says(refused.error(), "attach a device first"));
  CHECK(io->mappings() == 0);
}

TEST_CASE_METHOD(AttachedFixture, "an address whose unmap failed is not handed out again") {
  auto lost = space->allocate(k4KiB);
  REQUIRE(lost);
  const vfio::Iova iova = lost->slice().iova;
  io->unmap_fails = true;
  *lost = Buffer();
  io->unmap_fails = false;
  auto next = space->allocate(k4KiB);
  REQUIRE(next);
  CHECK(next->slice().iova != iova);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "a mapping whose unmap failed is not shared any more") {
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  auto lost = space->register_memory(memory->data(), k4KiB);
  REQUIRE(lost);
  const vfio::Iova iova = lost->slice().iova;
  io->unmap_fails = true;
  *lost = Registration();
  io->unmap_fails = false;
  auto next = space->register_memory(memory->data(), k4KiB);
  REQUIRE(next);
  CHECK(next->slice().iova != iova);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "a mapping that the kernel refused is not shared") {
  io->entry_limit = 0;
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  CHECK_FALSE(space->register_memory(memory->data(), k4KiB));
  CHECK_FALSE(space->register_memory(memory->data(), 512));
  io->entry_limit = 1;
  CHECK(space->register_memory(memory->data(), 512));
  CHECK(io->maps_made() == 1);
}

}  // namespace
}  // namespace pollux::dma::test
