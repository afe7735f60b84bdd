// What a channel does when the controller's pulse has changed: looks at deadlines, parks when a reset begins, answers
// what may not be sent again, makes its queue pair anew and sends the rest. Apart from the way of an I/O.
#include <algorithm>

#include "pollux/driver/block/channel.hpp"

namespace pollux {

using nvme::IoOpcode;

unsigned Channel::poll_changed(nvme::Pulse pulse, unsigned limit) noexcept {
  if (const unsigned failed = notice(pulse); failed != 0 || !live()) return failed;
  const unsigned answered = queue_.poll(limit);
  check_deadlines(answered, limit);
  return answered;
}

// Something changed, or the queue is waiting to be made anew. Returns how many commands were answered because of it.
unsigned Channel::notice(nvme::Pulse pulse) noexcept {
  const nvme::Pulse last{seen_pulse_};
  now_ms_ += std::min(pulse.tick_ms() - last.tick_ms(), kMaxTickStepMs);
  deadline_ms_ = now_ms_ + timeout_ms_;
  seen_pulse_ = pulse.word;

  if (live() && works_in(pulse)) return 0;
  if (live()) {
    set_live(false);  // before the callbacks, which may submit
    queue_.note_unrung();
    kept_until_ms_ = deadline_ms_;
    controller_.parked();
  }
  if (pulse.phase() == nvme::Pulse::Phase::stopping && pulse.epoch() == epoch_) return 0;

  // Nothing is submitted below, so the difference is what was answered.
  const unsigned in_flight_before = queue_.in_flight();
  const bool may_wait =
      pulse.phase() != nvme::Pulse::Phase::gone && static_cast<std::int32_t>(now_ms_ - kept_until_ms_) < 0;
  queue_.fail_unless([&](const nvme::Request& request) { return may_wait && may_reissue(request); });
  if (pulse.phase() == nvme::Pulse::Phase::up && pulse.epoch() != epoch_) revive(pulse);
  return in_flight_before - queue_.in_flight();
}

// The second rung: the controller has been looked at (Controller::poll()) and the queue polled once more. The third is
// for a command that its Abort did not end, or whose Abort had no turn.
void Channel::check_deadlines(unsigned answered, unsigned limit) noexcept {
  if (now_ms_ - deadlines_checked_ms_ < kDeadlineScanMs) return;
  // A command that looks late may be answered by a completion that `limit` left where it is. The depth is the most that
  // can have waited: under load none would ever be left.
  answered_before_check_ += answered;
  if (answered == limit && answered_before_check_ < depth()) return;
  answered_before_check_ = 0;
  deadlines_checked_ms_ = now_ms_;
  queue_.for_each_late(now_ms_, [&](nvme::Request& request) {
    if (now_ms_ - request.deadline >= kAbortGraceMs) {
      controller_.ask_for_reset(epoch_);
    } else if (!request.abort_asked) {
      request.abort_asked = controller_.ask_for_abort(epoch_, qid_, static_cast<std::uint16_t>(request.cid));
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
// has the controller's lock, the next poll tries again; if the controller refuses the queue, the next epoch, and
// nothing waits for that.
void Channel::revive(nvme::Pulse pulse) noexcept {
  memory_.clear_rings();
  queue_.restart();
  const auto created = controller_.try_create_queue(description());
  if (!created) return;
  if (!*created) {
    // One that has gone meanwhile may come back, and one that does not answer is reset; any other has refused.
    if (nvme::Pulse{pulse_->load(std::memory_order_acquire)}.phase() != nvme::Pulse::Phase::up) return;
    if (controller_.reset_is_wanted()) return;
    epoch_ = pulse.epoch();
    queue_.fail_all();
    return;
  }
  set_live(true);
  epoch_ = **created;
  queue_.reissue(ns_.nsid, deadline_ms_);
}

}  // namespace pollux
