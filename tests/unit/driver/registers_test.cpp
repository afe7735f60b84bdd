// How registers and doorbells are reached: by mapping where that is safe, else by call.
#include "pollux/driver/controller/registers.hpp"

#include <catch2/catch.hpp>

#include "register_file.hpp"

namespace pollux::nvme {

TEST_CASE("an area of BAR0 that may be mapped, read and written is mapped, and its doorbells are stores") {
  RegisterFile device;
  int calls = 0;
  device.on_write = [&](std::uint32_t) { ++calls; };
  Registers registers = *Registers::open(device);
  CHECK(device.maps == 1);
  registers.doorbell(0x1004)->ring(7);
  CHECK(calls == 0);
  CHECK(device.word(0x1004) == 7);
}

TEST_CASE("a BAR0 that cannot be written is not mapped, and nor is an area that begins between two dwords") {
  RegisterFile device;
  int calls = 0;
  device.on_write = [&](std::uint32_t) { ++calls; };
  SECTION("not to be written: a store would end the program") { device.region.writable = false; }
  SECTION("not to be read") { device.region.readable = false; }
  SECTION("askew") { device.region.mappable = {{0x1002, 0x800}}; }
  Registers registers = *Registers::open(device);
  CHECK(device.maps == 0);
  registers.doorbell(0x1004)->ring(7);
  CHECK(calls == 1);
  CHECK(device.word(0x1004) == 7);
}

}  // namespace pollux::nvme
