// A submission queue, its completion queue, and what the host remembers of each command in flight, for many threads:
// any of them submits, any of them polls. No lock, and no call waits for another thread: each ends after a bounded
// number of its own steps. All memory is the caller's and is given when the pair is made. Commands are not told in the
// order of submission.
//
// An index goes round: free → a submitter, which fills the command → ready → whoever is at the doorbells, who copies it
// into the ring → the controller → a poller, who claims the completion → free. At each arrow one atomic word changes,
// and only one thread has the index afterwards. A thread that is suspended keeps what it has: it may delay, and it
// never loses or doubles a command. README.md says who delays whom, and argues the order of every word; tests/model
// checks the algorithm.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <span>

#include "pollux/driver/queue/barrier.hpp"
#include "pollux/driver/queue/doorbell.hpp"
#include "pollux/driver/queue/index_sets.hpp"
#include "pollux/driver/queue/queue_pair.hpp"
#include "pollux/driver/queue/submission_queue.hpp"
#include "pollux/driver/spec/completion.hpp"

namespace pollux::nvme {

// What the host remembers of a command in flight. Plain members belong to whoever has the index.
struct SharedRequest {
  Callback done = nullptr;
  void* context = nullptr;
  std::atomic<std::uint32_t> deadline{0};  // in ticks of the callers' coarse clock
  // The completion that is waited for: from the command's copy into the ring until its completion is claimed.
  // kCidReserved: none.
  std::atomic<std::uint16_t> cid{kCidReserved};
  std::uint16_t generation = 0;  // of the last CID, in its upper bits
};
static_assert(sizeof(SharedRequest) == 24,
              "eight records fill three lines: indices in different words have no line of records in common");

class SharedQueuePair {
 public:
  static constexpr std::uint16_t kMaxDepth = QueuePair::kMaxDepth;

  // Completions that are claimed at a time. Whoever is suspended after that delays these.
  static constexpr unsigned kBatch = 32;
  // How often a poll that lost a race for completions tries again.
  static constexpr unsigned kClaims = 4;
  // How often whoever was at the doorbells looks whether others came in vain.
  static constexpr unsigned kRounds = 4;

  // `requests` and `commands` hold as many as commands may be in flight: at most the smaller ring's entries − 1, at
  // most kMaxDepth. `free_words` and `ready_words` hold words_for(that number). The rings are zeroed and in memory that
  // the device reaches; the completion ring has 2^n entries, so that a position in it is a mask away from a count.
  struct Memory {
    std::span<Command> submissions;
    std::span<Completion> completions;
    std::span<SharedRequest> requests;
    std::span<Command> commands;
    std::span<IndexWord> free_words;
    std::span<IndexWord> ready_words;
    Doorbell submission_doorbell;
    Doorbell completion_doorbell;
  };

  static constexpr unsigned words_for(std::uint32_t depth) noexcept { return IndexLayout(depth).words(); }

  explicit SharedQueuePair(const Memory& memory) noexcept
      : free_(IndexLayout(static_cast<std::uint32_t>(memory.requests.size())), memory.free_words),
        requests_(memory.requests.data()),
        commands_(memory.commands.data()),
        completions_(memory.completions.data()),
        completion_mask_(static_cast<std::uint32_t>(memory.completions.size()) - 1),
        lap_shift_(static_cast<unsigned>(std::countr_zero(memory.completions.size()))),
        depth_(static_cast<std::uint32_t>(memory.requests.size())),
        ready_(free_.layout(), memory.ready_words),
        submission_queue_(memory.submissions, memory.submission_doorbell),
        completion_doorbell_(memory.completion_doorbell) {
    assert(depth_ >= 1 && depth_ <= kMaxDepth && memory.commands.size() >= depth_);
    assert(depth_ < memory.submissions.size() && depth_ < memory.completions.size());
    assert(memory.completions.size() >= 2 && std::has_single_bit(memory.completions.size()));
    for (SharedRequest& request : memory.requests) request.cid.store(kCidReserved, std::memory_order_relaxed);
  }

  // Any thread. Takes a command; the controller sees it after the next ring() or poll(). False: the queue is full, or
  // so many others were at the free indices that none was caught. `fill(Command&, index)` writes the whole entry but
  // its CID; `index` < depth() names the record, and whatever else the caller keeps a command. `done` is called from
  // some thread's poll().
  template <typename Fill>
  [[nodiscard]] bool submit(Callback done, void* context, std::uint32_t deadline, Fill&& fill) noexcept {
    const std::uint32_t index = free_.take();
    if (index == FreeIndices::kNone) [[unlikely]]
      return false;
    SharedRequest& request = requests_[index];
    request.done = done;
    request.context = context;
    request.deadline.store(deadline, std::memory_order_relaxed);
    request.generation = static_cast<std::uint16_t>(request.generation + kGenerationStep);
    Command& command = commands_[index];
    fill(command, static_cast<std::uint16_t>(index));
    command.cdw0 = cdw0::kCid.put(command.cdw0, request.generation | index);
    ready_.put(index);
    return true;
  }

  // Any thread. When it returns, the controller has been told of everything that this thread submitted, or another
  // thread is at the doorbells and will tell it; if that one has looked again kRounds times and others still came, the
  // next ring() or poll() does.
  void ring() noexcept {
    for (unsigned round = 0; round < kRounds && has_doorbell_work(); ++round) {
      // Sequentially consistent, as the store below and has_doorbell_work(): whoever comes in vain has put its work
      // there before, and whoever leaves looks for work afterwards. One of the two sees the other.
      if (at_doorbells_.load(std::memory_order_seq_cst) || at_doorbells_.exchange(true, std::memory_order_seq_cst))
        return;
      write_doorbells();
      at_doorbells_.store(false, std::memory_order_seq_cst);
    }
  }

  // Any thread. Answers at most `limit` completions, rings, and returns their number. Its callbacks may submit and
  // ring; they may not poll.
  unsigned poll(unsigned limit) noexcept {
    unsigned answered = 0;
    for (unsigned claims = 0; answered < limit && claims < kClaims;) {
      std::uint64_t tails[kBatch];
      const unsigned wanted = std::min(limit - answered, kBatch);
      // Acquire, or entries that the pollers before us saw could still look as they did two laps ago.
      std::uint64_t head = head_.load(std::memory_order_acquire);
      const unsigned count = read_ahead(head, wanted, tails);
      if (count == 0) break;
      // Claims what was read, and only that. A head of 64 bits comes never twice. Release: we have read, so the entries
      // may be given back by whoever sees this head.
      if (!head_.compare_exchange_strong(head, head + count, std::memory_order_seq_cst, std::memory_order_relaxed)) {
        ++claims;
        continue;
      }
      answer({tails, count});
      answered += count;
      if (count < wanted) break;
    }
    ring();
    return answered;
  }

  // Answers every command in flight with `status`; their callbacks may not submit. Only when the controller can no
  // longer reach the memory that they name, it is disabled or gone; and only when no other thread is inside any call.
  void fail_all(Status status) noexcept {
    // What was not told yet will not be told.
    ready_.take_all([this](std::uint32_t index) { expect_completion(index); });
    for (std::uint32_t index = 0; index < depth_; ++index) {
      const std::uint16_t cid = requests_[index].cid.load(std::memory_order_relaxed);
      if (cid == kCidReserved) continue;
      const std::uint64_t tail = cqe::kStatus.put(cqe::kCid.put(std::uint64_t{0}, cid), status.bits);
      answer({&tail, 1});
    }
  }

  // Any thread. Whether a command that the controller was told of has a deadline at or before `now`; ticks wrap, and
  // are compared by their difference.
  bool has_expired(std::uint32_t now) const noexcept {
    for (std::uint32_t index = 0; index < depth_; ++index) {
      const SharedRequest& request = requests_[index];
      // Acquire: a deadline of this CID, or of a later one.
      if (request.cid.load(std::memory_order_acquire) == kCidReserved) continue;
      if (static_cast<std::int32_t>(now - request.deadline.load(std::memory_order_relaxed)) >= 0) return true;
    }
    return false;
  }

  unsigned depth() const noexcept { return depth_; }
  unsigned in_flight() const noexcept { return depth_ - free_.count(); }  // of some moment that is past

  // Completions that answered nothing of ours.
  std::uint64_t strays() const noexcept { return strays_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint16_t kIndexMask = (1u << QueuePair::kIndexBits) - 1;
  static constexpr std::uint16_t kGenerationStep = 1u << QueuePair::kIndexBits;
  static_assert(kMaxDepth <= kIndexMask && kMaxDepth <= IndexLayout::kMaxIndices);

  bool has_doorbell_work() const noexcept {
    return !ready_.empty() || head_.load(std::memory_order_seq_cst) != acknowledged_.load(std::memory_order_relaxed);
  }

  // Only by the one thread at the doorbells.
  //
  // The order keeps the completion ring from overflowing. The commands taken here and those told and not yet claimed
  // when the head is read hold different indices, so together they are at most depth(): after the acknowledgement the
  // ring has an entry for each. Had the head been read first, a claimed command's index could come back in `ready_`
  // while its completion is not acknowledged.
  void write_doorbells() noexcept {
    ready_.take_all([this](std::uint32_t index) {
      submission_queue_.slot() = commands_[index];
      submission_queue_.advance();
      expect_completion(index);
    });
    const std::uint64_t head = head_.load(std::memory_order_seq_cst);
    const std::uint64_t acknowledged = acknowledged_.load(std::memory_order_relaxed);
    const auto place = [&](std::uint64_t count) { return static_cast<std::uint32_t>(count) & completion_mask_; };
    bool is_wake_due = false;
    if (head != acknowledged) {
      acknowledged_.store(head, std::memory_order_relaxed);
      is_wake_due = !completion_doorbell_.tell(place(head));
    }
    // Behind shadow doorbells one barrier serves both.
    if (submission_queue_.has_unrung()) {
      submission_queue_.ring();
    } else if (is_wake_due) {
      store_load_barrier();
    }
    if (is_wake_due) completion_doorbell_.wake(place(acknowledged), place(head));
  }

  // From here on a completion may claim the record; no earlier, or one that the controller makes up would give an index
  // back whose command is still being written or copied. Release: pairs with the claim in answer().
  void expect_completion(std::uint32_t index) noexcept {
    const auto cid = static_cast<std::uint16_t>(cdw0::kCid.of(commands_[index].cdw0));
    requests_[index].cid.store(cid, std::memory_order_release);
  }

  // Tail words of at most `wanted` new entries from `head` on; returns their number.
  unsigned read_ahead(std::uint64_t head, unsigned wanted, std::uint64_t* tails) const noexcept {
    const Completion* const ring = completions_;
    const std::uint32_t mask = completion_mask_;
    const unsigned lap_shift = lap_shift_;
    for (unsigned count = 0; count < wanted; ++count, ++head) {
      const std::uint64_t tail = load_from_device(&ring[head & mask].tail);
      if (cqe::kPhase.of(tail) == (head >> lap_shift & 1)) return count;  // the first lap's phase is 1
      tails[count] = tail;
    }
    return wanted;
  }

  // An exchange and not a store: a controller may post one completion twice, and two threads hold one each. Acquire:
  // pairs with expect_completion(), and through it with all that the submitter wrote.
  static bool claim(SharedRequest& request, std::uint16_t cid) noexcept {
    return request.cid.compare_exchange_strong(cid, kCidReserved, std::memory_order_acquire, std::memory_order_relaxed);
  }

  // Answers completions that this thread has claimed. All records are read, and their indices given back, before the
  // first callback: so it may submit, and a word of indices is touched once a batch and not once a command.
  void answer(std::span<const std::uint64_t> tails) noexcept {
    struct Answer {
      Callback done;
      void* context;
      std::uint64_t tail;
    };
    Answer answers[kBatch];
    unsigned count = 0;
    unsigned word = 0;
    std::uint64_t bits = 0;
    for (const std::uint64_t tail : tails) {
      const auto cid = static_cast<std::uint16_t>(cqe::kCid.of(tail));
      const std::uint32_t index = cid & kIndexMask;
      if (index >= depth_ || !claim(requests_[index], cid)) [[unlikely]] {
        strays_.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      answers[count++] = {requests_[index].done, requests_[index].context, tail};
      if (const unsigned its_word = free_.layout().word(index); its_word != word) {
        if (bits != 0) free_.put(word, bits);
        word = its_word;
        bits = 0;
      }
      bits |= free_.layout().bit(index);
    }
    if (bits != 0) free_.put(word, bits);
    for (const Answer& each : std::span(answers, count)) {
      each.done(each.context, Status{static_cast<std::uint16_t>(cqe::kStatus.of(each.tail))});
    }
  }

  // Written once, read by everybody.
  FreeIndices free_;
  SharedRequest* requests_;
  Command* commands_;
  const Completion* completions_;
  std::uint32_t completion_mask_;
  unsigned lap_shift_;
  std::uint32_t depth_;

  ReadyIndices ready_;  // begins and ends with a line

  // Of whoever is at the doorbells.
  alignas(64) std::atomic<bool> at_doorbells_{false};
  std::atomic<std::uint64_t> acknowledged_{0};  // completions that the controller has got back; others look at it
  SubmissionQueue submission_queue_;
  Doorbell completion_doorbell_;

  alignas(64) std::atomic<std::uint64_t> head_{0};    // completions claimed
  alignas(64) std::atomic<std::uint64_t> strays_{0};  // cold
};

}  // namespace pollux::nvme
