// A bit field of a register or a dword: where it begins and how wide it is. Registers stay plain integers.
#pragma once

#include <concepts>
#include <cstdint>

namespace pollux::nvme {

struct Field {
  unsigned shift;
  unsigned width;

  constexpr std::uint64_t mask() const { return (width == 64 ? ~0ull : (1ull << width) - 1) << shift; }

  // The field's value in `word`.
  constexpr std::uint64_t of(std::uint64_t word) const { return (word & mask()) >> shift; }

  // `word` with the field set to `value`; bits of `value` beyond the width are dropped.
  template <std::unsigned_integral Word>
  constexpr Word put(Word word, std::uint64_t value) const {
    return static_cast<Word>((word & ~mask()) | (value << shift & mask()));
  }
};

}  // namespace pollux::nvme
