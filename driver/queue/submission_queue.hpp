// The host's side of a submission queue: a ring of commands, written at the tail, told to the controller by the tail
// doorbell. It does not know which slots the controller has fetched: whoever limits the commands in flight to entries −
// 1 always finds a free one, because a command whose completion was seen has been fetched. NVMe base 2.0c, 3.3.1.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/barrier.hpp"
#include "pollux/driver/spec/command.hpp"

namespace pollux::nvme {

class SubmissionQueue {
 public:
  // The ring has 2^n entries, at least 2, in memory that the device reaches. `doorbell` is the tail doorbell, or a word
  // in its place.
  SubmissionQueue(std::span<Command> ring, volatile std::uint32_t* doorbell) noexcept
      : ring_(ring.data()), doorbell_(doorbell), mask_(static_cast<std::uint32_t>(ring.size()) - 1) {
    assert(ring.size() >= 2 && std::has_single_bit(ring.size()));
  }

  // The slot that the next command is written to, in place: built on the stack and copied, the wide loads of the copy
  // would wait for the narrow stores before them.
  Command& slot() noexcept { return ring_[tail_]; }

  // The slot is complete: it goes out with the next ring().
  void advance() noexcept { tail_ = (tail_ + 1) & mask_; }

  bool has_unrung() const noexcept { return tail_ != rung_tail_; }

  // Tells the controller about every slot completed since the last call.
  void ring() noexcept {
    rung_tail_ = tail_;
    store_doorbell(doorbell_, tail_);
  }

 private:
  Command* ring_;
  volatile std::uint32_t* doorbell_;
  std::uint32_t mask_;
  std::uint32_t tail_ = 0;
  std::uint32_t rung_tail_ = 0;  // what the controller knows
};

}  // namespace pollux::nvme
