// The host's side of a completion queue: a ring of entries that the controller writes, found by their phase tag, given
// back by the head doorbell. The phase is 1 in the first pass over a zeroed ring and toggles at each wrap. NVMe
// base 2.0c, 3.3.1, 3.3.3.2.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/barrier.hpp"
#include "pollux/driver/queue/doorbell.hpp"
#include "pollux/driver/spec/completion.hpp"

namespace pollux::nvme {

class CompletionQueue {
 public:
  // The ring has at least 2 entries, zeroed, in memory that the device reaches.
  CompletionQueue(std::span<const Completion> ring, const Doorbell& doorbell) noexcept
      : head_(ring.data()),
        acknowledged_head_(ring.data()),
        ring_(ring.data()),
        end_(ring.data() + ring.size()),
        doorbell_(doorbell) {
    assert(ring.size() >= 2);
  }

  unsigned entries() const noexcept { return static_cast<unsigned>(end_ - ring_); }

  // Begins anew in a ring that was zeroed again, for a queue that was made anew.
  void restart() noexcept {
    head_ = acknowledged_head_ = ring_;
    woken_at_ = 0;
    is_wake_due_ = false;
    phase_ = kPhaseMask;
  }

  // The tail word of the next entry, read once. It belongs to a new completion if is_new() says so of it.
  std::uint64_t peek() const noexcept { return load_from_device(&head_->tail); }
  bool is_new(std::uint64_t tail) const noexcept { return ((tail ^ phase_) & kPhaseMask) == 0; }

  const std::uint64_t* next_word() const noexcept { return &head_->tail; }  // the one that peek() reads

  void pop() noexcept {
    if (++head_ == end_) [[unlikely]] {
      head_ = ring_;
      phase_ ^= kPhaseMask;
    }
  }

  // The entry that was popped last, whole; valid until acknowledge().
  const Completion& popped() const noexcept { return (head_ == ring_ ? end_ : head_)[-1]; }

  bool has_unacknowledged() const noexcept { return head_ != acknowledged_head_; }

  // Gives every entry popped since the last call back to the controller. Behind a shadow doorbell a controller that
  // sleeps is left asleep: wake() is due, which needs a barrier.
  void acknowledge() noexcept {
    acknowledged_head_ = head_;
    if (!doorbell_.tell(static_cast<std::uint32_t>(head_ - ring_))) [[unlikely]]
      is_wake_due_ = true;
  }

  bool is_wake_due() const noexcept { return is_wake_due_; }

  // To be called behind a store_load_barrier().
  void wake() noexcept {
    const auto head = static_cast<std::uint32_t>(acknowledged_head_ - ring_);
    doorbell_.wake(woken_at_, head);
    woken_at_ = head;
    is_wake_due_ = false;
  }

 private:
  static constexpr std::uint64_t kPhaseMask = cqe::kPhase.put(std::uint64_t{0}, 1);

  const Completion* head_;
  std::uint64_t phase_ = kPhaseMask;     // of a new entry, where the entry has it
  const Completion* acknowledged_head_;  // what the controller knows
  const Completion* ring_;
  const Completion* end_;
  Doorbell doorbell_;
  std::uint32_t woken_at_ = 0;  // the head at the last wake()
  bool is_wake_due_ = false;
};

}  // namespace pollux::nvme
