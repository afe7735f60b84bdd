// Buffers and registrations: reachable while they live, gone after, in whatever order they end.
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>
#include <vector>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

TEST_CASE_METHOD(AttachedFixture, "a buffer is mapped as a whole, with its file, and unmapped by scope") {
  {
    auto buffer = space->allocate(10'000);
    REQUIRE(buffer);
    const Slice slice = buffer->slice();
    CHECK(slice.size_bytes == 12'288);
    CHECK(slice.data == buffer->memory().data());
    REQUIRE(io->mappings() == 1);
    const vfio::DmaMapping mapping = io->mapping(slice.iova);
    CHECK(mapping.address == slice.data);
    CHECK(mapping.size_bytes == slice.size_bytes);
    CHECK(mapping.fd >= 0);  // while it was mapped
    CHECK(buffer->memory().fd() == -1);
    CHECK((mapping.device_may_read && mapping.device_may_write));
  }
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "buffers cost no file descriptor") {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few{64, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  std::vector<Buffer> buffers;
  std::string refused;
  while (buffers.size() < 200 && refused.empty()) {
    auto buffer = space->allocate(k4KiB);
    if (buffer)
      buffers.push_back(std::move(*buffer));
    else
      refused = buffer.error().message();
  }
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(refused == "");
}

TEST_CASE_METHOD(AttachedFixture, "a part of a slice is the same offset on both sides") {
  auto buffer = space->allocate(k4KiB);
  REQUIRE(buffer);
  const Slice whole = buffer->slice();
  const Slice part = buffer->slice(512, 1024);
  CHECK(part.data == whole.data + 512);
  CHECK(part.iova == whole.iova + 512);
  CHECK(part.size_bytes == 1024);
}

TEST_CASE_METHOD(AttachedFixture, "buffers may end in any order, and their addresses are used again") {
  std::mt19937 random(7);
  vfio::Iova highest_first_round = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<Buffer> buffers;
    vfio::Iova highest = 0;
    for (std::uint64_t pages = 1; pages <= 8; ++pages) {
      auto buffer = space->allocate(pages * k4KiB);
      REQUIRE(buffer);
      highest = std::max(highest, buffer->slice().iova);
      buffers.push_back(std::move(*buffer));
    }
    if (round == 0) highest_first_round = highest;
    CHECK(highest == highest_first_round);
    std::ranges::shuffle(buffers, random);
    while (!buffers.empty()) buffers.pop_back();
    REQUIRE(io->mappings() == 0);
  }
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "a move hands the mapping over; what the target held is unmapped at once") {
  auto first = space->allocate(k4KiB);
  auto second = space->allocate(2 * k4KiB);
  REQUIRE((first && second));
  const vfio::Iova kept = first->slice().iova;
  *second = std::move(*first);
  CHECK(io->mappings() == 1);
  CHECK(second->slice().iova == kept);
  CHECK(first->slice().data == nullptr);
  {
    const Buffer third(std::move(*second));
    CHECK(io->mappings() == 1);
  }
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "memory of the application's own is reachable by its handle until that goes") {
  auto memory = Memory::allocate(4 * k4KiB);
  REQUIRE(memory);
  {
    auto middle = space->register_memory(memory->data() + k4KiB, 2 * k4KiB, memory->fd(), k4KiB);
    REQUIRE(middle);
    const vfio::DmaMapping mapping = io->mapping(middle->slice().iova);
    CHECK(mapping.address == memory->data() + k4KiB);
    CHECK(mapping.size_bytes == 2 * k4KiB);
    CHECK(mapping.fd_offset == k4KiB);

    auto all = space->register_memory(memory->data(), 4 * k4KiB);
    REQUIRE(all);
    CHECK(io->mappings() == 2);
    *all = std::move(*middle);
    CHECK(io->mappings() == 1);
    CHECK(all->slice().data == memory->data() + k4KiB);
  }
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "a space that maps files refuses memory without one") {
  io->wants.file_descriptor = true;
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  CHECK_FALSE(space->register_memory(memory->data(), k4KiB));
  CHECK(space->register_memory(memory->data(), k4KiB, memory->fd()));
}

TEST_CASE_METHOD(AttachedFixture, "a buffer keeps its space alive") {
  auto buffer = space->allocate(k4KiB);
  REQUIRE(buffer);
  const std::weak_ptr<Space> watched = space;
  device.reset();
  space.reset();
  CHECK_FALSE(watched.expired());
  *buffer = Buffer();
  CHECK(watched.expired());
}

}  // namespace
}  // namespace pollux::dma::test
