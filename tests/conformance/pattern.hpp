// Bytes that tell where they belong: every 8 of them are a function of a seed and of their place, so that what was
// moved, dropped or left over from before is seen.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "pollux/dma/slice.hpp"

namespace pollux::conformance {

inline constexpr std::byte kGuard{0xa5};

inline std::uint64_t pattern_word(std::uint64_t seed, std::uint64_t place) {
  std::uint64_t word = (seed << 48) + place * 0x9e37'79b9'7f4a'7c15;
  word = (word ^ (word >> 29)) * 0xbf58'476d'1ce4'e5b9;
  return word ^ (word >> 32);
}

// `place` counts 8-byte words from the drive's beginning; the slice is whole blocks.
inline void fill(const dma::Slice& slice, std::uint64_t seed, std::uint64_t place) {
  for (std::uint64_t at = 0; at < slice.size_bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = pattern_word(seed, place++);
    std::memcpy(slice.data + at, &word, sizeof word);
  }
}

// The offset of the first 8 bytes that are not the pattern's.
inline std::optional<std::uint64_t> first_difference(const dma::Slice& slice, std::uint64_t seed, std::uint64_t place) {
  for (std::uint64_t at = 0; at < slice.size_bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t expected = pattern_word(seed, place++);
    if (std::memcmp(slice.data + at, &expected, sizeof expected) != 0) return at;
  }
  return std::nullopt;
}

inline void fill_bytes(const dma::Slice& slice, std::byte value) { std::fill_n(slice.data, slice.size_bytes, value); }

inline bool all_bytes(const dma::Slice& slice, std::byte value) {
  return std::all_of(slice.data, slice.data + slice.size_bytes, [value](std::byte b) { return b == value; });
}

}  // namespace pollux::conformance
