// From jobs as options describe them to jobs as they run: clones made, ranges checked against the namespace, and with
// verify= divided so that each written block has one writer. Knows namespaces by their sizes only; no device is touched
// here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pollux/bench/job.hpp"
#include "pollux/bench/job_loop.hpp"
#include "pollux/driver/block/namespace.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

// A job and the namespace that its filename led to.
struct PlacedJob {
  const Job* job;
  std::size_t drive;
  Namespace ns;
  std::uint64_t reset_ns;  // how long a reset of its controller may take: CAP.TO to disable it, and to enable it
  std::size_t place = 0;   // one number for all jobs on this namespace, whichever controller they reach it through
};

// One clone, ready to run.
struct PlannedJob {
  const Job* job;
  std::size_t drive;
  Namespace ns;
  std::uint32_t number;  // over all jobs, from 0; the job that verified content names
  LoopPlan loop;
};

// Errors: bs or offset not a multiple of the block size, a range that leaves the namespace or holds no block, too many
// jobs, verified ranges that other writers share. Each names job, option, value and the nearest valid one. `run`
// identifies the run in verified content.
Result<std::vector<PlannedJob>> plan_jobs(std::span<const PlacedJob> placed, std::uint64_t run);

}  // namespace pollux::bench
