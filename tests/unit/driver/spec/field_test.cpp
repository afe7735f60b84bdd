// Bit fields of registers and dwords.
#include "pollux/driver/spec/field.hpp"

#include <catch2/catch.hpp>
#include <cstdint>

namespace pollux::nvme::test {
namespace {

TEST_CASE("a field reads its own bits and no others") {
  constexpr Field kField{4, 8};
  CHECK(kField.of(0xffff'ffff'ffff'f00f) == 0);
  CHECK(kField.of(0x0ab0) == 0xab);
}

TEST_CASE("putting a value leaves the neighbours, and drops what does not fit") {
  constexpr Field kField{4, 8};
  CHECK(kField.put(0xffff'ffffu, 0) == 0xffff'f00fu);
  CHECK(kField.put(0u, 0x1ff) == 0xff0u);
  CHECK(kField.put(std::uint16_t{0xf00f}, 0x12) == 0xf12f);
}

TEST_CASE("a field may be the whole word, or its last bit") {
  constexpr Field kWhole{0, 64};
  CHECK(kWhole.of(~0ull) == ~0ull);
  CHECK(kWhole.put(0ull, 42) == 42);
  constexpr Field kLast{63, 1};
  CHECK(kLast.of(1ull << 63) == 1);
  CHECK(kLast.put(0ull, 1) == 1ull << 63);
}

}  // namespace
}  // namespace pollux::nvme::test
