// What a channel does when the controller's pulse has changed: looks at deadlines, parks when a reset begins, answers
// what may not be sent again, makes its queue pair anew and sends the rest. Apart from the way of an I/O.
#include <algorithm>
#include <utility>

#include "pollux/driver/block/channel.hpp"

namespace pollux {

using nvme::IoOpcode;

namespace {

// Whether what a command did outlives the volatile write cache: a read or a flush does nothing to lose.
bool is_kept_without_flush(std::uint8_t opcode, std::uint32_t cdw12) {
  switch (static_cast<IoOpcode>(opcode)) {
    case IoOpcode::write:
      return nvme::rw::kFua.of(cdw12) != 0;
    case IoOpcode::write_zeroes:
    case IoOpcode::dataset_management:
      return false;
    default:
      return true;
  }
}

}  // namespace

unsigned Channel::poll_changed(nvme::Pulse pulse, unsigned limit) noexcept {
  if (!controller_.opened_here()) return 0;  // what is in flight is the parent's to answer
  if (const unsigned failed = notice(pulse); failed != 0 || !live()) return failed;
  const unsigned answered = poll_queue(limit);
  check_deadlines(answered);
  return answered;
}

// Something changed, or the queue is waiting to be made anew. Returns how many commands were answered because of it.
unsigned Channel::notice(nvme::Pulse pulse) noexcept {
  using enum nvme::Pulse::Phase;
  const nvme::Pulse last{seen_pulse_};
  now_ms_ += std::min(pulse.tick_ms() - last.tick_ms(), kMaxTickStepMs);
  deadline_ms_ = now_ms_ + timeout_ms_;
  seen_pulse_ = pulse.word;

  if (revocation_.load(std::memory_order_acquire) != nvme::Revocation::none) return end_revoked();
  if (live() && works_in(pulse)) return 0;
  if (live()) park();
  // The old queue may still reach memory.
  if (pulse.phase() == stopping && pulse.epoch() == epoch_) return 0;
  const bool may_wait = pulse.phase() != gone && static_cast<std::int32_t>(now_ms_ - kept_until_ms_) < 0;

  unsigned answered = 0;
  if (unsettled_) answered = answer_completed();
  // Nothing is submitted below, so the difference is what was answered.
  const unsigned in_flight_before = queue_.in_flight();
  queue_.fail_unless([&](const nvme::Request& request) { return may_wait && may_reissue(request); });
  const bool is_refused = pulse.phase() == up && refused_in_ == pulse.epoch() && !may_wait;
  refusal_ = is_refused || pulse.phase() == gone ? Submit::gone : Submit::stopped;
  if (pulse.phase() == up && !is_refused) revive(pulse);
  return answered + in_flight_before - queue_.in_flight();
}

// The namespace is not what this channel was opened for, and the queue goes for good.
unsigned Channel::end_revoked() noexcept {
  using enum nvme::Revocation;
  if (live()) park();
  refusal_ = Submit::namespace_changed;
  nvme::Revocation expected = wanted;
  if (revocation_.compare_exchange_strong(expected, parked) || expected != done) return 0;
  const unsigned answered = unsettled_ ? answer_completed() : 0;
  const unsigned in_flight_before = queue_.in_flight();
  queue_.fail_all();
  return answered + in_flight_before;
}

void Channel::park() noexcept {
  set_live(false);  // before the callbacks, which may submit
  unsettled_ = true;
  refusal_ = Submit::stopped;
  kept_until_ms_ = deadline_ms_;
  controller_.parked();
}

// What the controller had completed before it was disabled; and what it was never told of is noted. Where the cache is
// known to be lost, a write that had completed in it may be gone: the flush of another channel may have told of the
// loss already, and tells of what was answered before.
unsigned Channel::answer_completed() noexcept {
  unsettled_ = false;
  const unsigned answered = queue_.reap_last([&](const nvme::Request& request, nvme::Status status) {
    const bool worthless = ns_.volatile_write_cache && controller_.cache_losses() != cache_losses_;
    const bool was_kept = !worthless || !status.ok() || is_kept_without_flush(request.opcode, request.cdw12);
    return was_kept ? status : nvme::Status::from(nvme::StatusCode::aborted_by_host);
  });
  queue_.note_unrung();
  return answered;
}

// With the queue made anew and nothing of it told: the answer of every flush in flight; without one, of the next. What
// a split write had written goes with the cache as well.
void Channel::tell_of_lost_cache() noexcept {
  const std::uint32_t losses = controller_.cache_losses();
  if (losses == std::exchange(cache_losses_, losses) || !ns_.volatile_write_cache) return;
  splits_.for_each_in_flight([](Split& split) {
    const auto opcode = static_cast<std::uint8_t>(split.operation.opcode);
    if (!split.reached || !split.status.ok() || is_kept_without_flush(opcode, split.operation.flags)) return;
    split.status = nvme::Status::from(nvme::StatusCode::aborted_by_host);
    split.blocks_left = 0;
  });
  const auto is_flush = [](const nvme::Request& request) {
    return static_cast<IoOpcode>(request.opcode) == IoOpcode::flush;
  };
  const unsigned in_flight_before = queue_.in_flight();
  cache_lost_ = true;
  queue_.fail_each(is_flush, kCacheLost);
  if (queue_.in_flight() != in_flight_before) told_of_lost_cache();
}

// Its owner hears of it now, or has just heard.
void Channel::told_of_lost_cache() noexcept {
  cache_lost_ = false;
  controller_.told_of_cache_losses(cache_losses_);
}

// The second rung: the controller has been looked at (Controller::poll()) and the queue polled once more. The third is
// for a command that its Abort did not end, by the controller's own answer or in good time, or whose Abort had no turn.
void Channel::check_deadlines(unsigned answered) noexcept {
  if (!check_is_due_) {
    if (now_ms_ - deadlines_checked_ms_ < kDeadlineScanMs) return;
    check_is_due_ = true;
    checked_for_ms_ = now_ms_;
    answered_since_due_ = 0;
  } else {
    answered_since_due_ += answered;
  }
  // What looks late may be answered by a completion that lies in the ring. The depth is the most that can have waited
  // there when the check was due; under load there would always be another one.
  if (queue_.has_completion() && answered_since_due_ < depth()) return;
  check_is_due_ = false;
  deadlines_checked_ms_ = now_ms_;
  queue_.for_each_late(checked_for_ms_, [&](nvme::Request& request) {
    const auto cid = static_cast<std::uint16_t>(request.cid);
    const bool grace_is_over = checked_for_ms_ - request.deadline >= kAbortGraceMs;
    if (grace_is_over || (request.abort_asked && controller_.abort_was_refused(epoch_, qid_, cid))) {
      controller_.ask_for_reset(epoch_);
    } else if (!request.abort_asked) {
      request.abort_asked = controller_.ask_for_abort(epoch_, qid_, cid);
    }
  });
}

// A read or a flush that is carried out twice does what it would have done once, later; and what the controller was
// never told of is not carried out twice.
bool Channel::may_reissue(const nvme::Request& request) const noexcept {
  const auto opcode = static_cast<IoOpcode>(request.opcode);
  if (request.reissues == nvme::Request::kNeverTold) return true;
  return request.reissues < kMaxReissues && (opcode == IoOpcode::read || opcode == IoOpcode::flush || reissue_writes_);
}

// Makes the queue pair anew in a controller that was reset, and sends again what is still in flight. If another thread
// has the controller's lock, the next poll tries again; if the controller refuses the queue, one a little later.
void Channel::revive(nvme::Pulse pulse) noexcept {
  const bool is_too_early = refused_in_ == pulse.epoch() && static_cast<std::int32_t>(now_ms_ - retry_at_ms_) < 0;
  if (is_too_early) return;
  memory_.clear_rings();
  queue_.restart();
  const auto created = controller_.try_create_queue(description());
  if (!created) return;
  if (!*created) {
    refused_in_ = pulse.epoch();
    retry_at_ms_ = now_ms_ + kDeadlineScanMs;
    return;
  }
  epoch_ = **created;
  tell_of_lost_cache();
  set_live(true);
  queue_.reissue(ns_.nsid, deadline_ms_);
}

}  // namespace pollux
