// What is done about a controller that does not do what it should, one rung after the other: an Abort of the command, a
// reset of the controller, one of the function; then it is given up, cut off from memory, and every owner told.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/controller/transition.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::nvme {

Result<void> Controller::poll() {
  if (!opened_here()) return not_ours();
  // Whoever has the lock sees to the same meanwhile.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return {};
  if (is_wanted_back()) {
    is_wanted_back_ = false;
    if (state_ == State::lost) {
      device_->release();
      return lost();
    }
    // In good order if there is still somebody to talk to.
    if (state_ == State::up && read_csts(*registers_)) (void)shut_down_locked();
    return give_back({"the machine wants the drive back: it is being unbound or removed", {}});
  }
  if (state_ == State::lost) return lost();
  if (state_ == State::away) return come_back();
  if (state_ == State::down) return {};

  const auto status = read_csts(*registers_);
  if (!status) return go_away(status.error());
  if (is_paused(*status)) return {};
  publish(Pulse{pulse_.load(std::memory_order_relaxed)}.phase());  // the same phase, a later time
  const bool has_erred = link_error_ && link_error_->drain() != 0;
  const bool is_broken = csts::kCfs.of(*status) != 0 || csts::kRdy.of(*status) == 0;
  if (is_broken) cache_may_be_lost_ = true;  // it may look well again when it is disabled
  if (!admin_->usable()) ask_for_reset(epoch());
  if (has_erred || is_broken) return reset_locked();
  if (!reset_is_wanted()) abort_late();
  if (!reset_is_wanted()) collect_event();
  // Here and not where the event is finished, which may be in the midst of another call.
  if (!reset_is_wanted() && std::exchange(namespaces_may_differ_, false)) revoke_changed();
  if (state_ == State::up && reset_is_wanted()) return reset_locked();
  if (state_ == State::lost) return lost();
  return {};
}

bool Controller::ask_for_abort(std::uint64_t epoch, std::uint16_t qid, std::uint16_t cid) noexcept {
  std::uint64_t none = 0;
  return abort_wanted_.compare_exchange_strong(none, LateCommand::make(epoch, qid, cid), std::memory_order_relaxed);
}

// Best effort (5.1), one at a time, which is within any ACL. Whether the command ends its owner sees, and asks for a
// reset if it does not. An Abort that is not answered is a reason by itself.
void Controller::abort_late() {
  const std::uint64_t now_ns = clock_.now_ns();
  const auto aborted = admin_->step_abort(now_ns);
  if (!aborted) return ask_for_reset(epoch());
  if (*aborted == false) abort_refused_.store(aborting_, std::memory_order_relaxed);
  if (!admin_->usable() || admin_->is_aborting()) return;
  aborting_ = abort_wanted_.exchange(0, std::memory_order_relaxed);
  if (aborting_ == 0 || LateCommand::kEpoch.of(aborting_) != epoch()) return;
  admin_->abort(static_cast<std::uint16_t>(LateCommand::kQid.of(aborting_)),
                static_cast<std::uint16_t>(LateCommand::kCid.of(aborting_)), now_ns, kAbortTimeoutMs);
}

// The device does not answer. One that may come back is waited for: its owners park, and nothing of theirs is lost.
Result<void> Controller::go_away(const Error& why) {
  if (wants_.away_ms == 0 || !device_->may_come_back()) return give_back(why);
  const std::uint64_t now_ns = clock_.now_ns();
  if (away_since_ns_ == 0) {
    away_since_ns_ = now_ns;
    lost_because_ = why;
  } else if (now_ns - away_since_ns_ >= wants_.away_ms * kNsPerMs) {
    return give_back({fmt::format("{}, and for {} s it has gone again before it was up ({})", lost_because_.what,
                                  wants_.away_ms / 1000, why.what),
                      why.advice, why.os_error});
  }
  state_ = State::away;
  cache_may_be_lost_ = true;
  stop_owners();
  publish_away();
  return {};
}

// The owners answer what is not sent again, and the application has its memory: not while a server that is silent may
// still write there. Until then they are parked.
void Controller::publish_away() noexcept {
  const bool is_down = Pulse{pulse_.load(std::memory_order_relaxed)}.phase() == Pulse::Phase::down;
  if (!is_down && !device_->may_reach_memory()) publish_reset(Pulse::Phase::down);
}

// The coarse clock stands still meanwhile: what waits for the device grows no older.
Result<void> Controller::come_back() {
  constexpr std::uint64_t kCallEveryNs = 100 * kNsPerMs;
  const std::uint64_t deadline_ns = away_since_ns_ + wants_.away_ms * kNsPerMs;
  if (const std::uint64_t now_ns = clock_.now_ns(); now_ns < std::min(call_next_ns_, deadline_ns)) return {};
  const auto back = device_->reconnect();
  call_next_ns_ = clock_.now_ns() + kCallEveryNs;
  if (!back) {
    const auto& [why, is_final] = back.error();
    publish_away();
    if (is_final) return give_back(why);
    if (clock_.now_ns() < deadline_ns) return {};
    return give_back(
        {fmt::format("{}, and it has not come back for {} s ({})", lost_because_.what, wants_.away_ms / 1000, why.what),
         why.advice, why.os_error});
  }
  if (const auto up = begin_anew(); !up) return drop(up.error());
  publish_reset(Pulse::Phase::up);
  return {};
}

// A reset failed: the device has gone meanwhile, or must not reach memory any more.
Result<void> Controller::drop(const Error& why) {
  if (!read_csts(*registers_)) return go_away(why);
  return give_up(why);
}

// Cuts the controller off from memory and tells every owner to stop: nothing of ours can be reached any more.
std::unexpected<Error> Controller::give_up(const Error& why) noexcept {
  if (!read_csts(*registers_)) return give_back(why);
  state_ = State::lost;
  lost_because_ = why;
  if (!part_with_memory() && !vfio::set_bus_master(*device_, false) && !device_->reset()) {
    // Closing it is what is left: an IOMMU takes its memory away then. Without one it stays ours.
    keeps_device_ = keep_reachable_memory();
    if (!keeps_device_) device_->release();
  }
  publish(Pulse::Phase::gone);
  return error(lost_because_);
}

// The same where the device itself goes: the owners keep their doorbells, which ring nothing any more, and the machine
// gets its device. Closing it may take the kernel a minute where it is gone already; the owners know by then.
std::unexpected<Error> Controller::give_back(const Error& why) noexcept {
  state_ = State::lost;
  lost_because_ = why;
  const auto command = vfio::read_config16(*device_, vfio::pci::kCommand);
  const bool gone = command && *command == 0xffff;
  if (!part_with_memory() && !gone && !vfio::set_bus_master(*device_, false)) {
    (void)keep_reachable_memory();
    device_->release();
  }
  publish(Pulse::Phase::gone);
  device_->release();
  return error(lost_because_);
}

// A server at the other end of a socket only notes Bus Master, and a reset need not stop what it has begun: its memory
// is taken from it before an owner calls a buffer its own.
bool Controller::part_with_memory() noexcept {
  if (!device_->may_reach_memory()) return false;
  device_->release();
  return true;
}

// Where no IOMMU stands between the device and memory, what it may still reach is never used for anything else.
bool Controller::keep_reachable_memory() noexcept {
  if (!space_->io().demands().physical_addresses) return false;
  space_->keep_for_ever();
  lost_because_.what += "; nothing keeps it from memory, so what it may reach stays claimed until this process ends";
  lost_because_.advice = "end the process, and power the drive off and on; free no memory that was registered";
  return true;
}

void Controller::publish(Pulse::Phase phase) noexcept {
  const Pulse last{pulse_.load(std::memory_order_relaxed)};
  const bool is_new_epoch = phase == Pulse::Phase::up && last.phase() != Pulse::Phase::up;
  // Time never goes back, also where it was ahead (announce()).
  const auto now_ms = static_cast<std::uint32_t>(clock_.now_ns() / kNsPerMs);
  const bool is_behind = static_cast<std::int32_t>(now_ms - last.tick_ms()) < 0;
  // Release: an owner that sees "down", "gone" or a new epoch sees a controller that was disabled before it.
  pulse_.store(Pulse::make(last.epoch() + (is_new_epoch ? 1 : 0), phase, is_behind ? last.tick_ms() : now_ms).word,
               std::memory_order_release);
}

// Has every owner look, by another word in the same phase: a millisecond ahead, where that is too short for another.
void Controller::announce() noexcept {
  const std::uint64_t before = pulse_.load(std::memory_order_relaxed);
  publish(Pulse{before}.phase());
  if (pulse_.load(std::memory_order_relaxed) != before) return;
  const Pulse last{before};
  pulse_.store(Pulse::make(last.epoch(), last.phase(), last.tick_ms() + 1).word, std::memory_order_release);
}

// What is known of a lost cache by then the owners hear with it.
void Controller::publish_reset(Pulse::Phase phase) noexcept {
  if (std::exchange(cache_may_be_lost_, false)) {
    const std::uint32_t losses = cache_losses_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (!has_had_queues_) told_of_cache_losses(losses);  // nobody has written
  }
  if (phase == Pulse::Phase::up) away_since_ns_ = 0;
  publish(phase);
}

// Tells the owners to keep away from their doorbells and gives those that poll the time to notice. One that does not
// poll is not waited for long: it looks before it rings. One that was suspended just between the two may still ring the
// doorbell of a queue that is gone; the controller reports that and ignores it (NVMe base 2.0c, 5.2.1: invalid
// doorbell).
void Controller::stop_owners() noexcept {
  constexpr std::uint64_t kParkWaitNs = 50 * kNsPerMs, kPauseNs = 20'000;
  publish(Pulse::Phase::stopping);
  const std::uint64_t deadline_ns = clock_.now_ns() + kParkWaitNs;
  while (live_queues_.load(std::memory_order_acquire) != 0 && clock_.now_ns() < deadline_ns) clock_.pause_ns(kPauseNs);
}

Result<void> Controller::reset(ResetReach reach) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (state_ == State::down) return shut_down_before();
  auto done = reset_locked(reach);
  if (!done) return error(done.error());
  if (state_ == State::away) return error({"the device is away: " + lost_because_.what, "poll the drive"});
  return done;
}

Result<void> Controller::reset_locked(ResetReach reach) {
  if (state_ == State::lost) return lost();
  if (const auto status = read_csts(*registers_); !status) return go_away(status.error());
  stop_owners();
  Result<void> reached;
  if (reach != ResetReach::controller) {
    // Disabled first, and looked at: afterwards its registers are empty and tell of nothing that came before.
    if (const auto disabled = disable(); !disabled) return drop(disabled.error());
    const auto kept = has_admin_queue(*registers_, *admin_);
    if (!kept || !*kept) cache_may_be_lost_ = true;
    publish_reset(Pulse::Phase::down);
    reached = reach == ResetReach::function ? device_->reset() : device_->hot_reset();
    is_emptied_ = reached.has_value();
  }
  if (const auto up = begin_anew(); !up) return drop(up.error());
  publish_reset(Pulse::Phase::up);
  return reached;
}

// What a reset of the controller does not cure, one of the function may: the last rung that leaves the device usable.
// Not another drive's or a refused feature, which a working controller has told of.
Result<void> Controller::begin_anew() {
  const auto status = read_csts(*registers_);
  const bool is_disabled = state_ == State::down && status && csts::kRdy.of(*status) == 0;  // by us, just before
  if (!is_disabled) {
    if (auto disabled = disable(); !disabled) return disabled;
  }
  publish_reset(Pulse::Phase::down);
  Result<void> up = bring_up();
  const bool has_answered = is_answered_ && admin_->usable();
  if (up || has_answered || !read_csts(*registers_) || !device_->reset()) return up;
  cache_may_be_lost_ = true;
  is_emptied_ = false;
  if (auto disabled = disable(); !disabled) return disabled;
  return bring_up();
}

}  // namespace pollux::nvme
