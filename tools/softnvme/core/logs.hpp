// What the log pages tell: the error information ring, the health counters, which commands and features there are. NVMe
// base 2.0c, 5.16.1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/log.hpp"

namespace pollux::softnvme {

inline constexpr std::size_t kErrorLogEntries = 64;  // ELPE + 1
inline constexpr std::size_t kMaxLogBytes = 4096;    // the largest page that is kept

// Everything that SMART counts, and the commands that it does not.
struct HealthCounters {
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t read_commands = 0;
  std::uint64_t write_commands = 0;
  std::uint64_t other_commands = 0;  // I/O commands that are neither; in no log page
  std::uint64_t media_errors = 0;
  std::uint64_t unsafe_shutdowns = 0;
};

class Logs {
 public:
  HealthCounters& health() { return health_; }
  const HealthCounters& health() const { return health_; }

  // Remembers a command that failed. `status` is without the phase tag.
  void note_error(std::uint16_t sqid, std::uint16_t cid, std::uint16_t status, std::uint32_t nsid, std::uint64_t lba);

  // Namespace `nsid` stands in the list of those that have changed until the host has read it.
  void note_namespace_change(std::uint32_t nsid);
  void forget_namespace_changes() { changed_namespaces_.clear(); }

  // What the pages say and lives elsewhere.
  struct Conditions {
    std::uint16_t temperature_kelvin;
    std::uint8_t critical_warning;
    std::uint64_t powered_ns;
    bool shadow_doorbells;  // offered
  };

  // Writes page `lid` into `page`, which is zero, and returns its size; nothing for a page that there is not.
  std::optional<std::size_t> fill(std::uint8_t lid, const Conditions& now,
                                  std::span<std::byte, kMaxLogBytes> page) const;

 private:
  void fill_smart(const Conditions& now, nvme::SmartLog& smart) const;

  HealthCounters health_;
  std::array<nvme::ErrorLogEntry, kErrorLogEntries> errors_{};  // a ring
  std::vector<std::uint32_t> changed_namespaces_;               // ascending; at most kMaxNamespaces
  std::uint64_t error_count_ = 0;                               // ever; the newest is at (error_count_ - 1) % size
};

}  // namespace pollux::softnvme
