// Admin commands as calls that wait. One is in flight at a time, and whoever waits for it holds the lock: meanwhile it
// does what poll() would have done, so that time, deadlines and the machine's request are not kept waiting by a Format.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/controller/transition.hpp"
#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {

Result<AdminResult> Controller::admin(const Command& command, std::span<std::byte> data, DataDirection direction,
                                      std::uint32_t timeout_ms) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (const auto room = room_for_setting(command); !room) return error(room.error());
  if (state_ == State::up) revoke_channels(namespace_changed_by(command));
  auto result = admin_locked(command, data, direction, timeout_ms);
  if (!result) return error(result.error());
  if (!result->status.ok()) return result;
  forget_settings(command);
  remember_setting(command, data, direction);
  if (activates_firmware(command)) revoke_changed();
  return result;
}

Result<AdminResult> Controller::admin_locked(const Command& command, std::span<std::byte> data, DataDirection direction,
                                             std::uint32_t timeout_ms) {
  if (data.size() > kAdminDataBytes) {
    return fail(fmt::format("an admin command with {} bytes of data", data.size()), "at most 4096 are carried");
  }
  if (event_to_read_) finish_event(await_answer());
  if (state_ == State::lost) return lost();
  if (state_ == State::down) return shut_down_before();
  if (state_ != State::up || !admin_->usable()) return fail("the controller is not up", "reset it");
  admin_->start(command, data, direction, clock_.now_ns(), timeout_ms);
  const auto result = await_answer();
  if (result && direction == DataDirection::from_controller)
    std::memcpy(data.data(), admin_->data().data(), data.size());
  return result;
}

Result<AdminResult> Controller::await_answer() {
  constexpr std::uint64_t kPauseNs = 20'000;
  for (std::uint64_t looked_ns = clock_.now_ns();;) {
    const std::uint64_t now_ns = clock_.now_ns();
    const auto step = admin_->step(now_ns);
    if (!step) {
      ask_for_reset(epoch());
      return std::unexpected(step.error());
    }
    if (*step) return **step;
    if (now_ns - looked_ns >= kLookNs) {
      if (const auto goes_on = look_while_waiting(); !goes_on) return std::unexpected(goes_on.error());
      looked_ns = now_ns;
    }
    clock_.pause_ns(kPauseNs);
  }
}

// What poll() does, but for what ends in a reset: then the command is given up instead, and the next poll() does it.
// Error: the wait is over.
Result<void> Controller::look_while_waiting() {
  const auto give_up_command = [&](const Error& why) {
    admin_->abandon();
    ask_for_reset(epoch());
    return error(why);
  };
  const auto status = read_csts(*registers_);
  if (!status) {
    (void)go_away(status.error());
    return error(status.error());
  }
  if (const auto ready = still_ready(*registers_); !ready) {
    cache_may_be_lost_ = true;
    return give_up_command(ready.error());
  }
  const Pulse::Phase phase = Pulse{pulse_.load(std::memory_order_relaxed)}.phase();
  if (phase != Pulse::Phase::up) {  // a reset or a shutdown, which sees to the rest itself
    publish(phase);
    return {};
  }
  if (is_wanted_back()) return give_up_command({"the machine wants the drive back", "poll the drive"});
  if (is_paused(*status)) return {};
  publish(phase);
  abort_late();
  if (!reset_is_wanted()) return {};
  return give_up_command({"an admin command was given up for a reset: an I/O command is late", "poll the drive"});
}

// The controller works on no command (CSTS.PP), as while it activates firmware: nothing is late meanwhile, within the
// time that it names for that (MTFA). A pause that follows another one sooner than that goes on with its time.
bool Controller::is_paused(std::uint32_t status) {
  constexpr std::uint64_t kMtfaUnitMs = 100, kUnnamedMs = 30'000;  // where it names none
  const bool is_broken = csts::kCfs.of(status) != 0 || csts::kRdy.of(status) == 0;
  const std::uint64_t now_ns = clock_.now_ns();
  if (csts::kPp.of(status) == 0 || is_broken) {
    if (std::exchange(pause_looked_ns_, 0) != 0) pause_ended_ns_ = now_ns;
    return false;
  }
  const std::uint64_t named_ms = identity_.mtfa != 0 ? identity_.mtfa * kMtfaUnitMs : kUnnamedMs;
  const std::uint64_t most_ns = std::min(named_ms, kLongestBoundMs) * kNsPerMs;
  if (pause_looked_ns_ == 0) {
    if (now_ns - pause_ended_ns_ >= most_ns) paused_ns_ = 0;
    pause_looked_ns_ = now_ns;
  }
  const std::uint64_t passed_ns = now_ns - std::exchange(pause_looked_ns_, now_ns);
  paused_ns_ += passed_ns;
  if (paused_ns_ >= most_ns) return false;
  admin_->postpone(passed_ns);
  return true;
}

bool Controller::is_wanted_back() {
  if (wanted_back_ && wanted_back_->drain() != 0) is_wanted_back_ = true;
  return is_wanted_back_;
}

Result<std::uint32_t> Controller::read_register32(std::uint32_t offset) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (state_ == State::lost) return lost();
  return registers_->read32(offset);
}

}  // namespace pollux::nvme
