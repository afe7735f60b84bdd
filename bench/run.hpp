// Runs jobs: opens the drives, gives each job a thread, watches over them from the calling thread, and merges what they
// measured.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "pollux/bench/job.hpp"
#include "pollux/bench/report.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

struct RunOptions {
  const std::atomic<int>* stop;  // becomes other than 0 when the user asks for an early end; outlives the run
  bool live_line = false;        // draw it on standard error
  std::function<void(const std::string&)> note = [](const std::string&) {};  // a line for people, before jobs start
};

// `list` outlives the report, which points into it. Returns a report even where jobs failed. Errors: what keeps the
// jobs from starting.
Result<Report> run(const JobList& list, const RunOptions& options);

}  // namespace pollux::bench
