#include "pollux/tools/softnvme/core/admin.hpp"

namespace pollux::softnvme {

using nvme::AdminOpcode;
using nvme::StatusCode;

Reply AdminCommands::execute(const nvme::Command& command) {
  state_.expect_zero(command.cdw2 | command.cdw3 | command.mptr, "CDW2, CDW3 or MPTR");
  switch (static_cast<AdminOpcode>(nvme::cdw0::kOpcode.of(command.cdw0))) {
    case AdminOpcode::identify:
      return identify(command);
    case AdminOpcode::create_cq:
      return create_cq(command);
    case AdminOpcode::create_sq:
      return create_sq(command);
    case AdminOpcode::delete_sq:
      return delete_sq(command);
    case AdminOpcode::delete_cq:
      return delete_cq(command);
    case AdminOpcode::get_log_page:
      return get_log_page(command);
    case AdminOpcode::get_features:
      return get_features(command);
    case AdminOpcode::set_features:
      return set_features(command);
    case AdminOpcode::abort:
      return abort(command);
    case AdminOpcode::async_event_request:
      return async_event_request(command);
    case AdminOpcode::doorbell_buffer_config:
      return doorbell_buffer_config(command);
    default:
      return refuse(StatusCode::invalid_opcode);
  }
}

// 5.1. Everything here is executed when it is fetched: only what a fault holds back, or an event request, can be
// aborted.
Reply AdminCommands::abort(const nvme::Command& command) {
  constexpr std::uint32_t kNotAborted = 1;
  state_.expect_zero(command.nsid | command.cdw11 | command.cdw12 | command.cdw13 | command.cdw14 | command.cdw15,
                     "NSID or CDW11 to CDW15 of Abort");
  const auto sqid = static_cast<std::uint16_t>(nvme::abort_command::kSqid.of(command.cdw10));
  const auto cid = static_cast<std::uint16_t>(nvme::abort_command::kCid.of(command.cdw10));
  if (sqid > kMaxIoQueues || !state_.queues.sq(sqid).exists) return success(kNotAborted);
  SubmissionQueue& sq = state_.queues.sq(sqid);
  std::optional<nvme::Command> found;
  if (sqid == 0) found = state_.events.take_request(cid);
  if (!found) {
    if (const std::optional<Held> held = state_.held.take(sqid, cid)) found = held->command;
  }
  if (!found) return success(kNotAborted);
  const Reply aborted = failure(StatusCode::abort_requested);
  // Room for the Abort's own completion stays, where both go to the admin queue.
  if (sq.cq->room() > 1) {
    state_.complete(sq, *found, aborted);
  } else {
    state_.held.hold({&sq, *found, Held::kNever, aborted});
  }
  return success();
}

// 5.2.
Reply AdminCommands::async_event_request(const nvme::Command& command) {
  state_.expect_zero(
      command.nsid | command.cdw10 | command.cdw11 | command.cdw12 | command.cdw13 | command.cdw14 | command.cdw15,
      "NSID or CDW10 to CDW15 of Asynchronous Event Request");
  if (!state_.events.add_request(command)) return refuse(StatusCode::async_event_limit_exceeded);
  return held();
}

// 5.8.
Reply AdminCommands::doorbell_buffer_config(const nvme::Command& command) {
  if (!state_.config.shadow_doorbells) return refuse(StatusCode::invalid_opcode);
  state_.expect_zero(
      command.nsid | command.cdw10 | command.cdw11 | command.cdw12 | command.cdw13 | command.cdw14 | command.cdw15,
      "NSID or CDW10 to CDW15 of Doorbell Buffer Config");
  const std::uint64_t offset = (command.prp1 | command.prp2) & ((1u << state_.registers.page_shift()) - 1);
  if (offset != 0) {
    return violate(Rule::prp_offset, StatusCode::invalid_field, "a doorbell buffer that does not begin at a page");
  }
  if (!state_.queues.use_shadows(command.prp1, command.prp2)) {
    return violate(Rule::dma_unmapped, StatusCode::data_transfer_error, "a doorbell buffer that is not mapped");
  }
  state_.queues.mark_polled();
  return success();
}

Reply AdminCommands::violate(Rule rule, StatusCode code, std::string_view what) {
  state_.violations.add(rule, what);
  return refuse(code);
}

Reply AdminCommands::send(const nvme::Command& command, std::uint64_t length, std::span<const std::byte> data) {
  const StatusCode code = to_host(state_.walk(command, length, Access::write), data);
  return code == StatusCode::success ? success() : refuse(code);
}

}  // namespace pollux::softnvme
