#include "pollux/tools/softnvme/core/violation_log.hpp"

#include <fmt/format.h>

namespace pollux::softnvme {

void ViolationLog::add(Rule rule, std::string_view what) {
  ++count_;
  if (list_.size() == kMaxViolations) return;
  const RuleInfo& info = rule_info(rule);
  const std::string where = in_command_ ? fmt::format("SQ {} CID {:#06x}: ", sqid_, cid_) : std::string();
  list_.push_back({rule, fmt::format("{}{}; rule {}: {} ({})", where, what, info.name, info.statement, info.section)});
}

void ViolationLog::clear() {
  list_.clear();
  count_ = 0;
}

}  // namespace pollux::softnvme
