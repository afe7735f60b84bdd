// What an application needs to know of a namespace. A value: taken once from Drive::open_namespace(), it may be copied
// freely. It knows its drive: no other opens a channel to it, and nobody to one that was not taken from there.
#pragma once

#include <cstdint>

namespace pollux {

struct Namespace {
  std::uint64_t controller = 0;  // nvme::Controller::id() of the drive that opened it; 0: none did
  std::uint32_t nsid = 0;
  std::uint32_t block_size_bytes = 0;  // 2^n
  std::uint64_t block_count = 0;
  std::uint32_t boundary_blocks = 0;  // NOIOB: requests that cross a multiple are split there; 0: none
  bool volatile_write_cache = false;  // durable is what a flush or FUA covered
  // What one command names at most; longer requests are split. 0: the controller does not offer the command.
  std::uint64_t write_zeroes_blocks = 0;
  std::uint64_t deallocate_blocks = 0;
  std::uint32_t deallocate_range_blocks = 0;  // each range of that command
  // What tells it from others; all zeros where it has none.
  unsigned char nguid[16] = {};
  unsigned char eui64[8] = {};
  unsigned char uuid[16] = {};

  std::uint64_t size_bytes() const { return block_count * block_size_bytes; }
};

}  // namespace pollux
