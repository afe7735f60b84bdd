// CRC-32C (Castagnoli), the checksum of verify=crc32c: polynomial 1EDC6F41h, reflected, initial value and final XOR all
// ones. Source: RFC 3720, appendix B.4, which also has test vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::bench {

// The checksum of `data` behind what `before` is the checksum of; 0: nothing. Uses the processor's instruction where it
// has one.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before = 0);

// The same by table, on any processor.
std::uint32_t crc32c_by_table(std::span<const std::byte> data, std::uint32_t before = 0);

}  // namespace pollux::bench
