// The rules of the violations log: everything that a host must not do and that this controller can see. One table, in
// rules.cpp.
//
// A violation is a breach of what the specification demands of the *host*, whether or not the specification has the
// controller report it. A command that is legal in form and cannot be served (LBA out of range, a namespace that is not
// there, an optional command or feature that is not offered) is an expected error: it gets its status and is no
// violation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pollux::softnvme {

enum class Rule : std::uint8_t {
  register_access,
  register_read_only,
  register_reserved_bits,
  cc_changed_while_enabled,
  admin_queue_changed_while_enabled,
  enabled_before_reset_finished,
  disabled_before_ready,
  enabled_with_unsupported_value,
  admin_queue_bad_size,
  admin_queue_misaligned,
  doorbell_without_queue,
  doorbell_out_of_range,
  sq_tail_passes_head,
  cq_head_passes_tail,
  doorbell_repeated,
  command_after_shutdown,
  cid_in_use,
  cid_reserved,
  sqe_changed_after_doorbell,
  reserved_field,
  psdt_on_admin_queue,
  psdt_reserved,
  prp_offset,
  dma_unmapped,
  dma_forbidden,
  ring_unmapped,
  queue_bad_identifier,
  queue_bad_size,
  queue_misaligned,
  queue_not_contiguous,
  queue_entry_size,
  queue_order,
  number_of_queues_late,
  count,  // how many rules there are
};

inline constexpr std::size_t kRuleCount = static_cast<std::size_t>(Rule::count);

struct RuleInfo {
  Rule rule;
  std::string_view name;       // as the enumerator
  std::string_view statement;  // what the host must keep
  std::string_view section;    // where the specification says so; "base" is 2.0c, "PCIe" is the transport 1.0c
};

// The table, indexed by Rule.
std::span<const RuleInfo> rules();

const RuleInfo& rule_info(Rule rule);

}  // namespace pollux::softnvme
