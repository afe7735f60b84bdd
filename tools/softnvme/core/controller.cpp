#include "pollux/tools/softnvme/core/controller.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pollux/driver/spec/async_event.hpp"

namespace pollux::softnvme {
namespace {

using nvme::StatusCode;

constexpr std::uint8_t kInvalidDoorbellRegister = 0;  // information of an error event, 5.2.1
constexpr std::uint8_t kInvalidDoorbellValue = 1;
constexpr std::uint8_t kTemperatureEvent = 1;  // information of a SMART event

// CDW0 without opcode and CID: FUSE, reserved bits, PSDT. Most commands have nothing there.
constexpr std::uint32_t kCdw0Rare =
    static_cast<std::uint32_t>(nvme::cdw0::kFuse.mask() | kCdw0Reserved.mask() | nvme::cdw0::kPsdt.mask());

}  // namespace

Controller::Controller(Config config, const HostMemory& memory, std::uint32_t* doorbells)
    : state_(std::move(config), memory, doorbells), admin_(state_), io_(state_) {}

unsigned Controller::step(std::uint64_t now_ns) {
  if (state_.start_ns == 0) state_.start_ns = now_ns;
  state_.now_ns = now_ns;
  unsigned done = 0;
  if (state_.registers.take_cc_written() || changing_) [[unlikely]]
    done += advance();
  if (!state_.registers.ready() || state_.registers.fatal() || !bus_master_) [[unlikely]]
    return done;
  if (state_.registers.shutdown_status() != nvme::csts::kShstNormal) [[unlikely]] {
    look_for_shutdown_breach();
    return done;
  }
  if (!follow_mappings()) [[unlikely]]
    return done + 1;
  if (!state_.held.empty()) [[unlikely]]
    done += serve_held();
  // By index: an admin command may create or delete queues while we go through them.
  const std::vector<SubmissionQueue*>& queues = state_.queues.submission_queues();
  for (std::size_t i = 0; i < queues.size(); ++i) done += serve(*queues[i]);
  if (done == 0 || ++steps_since_scan_ >= kScanInterval) {
    if (++steps_since_scan_ >= kScanInterval) {
      steps_since_scan_ = 0;
      state_.queues.scan_doorbells();
    }
    for (SubmissionQueue* sq : queues) state_.queues.observe(*sq->cq);
  }
  done += report_events();
  // Once a step, behind everything that posts: a queue without an interrupt pays nothing for those that have one.
  if (interrupts_ != nullptr) [[unlikely]]
    state_.queues.signal(*interrupts_);
  return done;
}

unsigned Controller::serve(SubmissionQueue& sq) {
  state_.queues.observe(sq);
  if (sq.waiting() == 0) return 0;
  CompletionQueue& cq = *sq.cq;
  state_.queues.observe(cq);
  unsigned served = 0;
  while (served < kBurst && sq.waiting() != 0 && cq.room() != 0) {
    const std::uint32_t slot = sq.head;
    const nvme::Command command = state_.queues.fetch(sq);
    const auto cid = static_cast<std::uint16_t>(command.cdw0 >> nvme::cdw0::kCid.shift);
    state_.violations.enter_command(sq.id, cid);
    ++served;
    if (sq.conflicts != 0 && sq.conflict[slot]) [[unlikely]] {
      sq.conflict[slot] = false;
      --sq.conflicts;
      state_.complete(sq, command, failure(StatusCode::command_id_conflict), false);
      continue;
    }
    if (!sq.is_outstanding(cid)) [[unlikely]] {
      state_.violations.add(Rule::sqe_changed_after_doorbell,
                            fmt::format("slot {} held another CID when the doorbell was rung", slot));
      sq.begin(cid);
    }
    const Reply reply = execute_unless_faulty(sq, command);
    if (!reply.held) state_.complete(sq, command, reply);
  }
  state_.violations.leave_command();
  return served;
}

Reply Controller::execute_unless_faulty(SubmissionQueue& sq, const nvme::Command& command) {
  if (state_.hook == nullptr) [[likely]]
    return execute(sq, command);
  using Kind = FetchFault::Kind;
  const FetchFault fault = state_.hook->after_fetch(sq.id, command);
  switch (fault.kind) {
    case Kind::none:
      return execute(sq, command);
    case Kind::answer:
      return {fault.status.bits, false, 0};
    case Kind::hang:
      state_.held.hold({&sq, command, Held::kNever, std::nullopt});
      return held();
    case Kind::delay:
      state_.held.hold({&sq, command, state_.now_ns + fault.delay_ns, std::nullopt});
      return held();
    case Kind::drop:
      return held();
  }
  return execute(sq, command);
}

Reply Controller::execute(SubmissionQueue& sq, const nvme::Command& command) {
  if (command.cdw0 >> nvme::cdw0::kCid.shift == nvme::kCidReserved) [[unlikely]] {
    state_.violations.add(Rule::cid_reserved, "a command with CID FFFFh");
  }
  if ((command.cdw0 & kCdw0Rare) != 0 && !header_is_good(sq, command)) [[unlikely]] {
    return refuse(StatusCode::invalid_field);
  }
  return sq.id == 0 ? admin_.execute(command) : io_.execute(command);
}

bool Controller::header_is_good(const SubmissionQueue& sq, const nvme::Command& command) {
  state_.expect_zero(kCdw0Reserved.of(command.cdw0), "CDW0");
  if (const std::uint64_t psdt = nvme::cdw0::kPsdt.of(command.cdw0); psdt != 0) {
    if (sq.id == 0) {
      state_.violations.add(Rule::psdt_on_admin_queue, fmt::format("an admin command with PSDT {:02b}b", psdt));
    } else if (psdt == 3) {
      state_.violations.add(Rule::psdt_reserved, "an I/O command with PSDT 11b");
    }
    return false;  // SGLS offers no SGLs
  }
  return nvme::cdw0::kFuse.of(command.cdw0) == 0;  // FUSES offers no fused operation
}

unsigned Controller::serve_held() {
  unsigned done = 0;
  // Executing one may hold or abort others: the list is looked at anew after each.
  for (std::size_t i = 0; i < state_.held.list().size();) {
    Held& candidate = state_.held.list()[i];
    if (!candidate.reply && candidate.due_ns > state_.now_ns) {
      ++i;
      continue;
    }
    state_.queues.observe(*candidate.sq->cq);
    if (candidate.sq->cq->room() == 0) {
      ++i;
      continue;
    }
    const Held held = candidate;
    state_.held.list().erase(state_.held.list().begin() + static_cast<std::ptrdiff_t>(i));
    state_.violations.enter_command(held.sq->id, static_cast<std::uint16_t>(nvme::cdw0::kCid.of(held.command.cdw0)));
    const Reply reply = held.reply ? *held.reply : execute(*held.sq, held.command);
    if (!reply.held) state_.complete(*held.sq, held.command, reply);
    state_.violations.leave_command();
    ++done;
  }
  return done;
}

unsigned Controller::report_events() {
  std::uint16_t qid = 0;
  if (const DoorbellError error = state_.queues.take_error(qid); error != DoorbellError::none) [[unlikely]] {
    const bool no_queue = error == DoorbellError::no_queue;
    state_.logs.note_error(qid, nvme::kCidReserved, 0, 0, 0);
    state_.events.raise(EventType::error, no_queue ? kInvalidDoorbellRegister : kInvalidDoorbellValue,
                        static_cast<std::uint8_t>(nvme::LogId::error_information));
  }
  if (state_.events.idle()) [[likely]]
    return 0;
  const std::uint8_t warning = state_.features.critical_warning(state_.config.temperature_kelvin);
  if ((warning & state_.features.async_event_configuration) != 0) {
    state_.events.raise(EventType::smart, kTemperatureEvent, static_cast<std::uint8_t>(nvme::LogId::smart));
  }
  unsigned done = 0;
  SubmissionQueue& admin_sq = state_.queues.sq(0);
  while (admin_sq.cq->room() != 0) {
    const std::optional<Events::Report> report = state_.events.take();
    if (!report) break;
    state_.complete(admin_sq, report->request, success(report->dw0));
    ++done;
  }
  return done;
}

// NVMe base 2.0c, 5.2 (figure 149), 5.16.1.5.
void Controller::resize_namespace(std::uint32_t nsid, std::uint64_t block_count) {
  for (NamespaceConfig& ns : state_.config.namespaces) {
    if (ns.nsid == nsid) ns.block_count = block_count;
  }
  io_.resize(nsid, block_count);
  if ((state_.features.async_event_configuration & nvme::async_event_configuration::kNamespaceAttribute) == 0) return;
  state_.logs.note_namespace_change(nsid);
  state_.events.raise(EventType::notice, static_cast<std::uint8_t>(nvme::Notice::namespace_attribute_changed),
                      static_cast<std::uint8_t>(nvme::LogId::changed_ns_list));
}

void Controller::set_interrupts(Interrupts* interrupts) {
  if (interrupts_ == nullptr) state_.queues.forget_unsignalled();
  interrupts_ = interrupts;
}

void Controller::set_fault_hook(FaultHook* hook) {
  state_.hook = hook;
  io_.forget_history();
}

}  // namespace pollux::softnvme
