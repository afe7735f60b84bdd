// Random numbers for workloads: small, fast, the same on every machine. Not for secrets.
// Source: SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#pragma once

#include <bit>
#include <cstdint>

namespace pollux::bench {

inline constexpr std::uint64_t kGolden = 0x9e37'79b9'7f4a'7c15;  // 2^64 / φ, odd

// Spreads a number over all 64 bits; a bijection.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58'476d'1ce4'e5b9;
  x = (x ^ (x >> 27)) * 0x94d0'49bb'1331'11eb;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() noexcept { return mix(state_ += kGolden); }

  // Uniform in [0, bound) to within bound/2^64; a multiplication instead of a division.
  std::uint64_t below(std::uint64_t bound) noexcept {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(static_cast<Wide>(next()) * bound >> 64);
  }

 private:
  std::uint64_t state_;
};

// The numbers 0 to count - 1 in a shuffled order, each exactly once, in constant memory: a congruential generator of
// full period over the next power of two, its state scrambled by a bijection, and what lies beyond `count` passed over
// (fewer than half).
class Permutation {
 public:
  Permutation(std::uint64_t count, std::uint64_t seed) : count_(count) {
    Random random(seed);
    const auto bits = static_cast<unsigned>(std::bit_width(count - 1));
    mask_ = bits == 0 ? 0 : ~0ull >> (64 - bits);
    shift_ = bits / 2 + 1;
    // Full period modulo a power of two: an odd increment and a multiplier of the form 4n + 1 (Hull and Dobell, 1962).
    multiplier_ = (random.next() & ~3ull) | 1;
    increment_ = random.next() | 1;
    scramble_ = random.next() | 1;
    state_ = random.next() & mask_;
  }

  // May be called `count` times; then the order repeats.
  std::uint64_t next() noexcept {
    for (;;) {
      state_ = (state_ * multiplier_ + increment_) & mask_;
      std::uint64_t value = state_;
      value ^= value >> shift_;
      value = value * scramble_ & mask_;
      value ^= value >> shift_;
      if (value < count_) return value;
    }
  }

 private:
  std::uint64_t count_;
  std::uint64_t mask_ = 0;
  unsigned shift_ = 1;
  std::uint64_t multiplier_ = 1;
  std::uint64_t increment_ = 1;
  std::uint64_t scramble_ = 1;
  std::uint64_t state_ = 0;
};

}  // namespace pollux::bench
