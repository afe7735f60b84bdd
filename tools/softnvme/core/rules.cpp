#include "pollux/tools/softnvme/core/rules.hpp"

#include <array>

namespace pollux::softnvme {
namespace {

constexpr std::array<RuleInfo, kRuleCount> kRules{{
    {Rule::register_access, "register_access", "a register is accessed whole: 32 or 64 bits wide, aligned",
     "base 3.1.2"},
    {Rule::register_read_only, "register_read_only", "only registers that may be written are written", "base 3.1.3"},
    {Rule::register_reserved_bits, "register_reserved_bits", "reserved bits of a register are written as 0",
     "base 1.8"},
    {Rule::cc_changed_while_enabled, "cc_changed_while_enabled",
     "CC.CSS, MPS and AMS change only while EN is 0; IOSQES and IOCQES only while there is no I/O queue",
     "base 3.1.3.5"},
    {Rule::admin_queue_changed_while_enabled, "admin_queue_changed_while_enabled",
     "AQA, ASQ and ACQ change only while CC.EN is 0", "base 3.5.1"},
    {Rule::enabled_before_reset_finished, "enabled_before_reset_finished", "CC.EN goes to 1 only when CSTS.RDY is 0",
     "base 3.1.3.5"},
    {Rule::disabled_before_ready, "disabled_before_ready", "CC.EN goes to 0 only when CSTS.RDY or CSTS.CFS is 1",
     "base 3.1.3.5"},
    {Rule::enabled_with_unsupported_value, "enabled_with_unsupported_value",
     "CC.CSS, MPS and AMS hold values that CAP offers when EN goes to 1", "base 3.1.3.5"},
    {Rule::admin_queue_bad_size, "admin_queue_bad_size", "an admin queue holds 2 to 4096 entries", "base 3.1.3.8"},
    {Rule::admin_queue_misaligned, "admin_queue_misaligned", "ASQ and ACQ are aligned to a memory page",
     "base 3.1.3.9, 3.1.3.10"},
    {Rule::doorbell_without_queue, "doorbell_without_queue", "a doorbell is rung only while its queue exists",
     "base 5.2.1"},
    {Rule::doorbell_out_of_range, "doorbell_out_of_range", "a doorbell value is below the queue's size",
     "PCIe 3.1.2.1, 3.1.2.2"},
    {Rule::sq_tail_passes_head, "sq_tail_passes_head", "a submission queue never holds more than its size - 1 commands",
     "base 5.2.1"},
    {Rule::cq_head_passes_tail, "cq_head_passes_tail", "the host consumes only completions that were posted",
     "base 5.2.1"},
    {Rule::doorbell_repeated, "doorbell_repeated", "a doorbell is not written with the value that it has",
     "base 5.2.1"},
    {Rule::command_after_shutdown, "command_after_shutdown",
     "no command is submitted after a shutdown until the controller was reset", "base 3.6.1"},
    {Rule::cid_in_use, "cid_in_use", "a command identifier is not used by two outstanding commands of one queue",
     "base 3.3.3.1"},
    {Rule::cid_reserved, "cid_reserved", "command identifier FFFFh is not used", "base 3.3.3.1"},
    {Rule::sqe_changed_after_doorbell, "sqe_changed_after_doorbell",
     "a submission queue entry is left alone between its doorbell and its completion", "base 3.3.1"},
    {Rule::reserved_field, "reserved_field", "reserved fields of a command are 0", "base 1.8"},
    {Rule::psdt_on_admin_queue, "psdt_on_admin_queue", "admin commands over PCIe use PRPs: PSDT is 00b",
     "base 3.3.3.1"},
    {Rule::psdt_reserved, "psdt_reserved", "PSDT is not 11b", "base 3.3.3.1"},
    {Rule::prp_offset, "prp_offset",
     "PRP1 begins at a dword, a PRP list at a qword, every other PRP entry at offset 0 of a page", "base 4.1.1"},
    {Rule::dma_unmapped, "dma_unmapped", "a command names only memory that is mapped for the device", "DMA mapping"},
    {Rule::dma_forbidden, "dma_forbidden", "memory is mapped for the direction in which a command uses it",
     "DMA mapping"},
    {Rule::ring_unmapped, "ring_unmapped", "a queue's memory stays mapped while the queue exists", "base 3.3.1"},
    {Rule::queue_bad_identifier, "queue_bad_identifier",
     "a queue is created under an identifier that is free and granted, and deleted under one that exists",
     "base 5.4 to 5.7"},
    {Rule::queue_bad_size, "queue_bad_size", "an I/O queue holds 2 to CAP.MQES + 1 entries", "base 5.4, 5.5"},
    {Rule::queue_misaligned, "queue_misaligned", "an I/O queue's memory is aligned to a memory page", "base 5.4, 5.5"},
    {Rule::queue_not_contiguous, "queue_not_contiguous", "with CAP.CQR set an I/O queue is contiguous (PC = 1)",
     "base 5.4, 5.5"},
    {Rule::queue_entry_size, "queue_entry_size", "CC.IOSQES is 6 and CC.IOCQES is 4 before an I/O queue is created",
     "base 3.1.3.5"},
    {Rule::queue_order, "queue_order",
     "a completion queue is created before the submission queues that use it, and deleted after them", "base 5.5, 5.6"},
    {Rule::number_of_queues_late, "number_of_queues_late", "Number of Queues is set before any I/O queue exists",
     "base 5.27.1.5"},
}};

consteval bool indexed_by_rule() {
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    if (kRules[i].rule != static_cast<Rule>(i)) return false;
  }
  return true;
}
static_assert(indexed_by_rule());

}  // namespace

std::span<const RuleInfo> rules() { return kRules; }

const RuleInfo& rule_info(Rule rule) { return kRules[static_cast<std::size_t>(rule)]; }

}  // namespace pollux::softnvme
