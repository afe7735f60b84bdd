// CRC-32C beside published vectors, by table and by instruction.
#include "pollux/bench/crc32c.hpp"

#include <catch2/catch.hpp>
#include <string_view>
#include <vector>

#include "pollux/bench/random.hpp"

using namespace pollux::bench;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("CRC-32C agrees with the vectors of RFC 3720, B.4, and the check value of its catalogue") {
  std::vector<std::byte> up(32), down(32);
  for (unsigned i = 0; i < 32; ++i) {
    up[i] = static_cast<std::byte>(i);
    down[i] = static_cast<std::byte>(31 - i);
  }
  for (const auto function : {&crc32c, &crc32c_by_table}) {
    CHECK(function(bytes_of("123456789"), 0) == 0xe306'9283);
    CHECK(function(std::vector<std::byte>(32, std::byte{0x00}), 0) == 0x8a91'36aa);
    CHECK(function(std::vector<std::byte>(32, std::byte{0xff}), 0) == 0x62a8'ab43);
    CHECK(function(up, 0) == 0x46dd'794e);
    CHECK(function(down, 0) == 0x113f'db5c);
    CHECK(function({}, 0) == 0);
  }
}

TEST_CASE("table and instruction agree on any length and alignment, and a checksum can be continued") {
  Random random(3);
  std::vector<std::byte> data(200);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random.next());
  for (std::size_t begin = 0; begin < 9; ++begin) {
    for (std::size_t length = 0; begin + length <= data.size(); ++length) {
      const auto part = std::span<const std::byte>(data).subspan(begin, length);
      const std::uint32_t whole = crc32c(part);
      REQUIRE(whole == crc32c_by_table(part));
      REQUIRE(whole == crc32c(part.subspan(length / 3), crc32c(part.first(length / 3))));
    }
  }
}
