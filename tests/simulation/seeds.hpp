// Many seeds, in several processes: each has its address space to itself, and one that dies is told of.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/tests/simulation/world.hpp"

namespace pollux::simulation {

struct Totals {
  std::uint64_t seeds = 0;
  std::uint64_t requests = 0;
  std::array<std::uint64_t, kActs> met{};
  Rungs rungs;
  std::uint64_t failed = 0;  // jobs that ended at a seed that fails
  std::uint64_t failed_seed = 0;
  int signal = 0;  // that ended the process of that seed; 0: it gave a verdict

  void add(const Verdict& verdict);
  void add(const Totals& other);
};

struct Range {
  std::uint64_t first;
  std::uint64_t count;
};

inline constexpr unsigned kMaxJobs = 256;

// Every `jobs`th seed goes to one process, which stops at the first that fails. Of those that fail the least is told.
Totals run_seeds(const Range& range, unsigned jobs);

}  // namespace pollux::simulation
