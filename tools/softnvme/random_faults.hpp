// The option faults=N%: that share of I/O commands meets a fault, of kinds that a host gets through without losing a
// request or a byte. Each kind is as likely as the others. What data is read and stored stays right, and admin commands
// meet none. The sequence is the same for every device. A misnamed completion supposes a host that keeps an index in
// the low 12 bits of a CID, and above it what tells the uses of this index apart.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string_view>
#include <unordered_map>

#include "pollux/tools/softnvme/core/fault.hpp"

namespace pollux::softnvme {

enum class RandomFault : std::uint8_t {
  // After the fetch.
  hang,   // until it is aborted, or its queue or the controller ends
  drop,   // forgotten, and an Abort does not find it
  late,   // executed up to kMaxDelayNs later
  error,  // an error status without Do Not Retry, and not executed
  // When it was executed and is to be answered.
  lost,      // without a completion
  doubled,   // with two
  misnamed,  // with a CID that is not in use: as of an earlier use of an index that is, or of an index beyond all
};
inline constexpr std::size_t kRandomFaults = 7;

// How often each has been met.
using RandomFaultCounts = std::array<std::uint64_t, kRandomFaults>;

std::string_view name_of(RandomFault fault);

class RandomFaults final : public FaultHook {
 public:
  static constexpr std::uint64_t kMaxDelayNs = 200'000'000;

  // `share`: of a million I/O commands, so many meet a fault.
  explicit RandomFaults(std::uint32_t share) : share_(share) {}

  FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override;
  PostFault at_completion(std::uint16_t sqid, nvme::Completion& entry) override;

  const RandomFaultCounts& counts() const { return counts_; }

 private:
  static constexpr std::uint32_t kWhole = 1'000'000;
  static constexpr std::size_t kFetchFaults = 4;  // of the kinds, the first

  bool meets(std::size_t kinds);
  RandomFault draw(std::size_t first, std::size_t kinds);
  std::uint16_t wrong_cid(std::uint16_t sqid, std::uint16_t cid);

  const std::uint32_t share_;
  std::mt19937_64 random_;  // with its default seed
  RandomFaultCounts counts_{};
  // The CID of the last command of a queue that hangs, was dropped or is late, while it is not answered: the host waits
  // for it, and what it may take for its answer does the most harm.
  std::unordered_map<std::uint16_t, std::uint16_t> withheld_;
};

}  // namespace pollux::softnvme
