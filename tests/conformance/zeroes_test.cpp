// Write Zeroes and Dataset Management (Deallocate), where the controller offers them; both devices of the project's
// tests do.
#include <algorithm>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

constexpr std::uint64_t kBlocks = 24, kInner = 7, kInnerAt = 9, kLba = 5;

class Zeroes : public TestDevice {
 public:
  Zeroes() : channel(open_channel({.depth = 4})), buffer(allocate(kBlocks * block())) {
    write_pattern(*channel, kLba, buffer.slice(0, kBlocks * block()), 1);
  }

  dma::Slice inner() { return buffer.slice(0, kInner * block()); }

  void check_neighbours() {
    CHECK(holds_pattern(*channel, kLba, buffer.slice(0, kInnerAt * block()), 1));
    const std::uint64_t behind = kInnerAt + kInner;
    CHECK(holds_pattern(*channel, kLba + behind, buffer.slice(0, (kBlocks - behind) * block()), 1));
  }

  std::unique_ptr<Channel> channel;
  dma::Buffer buffer;
};

TEST_CASE_METHOD(Zeroes, "the devices under test offer Write Zeroes and Dataset Management") {
  CHECK(ns.write_zeroes_blocks != 0);
  CHECK(ns.deallocate_blocks != 0);
}

TEST_CASE_METHOD(Zeroes, "written zeroes read as zeroes, and the blocks beside them keep what they had") {
  REQUIRE(write_zeroes(*channel, kLba + kInnerAt, kInner).ok());
  fill_bytes(inner(), kGuard);
  REQUIRE(read(*channel, kLba + kInnerAt, inner()).ok());
  CHECK(all_bytes(inner(), std::byte{0}));
  check_neighbours();
}

TEST_CASE_METHOD(Zeroes, "zeroes over more blocks than one command names are written to the last one") {
  // One command names 65536 blocks at most, and here perhaps fewer: WZSL.
  const std::uint64_t count = std::min<std::uint64_t>(ns.block_count - kLba - 2, 65'536 + 3);
  const dma::Slice one = buffer.slice(0, block());
  const std::uint64_t looked_at[] = {0, count / 2, std::min<std::uint64_t>(count - 1, 65'535),
                                     std::min<std::uint64_t>(count - 1, 65'536), count - 1};
  for (const std::uint64_t index : looked_at) write_pattern(*channel, kLba + index, one, 2);
  write_pattern(*channel, kLba - 1, one, 3);
  write_pattern(*channel, kLba + count, one, 3);

  REQUIRE(write_zeroes(*channel, kLba, count).ok());
  for (const std::uint64_t index : looked_at) {
    INFO("block " << index << " of " << count);
    fill_bytes(one, kGuard);
    REQUIRE(read(*channel, kLba + index, one).ok());
    CHECK(all_bytes(one, std::byte{0}));
  }
  CHECK(holds_pattern(*channel, kLba - 1, one, 3));
  CHECK(holds_pattern(*channel, kLba + count, one, 3));
}

TEST_CASE_METHOD(Zeroes, "the last block of the namespace can be zeroed and deallocated") {
  const dma::Slice one = buffer.slice(0, block());
  write_pattern(*channel, ns.block_count - 1, one, 4);
  CHECK(deallocate(*channel, ns.block_count - 1, 1).ok());
  CHECK(write_zeroes(*channel, ns.block_count - 1, 1).ok());
  REQUIRE(read(*channel, ns.block_count - 1, one).ok());
  CHECK(all_bytes(one, std::byte{0}));
}

// Deallocate is advice: a block reads as zeroes, as ones, or as before (NVM command set 1.0c, 3.2.3.2), but as one of
// them whole.
TEST_CASE_METHOD(Zeroes, "a deallocated block is empty or unchanged, and the blocks beside it keep what they had") {
  REQUIRE(deallocate(*channel, kLba + kInnerAt, kInner).ok());
  REQUIRE(read(*channel, kLba + kInnerAt, inner()).ok());
  for (std::uint64_t index = 0; index < kInner; ++index) {
    INFO("block " << index);
    const dma::Slice one = inner().part(index * block(), block());
    const bool empty = all_bytes(one, std::byte{0}) || all_bytes(one, std::byte{0xff});
    CHECK((empty || !first_difference(one, 1, words(kLba + kInnerAt + index))));
  }
  check_neighbours();
}

TEST_CASE_METHOD(Zeroes, "deallocation of more than one command or range may name is split, and answered once") {
  const auto split = [&](const Namespace& how, std::uint64_t blocks) {
    channel.reset();
    channel = open_channel(how, {.depth = 2});
    write_pattern(*channel, kLba + blocks, inner(), 6);
    CHECK(deallocate(*channel, kLba, blocks).ok());
    CHECK(holds_pattern(*channel, kLba + blocks, inner(), 6));
  };
  SECTION("the controller's own limits") { split(ns, std::min<std::uint64_t>(ns.block_count - 64, 70'000)); }
  SECTION("narrower ones") {
    Namespace narrow = ns;
    narrow.deallocate_range_blocks = 2;
    narrow.deallocate_blocks = 5;
    split(narrow, 103);
  }
  SECTION("Write Zeroes a few blocks at a time") {
    Namespace narrow = ns;
    narrow.write_zeroes_blocks = 3;
    channel.reset();
    channel = open_channel(narrow, {.depth = 2});
    REQUIRE(write_zeroes(*channel, kLba + kInnerAt, kInner).ok());
    REQUIRE(read(*channel, kLba + kInnerAt, inner()).ok());
    CHECK(all_bytes(inner(), std::byte{0}));
    check_neighbours();
  }
}

TEST_CASE_METHOD(Zeroes, "a deallocated block can be written again") {
  REQUIRE(deallocate(*channel, kLba, kBlocks).ok());
  write_pattern(*channel, kLba + kInnerAt, inner(), 5);
  CHECK(holds_pattern(*channel, kLba + kInnerAt, inner(), 5));
}

}  // namespace
}  // namespace pollux::conformance
