// What the fuzzer gives, read from front to back, and how a target says that something must hold. After the end every
// number is 0, so that a short input is a whole one; targets let 0 mean "as an honest party would".
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

namespace pollux::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size_bytes) : left_(data, size_bytes) {}

  bool at_end() const { return left_.empty(); }

  // At most so many bytes.
  std::span<const std::uint8_t> bytes(std::size_t most) {
    const auto taken = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  std::span<const std::uint8_t> rest() { return bytes(left_.size()); }

  // Little-endian, as the host.
  template <typename Number>
  Number number() {
    Number value = 0;
    const auto from = bytes(sizeof value);
    if (!from.empty()) std::memcpy(&value, from.data(), from.size());
    return value;
  }
  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }

 private:
  std::span<const std::uint8_t> left_;
};

// What no input may break. The sanitizers see what reaches beyond memory; this is for the rest.
inline void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace pollux::fuzz
