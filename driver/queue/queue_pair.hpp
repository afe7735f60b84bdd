// A submission queue, its completion queue, and what the host remembers of each command in flight. One thread owns it;
// nothing here locks, allocates, divides or enters the kernel. All memory is the caller's and is given when the pair is
// made.
//
// A command identifier is an index into the request records with a few generation bits above it, which count the uses
// of that record: a completion that names no command of ours is always caught, and one that comes twice or too late
// until its record has been used sixteen times more. The controller is not trusted with more.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/completion_queue.hpp"
#include "pollux/driver/queue/submission_queue.hpp"

namespace pollux::nvme {

// Called from poll() or fail_all(), on the owner's thread, exactly once a command. It may submit; it may not poll.
using Callback = void (*)(void* context, Status status) noexcept;

// What the host remembers of a command in flight: whom to answer, and what builds its entry again after a reset. A line
// of its own, so that noting it costs stores and no second miss; apart from the PRP lists, so that a poll of 32
// completions touches 32 lines, not 32 pages.
struct alignas(64) Request {
  Callback done;
  void* context;
  std::uint64_t prp1;
  std::uint64_t prp2;
  std::uint32_t cdw10;
  std::uint32_t cdw11;
  std::uint32_t cdw12;
  std::uint32_t deadline;  // in ticks of the owner's coarse clock
  std::uint32_t cid;       // bits 15:0 as sent, or of a free record the next one; above them kSentBefore, kFree
  // One store notes all four.
  std::uint8_t opcode;
  std::int8_t reissues;  // how often reissue() has put it into the ring again; kNeverTold
  bool abort_asked;      // that its owner has asked for an Abort, since it was last put into the ring
  std::uint8_t reserved;

  // With either of them no completion matches.
  static constexpr std::uint32_t kFree = 1u << 31;
  // The command was sent before and may have reached the media then: its completion is looked at twice, and the
  // ordinary one pays nothing for that.
  static constexpr std::uint32_t kSentBefore = 1u << 30;

  // The controller has not been told of the command: it has had no effect, and the next time is the first.
  static constexpr std::int8_t kNeverTold = -1;

  bool is_free() const noexcept { return (cid & kFree) != 0; }
};
static_assert(sizeof(Request) == 64,
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
    Doorbell submission_doorbell;
    Doorbell completion_doorbell;
  };

  explicit QueuePair(const Memory& memory) noexcept
      : submission_queue_(memory.submissions, memory.submission_doorbell),
        completion_queue_(memory.completions, memory.completion_doorbell),
        requests_(memory.requests.data()),
        free_top_(memory.free_indices.data()),
        free_bottom_(memory.free_indices.data()),
        depth_(static_cast<std::uint32_t>(memory.requests.size())) {
    assert(depth_ >= 1 && depth_ <= kMaxDepth && memory.free_indices.size() >= depth_);
    assert(depth_ < memory.submissions.size() && depth_ < memory.completions.size());
    assert(memory.submission_doorbell.wakes_by_event() || !memory.completion_doorbell.wakes_by_event());
    for (std::uint32_t index = depth_; index-- != 0;) {
      requests_[index].cid = Request::kFree | index;
      *free_top_++ = static_cast<std::uint16_t>(index);
    }
  }

  // Puts a command into the ring; the controller sees it at the next ring() or poll(). False: the queue is full.
  // `fill(Command&, index)` writes the whole entry but its CID, in its slot; `index` < depth() names the record, and
  // whatever else the caller keeps a command. What reissue() does not write again is zero: all but opcode, NSID, PRPs
  // and CDW10 to CDW12.
  template <typename Fill>
  [[nodiscard, gnu::always_inline]] bool submit(Callback done, void* context, std::uint32_t deadline,
                                                Fill&& fill) noexcept {
    if (full()) [[unlikely]]
      return false;
    const std::uint16_t index = *--free_top_;
    Request& request = requests_[index];
    const auto cid = static_cast<std::uint16_t>(request.cid);
    request.done = done;
    request.context = context;
    request.deadline = deadline;
    request.cid = cid;
    Command& slot = submission_queue_.slot();
    fill(slot, index);
    // Values that the compiler still has in registers: nothing is read back from the ring.
    request.prp1 = slot.prp1;
    request.prp2 = slot.prp2;
    request.cdw10 = slot.cdw10;
    request.cdw11 = slot.cdw11;
    request.cdw12 = slot.cdw12;
    request.opcode = static_cast<std::uint8_t>(cdw0::kOpcode.of(slot.cdw0));
    request.reissues = 0;
    request.abort_asked = false;
    request.reserved = 0;
    slot.cdw0 = cdw0::kCid.put(slot.cdw0, cid);  // whatever stood there
    submission_queue_.advance();
    return true;
  }

  // Tells the controller about everything submitted. What was consumed is acknowledged first: so the commands that the
  // controller knows of and the completions that it has not got back never outnumber the completion ring.
  //
  // Behind shadow doorbells the tail's barrier serves the head as well, so that a poll whose callbacks submit pays for
  // one: a controller that asked to be woken by the head hears of it here.
  [[gnu::always_inline]] void ring() noexcept {
    if (submission_queue_.has_unrung()) ring_unrung();
  }

  // Rings, answers at most `limit` completions, acknowledges them with one doorbell, and returns their number.
  unsigned poll(unsigned limit) noexcept {
    return poll(limit, [] { return true; }, [] { return true; });
  }

  // The same for a queue that may go while a callback runs. `goes_on()` is asked after each: false leaves the rest in
  // the ring, for the next poll() or reap_last(). `may_ring()`: the queue is still there to be acknowledged to.
  template <typename GoesOn, typename MayRing>
  [[gnu::always_inline]] unsigned poll(unsigned limit, GoesOn goes_on, const MayRing& may_ring) noexcept {
    ring();
    const std::uint64_t tail = completion_queue_.peek();
    if (!completion_queue_.is_new(tail)) return 0;
    const unsigned answered = reap(tail, limit, [](const Request&, Status status) { return status; }, goes_on);
    if (completion_queue_.has_unacknowledged() && may_ring()) acknowledge();
    return answered;
  }

  // Answers every completion that lies in the ring of a queue that its controller has no more, with what
  // `judge(const Request&, Status)` makes of its status, and rings nothing. Returns their number.
  template <typename Judge>
  unsigned reap_last(Judge&& judge) noexcept {
    return reap(completion_queue_.peek(), completion_queue_.entries(), judge, [] { return true; });
  }

  bool has_completion() const noexcept { return completion_queue_.is_new(completion_queue_.peek()); }

  // Calls `wait(word, value)` with the word that the next completion changes and what it holds, if none has come.
  template <typename WaitForWrite>
  void wait_for_completion(WaitForWrite&& wait) const noexcept {
    const std::uint64_t tail = completion_queue_.peek();
    if (!completion_queue_.is_new(tail)) wait(completion_queue_.next_word(), tail);
  }

  // Inside a callback of poll(): dword 0 of the completion being answered.
  std::uint32_t result_dw0() const noexcept { return completion_queue_.popped().dw0; }

  // Answers every command in flight: with Command Aborted By Host, or with Host Pathing Error if the controller was
  // never told of it. Their callbacks may not submit. Only when the controller can no longer reach the memory that they
  // name: it is disabled or gone.
  void fail_all() noexcept {
    fail_unless([](const Request&) { return false; });
  }

  // The same for all but those that `keeps(const Request&)` wants: they stay in flight, for reissue() or a later
  // fail_all().
  template <typename Keeps>
  void fail_unless(Keeps&& keeps) noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      const Request& request = requests_[index];
      if (request.is_free() || keeps(request)) continue;
      const bool told = request.reissues != Request::kNeverTold;
      answer(index, Status::from(told ? StatusCode::aborted_by_host : StatusCode::host_pathing_error));
    }
  }

  // The same for those that `fails(const Request&)` names, with `status`.
  template <typename Fails>
  void fail_each(Fails&& fails, Status status) noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      if (!requests_[index].is_free() && fails(requests_[index])) answer(index, status);
    }
  }

  // Before restart(), when nothing will be rung any more: notes of which commands the controller was never told.
  void note_unrung() noexcept {
    submission_queue_.for_each_unrung([&](const Command& command) {
      const auto cid = static_cast<std::uint32_t>(cdw0::kCid.of(command.cdw0));
      const std::uint32_t index = cid & kIndexMask;
      if (index >= depth_ || requests_[index].cid != cid) return;  // the device may have written to the ring
      if (requests_[index].reissues == 0) requests_[index].reissues = Request::kNeverTold;
    });
  }

  // Begins both rings anew, which their owner has zeroed: the controller was disabled and has no queue over them. What
  // is in flight keeps its records and is in no ring.
  void restart() noexcept {
    submission_queue_.restart();
    completion_queue_.restart();
  }

  // After restart(): puts every command in flight into the ring again, told at the next ring() or poll(). It keeps its
  // index, and so its PRP list, and gets another generation, so that a completion of what it was before is a stray.
  void reissue(std::uint32_t nsid, std::uint32_t deadline) noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      Request& request = requests_[index];
      if (request.is_free()) continue;
      const auto cid = static_cast<std::uint16_t>(request.cid + kGenerationStep);
      request.cid = ++request.reissues > 0 ? cid | Request::kSentBefore : cid;
      request.deadline = deadline;
      request.abort_asked = false;
      Command& slot = submission_queue_.slot();
      slot = {};
      slot.cdw0 = cdw0::kCid.put(std::uint32_t{request.opcode}, cid);
      slot.nsid = nsid;
      slot.prp1 = request.prp1;
      slot.prp2 = request.prp2;
      slot.cdw10 = request.cdw10;
      slot.cdw11 = request.cdw11;
      slot.cdw12 = request.cdw12;
      submission_queue_.advance();
    }
  }

  // Calls `each(Request&)` for every command in flight with a deadline at or before `now`; ticks wrap, and are compared
  // by their difference.
  template <typename Each>
  void for_each_late(std::uint32_t now, Each&& each) noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      Request& request = requests_[index];
      if (!request.is_free() && static_cast<std::int32_t>(now - request.deadline) >= 0) each(request);
    }
  }

  bool full() const noexcept { return free_top_ == free_bottom_; }

  // The `index` that the next submit() will name, while the queue is not full: for what has to be ready before it.
  std::uint16_t next_index() const noexcept { return free_top_[-1]; }

  unsigned depth() const noexcept { return depth_; }
  unsigned in_flight() const noexcept { return depth_ - static_cast<unsigned>(free_top_ - free_bottom_); }
  std::uint64_t strays() const noexcept { return strays_; }  // completions that answered nothing of ours

 private:
  static constexpr std::uint16_t kIndexMask = (1u << kIndexBits) - 1;
  static constexpr std::uint32_t kGenerationStep = 1u << kIndexBits;
  static_assert(kMaxDepth - 1 < kIndexMask, "index FFFh with generation Fh is the reserved CID");

  // What ring() tells soon is left to it. Else the head is told whole: a line of INTx stays up until the controller
  // knows of it.
  void acknowledge() noexcept {
    completion_queue_.acknowledge();
    if (completion_queue_.is_wake_due() && !submission_queue_.has_unrung()) [[unlikely]]
      wake();
  }

  [[gnu::noinline]] void wake() noexcept {
    store_load_barrier();
    completion_queue_.wake();
  }

  // Apart from ring(), so that a poll that has nothing to tell stays cheap.
  [[gnu::noinline]] void ring_unrung() noexcept {
    if (completion_queue_.has_unacknowledged()) completion_queue_.acknowledge();
    submission_queue_.ring();
    if (completion_queue_.is_wake_due()) [[unlikely]]
      completion_queue_.wake();
  }

  // Apart from poll(), so that finding nothing stays cheap. `goes_on` by value: what it looks at stays in registers.
  template <typename Judge, typename GoesOn>
  [[gnu::noinline]] unsigned reap(std::uint64_t tail, unsigned limit, const Judge& judge, GoesOn goes_on) noexcept {
    unsigned answered = 0;
    while (answered != limit && completion_queue_.is_new(tail)) {
      completion_queue_.pop();
      answer(tail, judge);
      ++answered;
      if (!goes_on()) [[unlikely]]
        break;
      tail = completion_queue_.peek();
    }
    return answered;
  }

  // What a completion entry says: to whom it belongs, if it is anybody's.
  template <typename Judge>
  void answer(std::uint64_t tail, const Judge& judge) noexcept {
    const auto cid = static_cast<std::uint32_t>(cqe::kCid.of(tail));
    const std::uint32_t index = cid & kIndexMask;
    const Status status{static_cast<std::uint16_t>(cqe::kStatus.of(tail))};
    if (index < depth_ && requests_[index].cid == cid) [[likely]]
      return answer(index, judge(requests_[index], status));
    if (index >= depth_ || requests_[index].cid != (cid | Request::kSentBefore)) {
      ++strays_;
      return;
    }
    // A failure tells of the last time that the command was sent, alone.
    answer(index, judge(requests_[index], status.ok() ? status : status.having_reached_media()));
  }

  void answer(std::uint32_t index, Status status) noexcept {
    Request& request = requests_[index];
    const Callback done = request.done;
    void* const context = request.context;
    request.cid += kGenerationStep + Request::kFree;  // what overflows from 15:0 means nothing in a free record
    *free_top_++ = static_cast<std::uint16_t>(index);
    done(context, status);
  }

  SubmissionQueue submission_queue_;
  CompletionQueue completion_queue_;
  Request* requests_;
  std::uint16_t* free_top_;  // the free indices lie between the two, last in first out: its record is likely cached
  std::uint16_t* free_bottom_;
  std::uint32_t depth_;
  std::uint64_t strays_ = 0;
};

}  // namespace pollux::nvme
