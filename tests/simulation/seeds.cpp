#include "pollux/tests/simulation/seeds.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <new>
#include <span>
#include <stdexcept>

namespace pollux::simulation {
namespace {

// What a job has told so far, in memory that outlives it.
struct Told {
  std::uint64_t running_seed = 0;
  Totals totals;
};

void run_job(const Range& range, unsigned jobs, unsigned job, Told& told) {
  constexpr std::chrono::seconds kProgress(10);
  Ground ground;
  auto last = std::chrono::steady_clock::now();
  for (std::uint64_t i = job; i < range.count; i += jobs) {
    told.running_seed = range.first + i;
    const Verdict verdict = World(ground, Schedule::of(told.running_seed)).run();
    told.totals.add(verdict);
    if (!verdict.failure.empty()) {
      told.totals.failed = 1;
      told.totals.failed_seed = told.running_seed;
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (job != 0 || now - last < kProgress) continue;
    last = now;
    fmt::print(stderr, "{} of {} seeds\n", i, range.count);
  }
}

}  // namespace

void Totals::add(const Verdict& verdict) {
  ++seeds;
  requests += verdict.requests;
  for (std::size_t i = 0; i < kActs; ++i) met[i] += verdict.met[i];
  rungs.add(verdict.rungs);
}

void Totals::add(const Totals& other) {
  seeds += other.seeds;
  requests += other.requests;
  for (std::size_t i = 0; i < kActs; ++i) met[i] += other.met[i];
  rungs.add(other.rungs);
  if (other.failed != 0 && (failed == 0 || other.failed_seed < failed_seed)) {
    failed_seed = other.failed_seed;
    signal = other.signal;
  }
  failed += other.failed;
}

Totals run_seeds(const Range& range, unsigned jobs) {
  const std::size_t bytes = jobs * sizeof(Told);
  void* const shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::runtime_error("mmap: no memory left");
  const std::span<Told> told(static_cast<Told*>(shared), jobs);
  std::vector<pid_t> children;
  for (unsigned job = 0; job < jobs; ++job) {
    new (&told[job]) Told;
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork: no processes left");
    if (child == 0) {
      run_job(range, jobs, job, told[job]);
      _exit(0);
    }
    children.push_back(child);
  }
  Totals totals;
  for (unsigned job = 0; job < jobs; ++job) {
    int status = 0;
    if (waitpid(children[job], &status, 0) != children[job]) throw std::runtime_error("waitpid: a process is missing");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      told[job].totals.failed = 1;
      told[job].totals.failed_seed = told[job].running_seed;
      told[job].totals.signal = WIFSIGNALED(status) ? WTERMSIG(status) : SIGABRT;  // a sanitizer exits
    }
    totals.add(told[job].totals);
  }
  munmap(shared, bytes);
  return totals;
}

}  // namespace pollux::simulation
