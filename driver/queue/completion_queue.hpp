// The host's side of a completion queue: a ring of entries that the controller writes, found by their phase tag, given
// back by the head doorbell. The phase is 1 in the first pass over a zeroed ring and toggles at each wrap. NVMe
// base 2.0c, 3.3.1, 3.3.3.2.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/barrier.hpp"
#include "pollux/driver/spec/completion.hpp"

namespace pollux::nvme {

class CompletionQueue {
 public:
  // The ring has 2^n entries, at least 2, zeroed, in memory that the device reaches. `doorbell` is the head doorbell,
  // or a word in its place.
  CompletionQueue(std::span<const Completion> ring, volatile std::uint32_t* doorbell) noexcept
      : ring_(ring.data()), doorbell_(doorbell), mask_(static_cast<std::uint32_t>(ring.size()) - 1) {
    assert(ring.size() >= 2 && std::has_single_bit(ring.size()));
  }

  // The tail word of the next entry, read once. It belongs to a new completion if is_new() says so of it.
  std::uint64_t peek() const noexcept { return load_from_device(&ring_[head_].tail); }
  bool is_new(std::uint64_t tail) const noexcept { return cqe::kPhase.of(tail) == phase_; }

  // The entry at the head, whole; valid until acknowledge().
  const Completion& entry() const noexcept { return ring_[head_]; }

  void pop() noexcept {
    head_ = (head_ + 1) & mask_;
    phase_ ^= head_ == 0;
  }

  bool has_unacknowledged() const noexcept { return head_ != acknowledged_head_; }

  // Gives every entry popped since the last call back to the controller.
  void acknowledge() noexcept {
    acknowledged_head_ = head_;
    store_doorbell(doorbell_, head_);
  }

 private:
  const Completion* ring_;
  volatile std::uint32_t* doorbell_;
  std::uint32_t mask_;
  std::uint32_t head_ = 0;
  std::uint32_t acknowledged_head_ = 0;  // what the controller knows
  std::uint32_t phase_ = 1;
};

}  // namespace pollux::nvme
