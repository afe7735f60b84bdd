// Configuration space: the header, the capabilities, and what may be written.
#include "pollux/tools/softnvme/config_space.hpp"

#include <catch2/catch.hpp>
#include <map>

namespace pollux::softnvme {
namespace {

std::uint32_t get(const ConfigSpace& space, std::uint64_t offset, std::size_t bytes) {
  std::uint32_t value = 0;
  space.read(offset, std::as_writable_bytes(std::span(&value, 1)).first(bytes));
  return value;
}
bool put(ConfigSpace& space, std::uint64_t offset, std::uint32_t value, std::size_t bytes) {
  return space.write(offset, std::as_bytes(std::span(&value, 1)).first(bytes));
}

TEST_CASE("the header says 1cc1:0021, an NVMe controller, with bus master off") {
  const ConfigSpace space(17);
  CHECK(get(space, 0, 4) == 0x0021'1cc1);
  CHECK(get(space, 8, 4) >> 8 == 0x010802);
  CHECK(get(space, 0x0e, 1) == 0);
  CHECK(space.memory_space());
  CHECK_FALSE(space.bus_master());
}

TEST_CASE("the capability list leads to power management, MSI-X, PCI Express and MSI, and ends") {
  const ConfigSpace space(17);
  REQUIRE((get(space, 6, 2) & 0x10) != 0);
  std::map<std::uint32_t, std::uint32_t> found;
  for (std::uint32_t at = get(space, 0x34, 1); at != 0; at = get(space, at + 1, 1)) {
    REQUIRE(found.size() < 8);
    found[get(space, at, 1)] = at;
  }
  REQUIRE(found.size() == 4);
  REQUIRE((found.contains(0x01) && found.contains(0x11) && found.contains(0x10) && found.contains(0x05)));
  CHECK((get(space, found[0x11] + 2, 2) & 0x7ff) == 16);  // table size, 0's based
  CHECK((get(space, found[0x11] + 4, 4) & ~7u) == kMsixTableOffset);
  CHECK((get(space, found[0x10] + 4, 4) & 1u << 28) != 0);  // FLR
  CHECK(get(space, 0x100, 4) == 0);                         // no extended capabilities
}

TEST_CASE("MSI asks for a power of two of messages, 32 at most, with 64-bit addresses and without masks") {
  constexpr std::uint64_t kMsi = 0xa0;
  const auto asked = [](std::uint32_t vectors) { return get(ConfigSpace(vectors), kMsi + 2, 2); };
  CHECK(asked(1) == 0x0080);
  CHECK(asked(4) == 0x0084);
  CHECK(asked(5) == 0x0086);
  CHECK(asked(17) == 0x008a);
  CHECK(asked(512) == 0x008a);
  CHECK(msi_vectors(512) == 32);
  ConfigSpace space(4);
  put(space, kMsi + 2, 0xffff, 2);
  CHECK(get(space, kMsi + 2, 2) == 0x00f5);  // enable, and Multiple Message Enable
  put(space, kMsi + 4, 0xffff'ffff, 4);
  CHECK(get(space, kMsi + 4, 4) == 0xffff'fffc);
  put(space, kMsi + 12, 0xffff'ffff, 4);
  CHECK(get(space, kMsi + 12, 4) == 0x0000'ffff);
}

TEST_CASE("there is no interrupt pin, since there is no INTx") { CHECK(get(ConfigSpace(17), 0x3d, 1) == 0); }

TEST_CASE("the Command register takes its bits and no others; what is read-only stays") {
  ConfigSpace space(1);
  put(space, 4, 0xffff, 2);
  CHECK(get(space, 4, 2) == 0x0546);
  CHECK(space.bus_master());
  put(space, 4, 0, 2);
  CHECK_FALSE(space.bus_master());
  CHECK_FALSE(space.memory_space());
  put(space, 0, 0, 4);
  CHECK(get(space, 0, 4) == 0x0021'1cc1);
}

TEST_CASE("in D3hot a function has neither memory space nor bus master, and comes back with what it had") {
  ConfigSpace space(1);
  constexpr std::uint64_t kPowerState = 0x44;
  constexpr std::uint32_t kNoSoftReset = 0x8;
  put(space, 4, 0x6, 2);
  put(space, kPowerState, 3, 2);
  CHECK(get(space, kPowerState, 2) == (kNoSoftReset | 3));
  CHECK_FALSE(space.memory_space());
  CHECK_FALSE(space.bus_master());
  SECTION("woken") { put(space, kPowerState, 0, 2); }
  SECTION("reset") { put(space, 0x68, 0x8000, 2); }
  CHECK(get(space, kPowerState, 2) == kNoSoftReset);
  CHECK(space.memory_space());
  CHECK(space.bus_master());
}

TEST_CASE("D1 and D2, which are not offered, are not entered") {
  ConfigSpace space(1);
  const std::uint32_t before = GENERATE(0u, 3u);
  put(space, 0x44, before, 2);
  put(space, 0x44, GENERATE(1u, 2u), 2);
  CHECK((get(space, 0x44, 2) & 3) == before);
}

TEST_CASE("BAR0 is sized as any BAR is") {
  ConfigSpace space(1);
  put(space, 0x10, 0xffff'ffff, 4);
  put(space, 0x14, 0xffff'ffff, 4);
  CHECK((get(space, 0x10, 4) & 0xf) == 4);  // 64-bit memory
  CHECK(~(get(space, 0x10, 4) & ~0xfu) + 1 == kBar0Bytes);
  CHECK(get(space, 0x14, 4) == 0xffff'ffff);
  put(space, 0x18, 0xffff'ffff, 4);
  CHECK(get(space, 0x18, 4) == 0);  // no BAR2
}

TEST_CASE("the bit that initiates a function level reset does, and reads as 0") {
  ConfigSpace space(1);
  constexpr std::uint64_t kDeviceControl = 0x68;
  CHECK(put(space, kDeviceControl, 0xa810, 2));
  CHECK((get(space, kDeviceControl, 2) & 0x8000) == 0);
  CHECK_FALSE(put(space, kDeviceControl, 0x2810, 2));
}

}  // namespace
}  // namespace pollux::softnvme
