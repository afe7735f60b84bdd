#include "pollux/tests/simulation/shrink.hpp"

namespace pollux::simulation {

Schedule shrink(Ground& ground, Schedule schedule) {
  const auto fails = [&](const Schedule& candidate) { return !World(ground, candidate).run().failure.empty(); };
  for (std::size_t part = schedule.steps.size() / 2; part != 0; part /= 2) {
    for (std::size_t at = 0; at + part <= schedule.steps.size();) {
      Schedule shorter = schedule;
      const auto first = shorter.steps.begin() + static_cast<std::ptrdiff_t>(at);
      shorter.steps.erase(first, first + static_cast<std::ptrdiff_t>(part));
      if (fails(shorter)) {
        schedule = std::move(shorter);
      } else {
        at += part;
      }
    }
  }
  return schedule;
}

}  // namespace pollux::simulation
