// A submission queue, its completion queue, and what the host remembers of each command in flight. One thread owns it;
// nothing here locks, allocates, divides or enters the kernel. All memory is the caller's and is given when the pair is
// made.
//
// A command identifier is an index into the request records with a few generation bits above it: a completion that
// names no command of ours is always caught, one that comes twice or too late with high probability. The controller is
// not trusted with more.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/completion_queue.hpp"
#include "pollux/driver/queue/submission_queue.hpp"

namespace pollux::nvme {

// Called from poll() or fail_all(), on the owner's thread, exactly once a command. It may submit; it may not poll.
using Callback = void (*)(void* context, Status status) noexcept;

// What the host remembers of a command in flight. Dense, and apart from the PRP lists, so that a poll of 32 completions
// touches 12 lines, not 32 pages.
struct Request {
  Callback done;
  void* context;
  std::uint32_t deadline;  // in ticks of the owner's coarse clock
  std::uint16_t cid;       // as sent; kCidReserved while the record is free
  std::uint16_t unused;
};
static_assert(sizeof(Request) == 24,
              "two and a quarter cache lines an I/O: the SQE, a quarter of a CQE line, and this");

class QueuePair {
 public:
  static constexpr unsigned kIndexBits = 12;  // a CID: 12 bits of index, 4 of generation
  static constexpr std::uint16_t kMaxDepth = (1u << kIndexBits) - 1;

  // `requests` and `free_indices` hold as many records as commands may be in flight: at most the smaller ring's entries
  // − 1, at most kMaxDepth.
  struct Memory {
    std::span<Command> submissions;
    std::span<Completion> completions;
    std::span<Request> requests;
    std::span<std::uint16_t> free_indices;
    volatile std::uint32_t* submission_doorbell;
    volatile std::uint32_t* completion_doorbell;
  };

  explicit QueuePair(const Memory& memory) noexcept
      : submission_queue_(memory.submissions, memory.submission_doorbell),
        completion_queue_(memory.completions, memory.completion_doorbell),
        requests_(memory.requests.data()),
        free_indices_(memory.free_indices.data()),
        depth_(static_cast<std::uint32_t>(memory.requests.size())) {
    assert(depth_ >= 1 && depth_ <= kMaxDepth && memory.free_indices.size() >= depth_);
    assert(depth_ < memory.submissions.size() && depth_ < memory.completions.size());
    for (free_count_ = 0; free_count_ < depth_; ++free_count_) {
      free_indices_[free_count_] = static_cast<std::uint16_t>(depth_ - 1 - free_count_);
      requests_[free_count_] = {nullptr, nullptr, 0, kCidReserved, 0};
    }
  }

  // Puts a command into the ring; the controller sees it at the next ring() or poll(). False: the queue is full.
  // `fill(Command&, index)` writes the whole entry but its CID, in its slot; `index` < depth() names the record, and
  // whatever else the caller keeps a command.
  template <typename Fill>
  [[nodiscard]] bool submit(Callback done, void* context, std::uint32_t deadline, Fill&& fill) noexcept {
    if (free_count_ == 0) [[unlikely]]
      return false;
    const std::uint16_t index = free_indices_[--free_count_];
    const auto cid = static_cast<std::uint16_t>(generation_ | index);
    requests_[index] = {done, context, deadline, cid, 0};
    Command& slot = submission_queue_.slot();
    fill(slot, index);
    slot.cdw0 = cdw0::kCid.put(slot.cdw0, cid);  // whatever stood there
    submission_queue_.advance();
    return true;
  }

  // Tells the controller about everything submitted. What was consumed is acknowledged first: so the commands that the
  // controller knows of and the completions that it has not got back never outnumber the completion ring.
  void ring() noexcept {
    if (!submission_queue_.has_unrung()) return;
    if (completion_queue_.has_unacknowledged()) completion_queue_.acknowledge();
    submission_queue_.ring();
  }

  // Rings, answers at most `limit` completions, acknowledges them with one doorbell, and returns their number.
  unsigned poll(unsigned limit) noexcept {
    ring();
    unsigned answered = 0;
    while (answered < limit) {
      const std::uint64_t tail = completion_queue_.peek();
      if (!completion_queue_.is_new(tail)) break;
      result_ = &completion_queue_.entry();
      completion_queue_.pop();
      ++answered;

      const auto cid = static_cast<std::uint16_t>(cqe::kCid.of(tail));
      const std::uint16_t index = cid & kIndexMask;
      if (index >= depth_ || requests_[index].cid != cid) [[unlikely]] {
        ++strays_;
        continue;
      }
      answer(index, Status{static_cast<std::uint16_t>(cqe::kStatus.of(tail))});
    }
    if (completion_queue_.has_unacknowledged()) completion_queue_.acknowledge();
    return answered;
  }

  // Inside a callback of poll(): dword 0 of the completion being answered.
  std::uint32_t result_dw0() const noexcept { return result_->dw0; }

  // Answers every command in flight with `status`; their callbacks may not submit. Only when the controller can no
  // longer reach the memory that they name: it is disabled or gone.
  void fail_all(Status status) noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      if (requests_[index].cid != kCidReserved) answer(static_cast<std::uint16_t>(index), status);
    }
  }

  // Whether a command in flight has a deadline at or before `now`; ticks wrap, and are compared by their difference.
  bool has_expired(std::uint32_t now) const noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      const Request& request = requests_[index];
      if (request.cid != kCidReserved && static_cast<std::int32_t>(now - request.deadline) >= 0) return true;
    }
    return false;
  }

  unsigned depth() const noexcept { return depth_; }
  unsigned in_flight() const noexcept { return depth_ - free_count_; }
  std::uint64_t strays() const noexcept { return strays_; }  // completions that answered nothing of ours

 private:
  static constexpr std::uint16_t kIndexMask = (1u << kIndexBits) - 1;
  static constexpr std::uint16_t kGenerationStep = 1u << kIndexBits;
  static_assert(kMaxDepth - 1 < kIndexMask, "index FFFh with generation Fh would be the reserved CID");

  void answer(std::uint16_t index, Status status) noexcept {
    Request& request = requests_[index];
    const Callback done = request.done;
    void* const context = request.context;
    request.cid = kCidReserved;
    free_indices_[free_count_++] = index;
    generation_ = static_cast<std::uint16_t>(generation_ + kGenerationStep);
    done(context, status);
  }

  SubmissionQueue submission_queue_;
  CompletionQueue completion_queue_;
  Request* requests_;
  std::uint16_t* free_indices_;
  const Completion* result_ = nullptr;
  std::uint32_t depth_;
  std::uint32_t free_count_ = 0;
  std::uint16_t generation_ = 0;
  std::uint64_t strays_ = 0;
};

}  // namespace pollux::nvme
