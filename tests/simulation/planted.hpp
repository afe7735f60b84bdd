// Bugs to be found: planted.patch puts them into a copy of the driver, each behind a switch, and README.md lists them.
#pragma once

#include <string_view>

namespace pollux::simulation {

// The one that is switched on; set before anything runs.
inline std::string_view planted_bug;

inline bool planted(std::string_view name) { return planted_bug == name; }

}  // namespace pollux::simulation
