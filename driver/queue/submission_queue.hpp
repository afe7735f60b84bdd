// The host's side of a submission queue: a ring of commands, written at the tail, told to the controller by the tail
// doorbell. It does not know which slots the controller has fetched: whoever limits the commands in flight to entries −
// 1 always finds a free one, because a command whose completion was seen has been fetched. NVMe base 2.0c, 3.3.1.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/doorbell.hpp"
#include "pollux/driver/spec/command.hpp"

namespace pollux::nvme {

class SubmissionQueue {
 public:
  // The ring has at least 2 entries, in memory that the device reaches.
  SubmissionQueue(std::span<Command> ring, const Doorbell& doorbell) noexcept
      : tail_(ring.data()),
        rung_tail_(ring.data()),
        ring_(ring.data()),
        end_(ring.data() + ring.size()),
        doorbell_(doorbell) {
    assert(ring.size() >= 2);
  }

  // The slot that the next command is written to, in place: built on the stack and copied, the wide loads of the copy
  // would wait for the narrow stores before them.
  Command& slot() noexcept { return *tail_; }

  // The slot is complete: it goes out with the next ring().
  void advance() noexcept {
    if (++tail_ == end_) [[unlikely]]
      tail_ = ring_;
  }

  // Begins anew in a ring whose queue was made anew: the controller knows of no slot.
  void restart() noexcept { tail_ = rung_tail_ = ring_; }

  bool has_unrung() const noexcept { return tail_ != rung_tail_; }

  // Calls `each(const Command&)` for every slot that was completed and of which the controller was not told.
  template <typename Each>
  void for_each_unrung(Each&& each) const noexcept {
    for (const Command* slot = rung_tail_; slot != tail_;) {
      each(*slot);
      if (++slot == end_) slot = ring_;
    }
  }

  // Tells the controller about every slot completed since the last call.
  void ring() noexcept {
    rung_tail_ = tail_;
    doorbell_.ring(static_cast<std::uint32_t>(tail_ - ring_));
  }

 private:
  Command* tail_;
  Command* rung_tail_;  // what the controller knows
  Command* ring_;
  Command* end_;
  Doorbell doorbell_;
};

}  // namespace pollux::nvme
