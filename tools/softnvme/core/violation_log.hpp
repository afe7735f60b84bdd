// What the host broke of the specification, kept for tests to assert empty. The first kMaxViolations are kept with
// their text; all are counted. Texts carry the numbers; the command being executed, if there is one, is added by the
// log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/tools/softnvme/core/rules.hpp"

namespace pollux::softnvme {

struct Violation {
  Rule rule;
  std::string text;  // one line: what was done, with numbers; then the rule and its section
};

class ViolationLog {
 public:
  static constexpr std::size_t kMaxViolations = 256;

  // Adds one. `what` says what the host did, with its numbers.
  void add(Rule rule, std::string_view what);

  // Names the command that is being executed, for the texts of what follows.
  void enter_command(std::uint16_t sqid, std::uint16_t cid) {
    sqid_ = sqid;
    cid_ = cid;
    in_command_ = true;
  }
  void leave_command() { in_command_ = false; }

  const std::vector<Violation>& list() const { return list_; }
  std::uint64_t count() const { return count_; }
  void clear();

 private:
  std::vector<Violation> list_;
  std::uint64_t count_ = 0;
  std::uint16_t sqid_ = 0;
  std::uint16_t cid_ = 0;
  bool in_command_ = false;
};

}  // namespace pollux::softnvme
