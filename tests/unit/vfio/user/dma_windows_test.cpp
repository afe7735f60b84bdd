#include "pollux/vfio/user/dma_windows.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>

using namespace pollux::vfio;
using namespace pollux::vfio::user;

namespace {

struct Windows : DmaWindows {
  std::array<std::byte, 8192> memory{};
  Windows() { REQUIRE(add({.address = memory.data(), .iova = 0x10000, .size_bytes = 4096})); }
};

}  // namespace

TEST_CASE_METHOD(Windows, "a server reads and writes what is mapped, to its last byte") {
  const std::array<std::byte, 2> data{std::byte{1}, std::byte{2}};
  CHECK(write(0x10ffe, data));
  CHECK(memory[4095] == std::byte{2});
  std::array<std::byte, 2> back{};
  CHECK(read(0x10ffe, back));
  CHECK(back == data);
}

TEST_CASE_METHOD(Windows, "not a byte moves where part of it is not mapped") {
  const auto [iova, bytes] = GENERATE(table<std::uint64_t, std::size_t>(
      {{0xffff, 2}, {0x10fff, 2}, {0x11000, 1}, {0x10000, 4097}, {~0ull, 1}, {0, 1}}));
  CAPTURE(iova, bytes);
  std::vector<std::byte> data(bytes, std::byte{7});
  CHECK_FALSE(write(iova, data));
  CHECK_FALSE(read(iova, data));
  CHECK(std::ranges::count(memory, std::byte{7}) == 0);
}

TEST_CASE_METHOD(Windows, "a window that allows one direction refuses the other") {
  REQUIRE(add({.address = memory.data() + 4096, .iova = 0x20000, .size_bytes = 4096, .device_may_read = false}));
  std::array<std::byte, 1> byte{};
  CHECK(write(0x20000, byte));
  CHECK_FALSE(read(0x20000, byte));
}

TEST_CASE_METHOD(Windows, "windows do not overlap, and are removed by their bounds alone") {
  for (const std::uint64_t iova : {0xf001ull, 0x10000ull, 0x10fffull}) {
    const auto added = add({.address = memory.data(), .iova = iova, .size_bytes = 4096});
    REQUIRE_FALSE(added);
    CHECK(added.error().os_error == EEXIST);
  }
  CHECK(add({.address = memory.data(), .iova = 0x11000, .size_bytes = 4096}));
  CHECK_FALSE(remove(0x10000, 8192));
  CHECK_FALSE(remove(0x10800, 2048));
  CHECK(remove(0x10000, 4096));
  std::array<std::byte, 1> byte{};
  CHECK_FALSE(read(0x10000, byte));
  CHECK(count() == 1);
}
