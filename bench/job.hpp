// One job as its options describe it, before it meets a device: the values of a job file's section, or of the flags.
// Clones (numjobs) come later, in the plan. Plain data; fio's names and defaults.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pollux/driver/block/wait.hpp"

namespace pollux::bench {

enum class Pattern : std::uint8_t { read, write, randread, randwrite, rw, randrw };

// fio's name of a pattern.
std::string_view pattern_name(Pattern pattern);

inline constexpr bool is_random(Pattern pattern) {
  return pattern == Pattern::randread || pattern == Pattern::randwrite || pattern == Pattern::randrw;
}
inline constexpr bool may_read(Pattern pattern) { return pattern != Pattern::write && pattern != Pattern::randwrite; }
inline constexpr bool may_write(Pattern pattern) { return pattern != Pattern::read && pattern != Pattern::randread; }

// A place or a length on the namespace: bytes, or a share of its size.
struct Extent {
  std::uint64_t value = 0;  // bytes, or percent
  bool percent = false;
};

inline constexpr std::uint64_t kMaxBlockSizeBytes = 32ull << 20;
inline constexpr std::uint64_t kMaxDepth = 4095;  // what a Channel can hold
inline constexpr std::uint64_t kMinIoTimeoutNs = 1'000'000;
inline constexpr std::uint64_t kMaxIoTimeoutNs = 86'400ull * 1'000'000'000;
inline constexpr std::uint64_t kMaxJobs = 1024;  // of all sections together, clones counted

struct Job {
  std::string name = "pollux-bench";
  std::string filename = "soft:size=1GiB";
  bool names_device = false;  // filename was given
  Pattern rw = Pattern::read;
  std::uint64_t bs = 4096;  // bytes
  std::uint64_t iodepth = 1;
  std::uint64_t numjobs = 1;
  Extent size;  // value 0: up to the namespace's end
  Extent offset;
  std::uint64_t runtime_ns = 0;  // 0: no limit
  std::uint64_t ramp_time_ns = 0;
  bool time_based = false;
  std::uint64_t rwmixread = 50;  // percent
  std::uint64_t number_ios = 0;  // 0: no limit
  std::uint64_t randseed = 0;
  bool norandommap = false;
  bool thread = true;  // accepted for fio's sake: a job is always a thread
  bool group_reporting = false;
  bool verify = false;  // verify=crc32c
  Wait wait = Wait::poll;
  std::uint64_t reconnect_ns = 0;  // 0: a server that goes is lost at once
  bool reissue_writes = false;
  std::uint64_t io_timeout_ns = 30ull * 1'000'000'000;  // before the driver has a command aborted
  bool continue_on_read_error = false;
  bool continue_on_write_error = false;

  // The options of this job as they were written, for the report: not what [global] gave.
  std::vector<std::pair<std::string, std::string>> given;
};

// What a job file or a command line asks for.
struct JobList {
  std::vector<std::pair<std::string, std::string>> global;  // of the [global] sections, as written
  std::vector<Job> jobs;
};

}  // namespace pollux::bench
