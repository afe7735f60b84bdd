#include "pollux/bench/crc32c.hpp"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace pollux::bench {
namespace {

constexpr std::uint32_t kReflectedPolynomial = 0x82f6'3b78;

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kReflectedPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}

constexpr auto kTable = make_table();

using Function = std::uint32_t (*)(std::span<const std::byte>, std::uint32_t);

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_instruction(std::span<const std::byte> data,
                                                                      std::uint32_t before) {
  std::uint64_t crc = ~before;
  while (data.size() >= sizeof(std::uint64_t)) {
    std::uint64_t word;
    std::memcpy(&word, data.data(), sizeof word);
    crc = _mm_crc32_u64(crc, word);
    data = data.subspan(sizeof word);
  }
  auto tail = static_cast<std::uint32_t>(crc);
  for (const std::byte byte : data) tail = _mm_crc32_u8(tail, static_cast<unsigned char>(byte));
  return ~tail;
}

Function choose() { return __builtin_cpu_supports("sse4.2") ? crc32c_by_instruction : crc32c_by_table; }
#else
Function choose() { return crc32c_by_table; }
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> data, std::uint32_t before) {
  std::uint32_t crc = ~before;
  for (const std::byte byte : data) crc = crc >> 8 ^ kTable[(crc ^ static_cast<std::uint32_t>(byte)) & 0xff];
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before) {
  static const Function function = choose();
  return function(data, before);
}

}  // namespace pollux::bench
