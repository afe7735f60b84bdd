// pollux-simulate: runs seeds, says how often each fault and each rung of the ladder was met, and shrinks what fails.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>

#include "pollux/tests/simulation/planted.hpp"
#include "pollux/tests/simulation/seeds.hpp"
#include "pollux/tests/simulation/shrink.hpp"

namespace pollux::simulation {
namespace {

void print(const Totals& totals) {
  fmt::print("{} seeds, {} requests\n", totals.seeds, totals.requests);
  for (std::size_t i = 0; i < kActs; ++i) {
    const Act act = static_cast<Act>(i);
    if (is_fault(act)) fmt::print("  {:<18} {}\n", name_of(act), totals.met[i]);
  }
  const Rungs& rungs = totals.rungs;
  fmt::print("  ladder: {} Aborts, {} controller resets, {} function resets, {} given up\n", rungs.aborts,
             rungs.controller_resets, rungs.function_resets, rungs.given_up);
}

void explain(std::uint64_t seed) {
  Ground ground;
  const Schedule schedule = Schedule::of(seed);
  fmt::print("seed {} fails: {}\n", seed, World(ground, schedule).run().failure);
  const Schedule least = shrink(ground, schedule);
  fmt::print("{} of its {} steps are enough: {}\n{}", least.steps.size(), schedule.steps.size(),
             World(ground, least).run().failure, least.text());
}

int run(int argc, char** argv) {
  CLI::App app("Runs the driver against a simulated controller that fails, each seed in its own way.");
  Range range{1, 1000};
  unsigned jobs = 1;
  app.add_option("--seed", range.first, "the first seed")->capture_default_str();
  app.add_option("--seeds", range.count, "how many")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--jobs", jobs, "processes at a time")->capture_default_str()->check(CLI::Range(1u, kMaxJobs));
  app.footer("Example: pollux-simulate --seed 1 --seeds 1000000 --jobs 8");
#ifdef POLLUX_PLANTED
  std::string bug;
  app.add_option("--bug", bug, "the planted bug to switch on, of planted.patch");
#endif
  CLI11_PARSE(app, argc, argv);
#ifdef POLLUX_PLANTED
  planted_bug = bug;
#endif

  const Totals totals = run_seeds(range, jobs);
  print(totals);
  if (totals.failed == 0) return 0;
  if (totals.signal != 0) {
    fmt::print("seed {} ends the process: {}\n{}", totals.failed_seed, strsignal(totals.signal),
               Schedule::of(totals.failed_seed).text());
  } else {
    explain(totals.failed_seed);
  }
  fmt::print("again: pollux-simulate --seed {} --seeds 1\n", totals.failed_seed);
  return 1;
}

}  // namespace
}  // namespace pollux::simulation

int main(int argc, char** argv) {
  try {
    return pollux::simulation::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "pollux-simulate: {}\n", error.what());
    return 1;
  }
}
