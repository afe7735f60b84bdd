// What single drives do otherwise than they say, as data: rows by PCI vendor and device id. An address may add to them
// (`,quirks=NAME+NAME`). The names are those of the kernel's flags (drivers/nvme/host/nvme.h, enum nvme_quirks),
// without NVME_QUIRK_ and in lower case; delay_after_queue_alloc is SPDK's (lib/nvme/nvme_quirks.c).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux::nvme {

enum class Quirk : std::uint16_t {
  bogus_nid = 1u << 0,
  no_ns_desc_list = 1u << 1,
  identify_cns = 1u << 2,
  disable_write_zeroes = 1u << 3,
  delay_before_chk_rdy = 1u << 4,
  delay_after_queue_alloc = 1u << 5,
  ignore_dev_subnqn = 1u << 6,
  no_deepest_ps = 1u << 7,
};

// A set of them.
struct Quirks {
  std::uint16_t bits = 0;

  constexpr Quirks() = default;
  constexpr Quirks(Quirk one) : bits(static_cast<std::uint16_t>(one)) {}
  constexpr bool has(Quirk one) const { return (bits & static_cast<std::uint16_t>(one)) != 0; }
  friend constexpr Quirks operator|(Quirks a, Quirks b) {
    Quirks both;
    both.bits = a.bits | b.bits;
    return both;
  }
  friend constexpr bool operator==(Quirks, Quirks) = default;
};
constexpr Quirks operator|(Quirk a, Quirk b) { return Quirks(a) | Quirks(b); }

// What a quirk is called, and what pollux does about it.
struct QuirkMeaning {
  Quirk quirk;
  const char* name;
  const char* meaning;
};
std::span<const QuirkMeaning> quirk_meanings();

struct QuirkRow {
  std::uint16_t vendor;
  std::uint16_t device;
  Quirks quirks;
  const char* drive;  // whose
  const char* why;
};
std::span<const QuirkRow> quirk_rows();

// The row of a PCI function; nullptr: it has none.
const QuirkRow* quirk_row_of(std::uint16_t vendor, std::uint16_t device);

// "bogus_nid+no_ns_desc_list"; empty: none. Error: a name that is none, with those that are.
Result<Quirks> parse_quirks(std::string_view names);

inline constexpr std::uint32_t kDelayBeforeReadyMs = 2'300;   // the kernel's NVME_QUIRK_DELAY_AMOUNT
inline constexpr std::uint32_t kDelayAfterQueueNs = 100'000;  // SPDK's

}  // namespace pollux::nvme
