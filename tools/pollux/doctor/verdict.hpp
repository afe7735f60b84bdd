// What all findings come to: whether something is in the way, and what to do next.
#pragma once

#include <string>
#include <vector>

#include "pollux/tools/pollux/doctor/finding.hpp"
#include "pollux/tools/pollux/doctor/machine.hpp"

namespace pollux::cli {

// A heading, and what was found below it.
struct Section {
  std::string title;
  Findings findings;
};

struct Verdict {
  std::vector<Section> sections = {};
  Severity severity = Severity::fine;
  std::string next = {};  // a command, or a sentence where there is none
};

// One drive, and the machine below it. A drive that vfio-pci has is opened, if nothing is in the way.
Verdict judge(const Machine& machine, const vfio::PciFunction& function);

// The machine, and whether one of its drives is ready. None is opened.
Verdict judge(const Machine& machine);

}  // namespace pollux::cli
