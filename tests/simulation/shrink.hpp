// The shortest schedule that still fails.
#pragma once

#include "pollux/tests/simulation/world.hpp"

namespace pollux::simulation {

// Leaves out ever smaller parts of the steps, as long as what is left fails.
Schedule shrink(Ground& ground, Schedule schedule);

}  // namespace pollux::simulation
