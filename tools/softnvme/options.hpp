// The options of a soft: address.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::softnvme {

struct Options {
  static constexpr std::uint64_t kDefaultSizeBytes = 1ull << 30;
  static constexpr std::uint64_t kMaxSizeBytes = 1ull << 46;  // 64 TiB
  static constexpr std::uint8_t kMaxMdts = 16;

  std::optional<std::uint64_t> size_bytes;  // nothing: not given
  std::uint32_t block_size_bytes = 512;
  std::string file;  // empty: memory
  bool null = false;
  std::uint8_t mdts = 6;
  std::uint32_t queues = 16;
  std::optional<std::uint32_t> vectors;      // of MSI-X; nothing: one a queue, the admin queue's included
  std::uint32_t entries = kMaxQueueEntries;  // of the largest queue
  bool shadow = false;                       // shadow doorbells are offered
  bool shadow_polls = false;                 // and never is a wake asked for
  bool vwc = true;                           // a volatile write cache
  bool trap = false;                         // BAR0 cannot be mapped: doorbells are written by call
  std::uint32_t faults_of_a_million = 0;     // I/O commands that meet a random fault

  // Reads the part behind "soft:", `,ns=N` taken off. Errors: one line that names the option, its value and the valid
  // ones.
  static Result<Options> parse(std::string_view text);
};

// "64k", "1GiB", "4096": bytes, powers of 1024. Nothing: not a size, or more than 64 bits.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace pollux::softnvme
