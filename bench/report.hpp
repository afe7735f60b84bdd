// What a run found, ready to be written as text or as JSON. Plain data, merged where group_reporting asks for it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pollux/bench/job.hpp"
#include "pollux/bench/statistics.hpp"
#include "pollux/softnvme.hpp"

namespace pollux::bench {

// A thread's use of the machine: getrusage(2), RUSAGE_THREAD.
struct CpuUse {
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t wall_us = 0;  // of the same stretch: ramp_time and the last pass included
  std::uint64_t context_switches = 0;
  std::uint64_t major_faults = 0;
  std::uint64_t minor_faults = 0;
};

struct VerifyCounts {
  bool asked = false;
  std::uint64_t written_blocks = 0;
  std::uint64_t checked_in_mix = 0;
  std::uint64_t checked_at_end = 0;
  std::uint64_t mismatches = 0;
  bool last_pass_skipped = false;
};

// One job, or all that group_reporting merges.
struct ReportEntry {
  const Job* job = nullptr;  // the first of them
  unsigned jobs = 0;
  int error = 0;  // an errno; the first job's that has one
  Statistics statistics;
  std::uint64_t runtime_ns = 0;  // the longest job's measured time
  std::uint64_t runtime_sum_ns = 0;
  std::uint64_t longest_ns = 0;                    // from the start to the end of the longest job
  std::array<Moments, kDirections> bandwidth_kib;  // of samples, KiB/s
  std::array<Moments, kDirections> iops;
  CpuUse cpu;
  VerifyCounts verify;
  std::uint64_t submitted = 0;  // requests, those included that are not measured
  std::uint64_t answered = 0;
  bool continues_on_error = false;
  std::uint64_t io_errors = 0;
  int first_io_error = 0;             // an errno
  std::vector<std::string> messages;  // for people, in order
};

struct DriveReport {
  std::string address;
  std::optional<std::uint64_t> violations;     // what the software controller logged; nothing for other kinds
  std::vector<softnvme::MetFault> met_faults;  // where faults were asked of it
  std::vector<std::string> texts;              // lines about the first of them, and about other trouble with the drive
};

struct Report {
  const JobList* list = nullptr;
  std::vector<ReportEntry> entries;
  std::vector<DriveReport> drives;
  bool interrupted = false;
  std::uint64_t unix_time_ms = 0;

  // An I/O error that ended a job, a mismatch, a violation, trouble with a drive.
  bool failed() const;
};

std::string text_report(const Report& report);

// fio's structure and keys; README.md lists what is left out and what stands beside them.
std::string json_report(const Report& report);

// "1234k", "4.82GiB/s", "12.3us": four digits and a unit.
std::string count_text(double count);
std::string bandwidth_text(double bytes_per_second);
std::string latency_text(double ns);

inline double per_second(std::uint64_t amount, std::uint64_t ns) {
  return ns == 0 ? 0.0 : static_cast<double>(amount) * 1e9 / static_cast<double>(ns);
}

}  // namespace pollux::bench
