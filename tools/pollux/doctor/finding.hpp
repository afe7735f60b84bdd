// One thing that `pollux doctor` looked at: what it found, whether that is in the way, and what mends it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pollux::cli {

enum class Severity : std::uint8_t {
  fine,
  note,     // worth knowing; nothing to do
  warning,  // I/O works, and is slower, less safe or on a worse drive than it could be
  blocked,  // in the way
};

struct Finding {
  std::string check;  // "memlock"
  Severity severity = Severity::fine;
  std::string found;
  std::string remedy = {};  // one line: a command where there is one; empty: nothing to do
  bool by_setup = false;    // "pollux setup" mends it, too
};

using Findings = std::vector<Finding>;

}  // namespace pollux::cli
