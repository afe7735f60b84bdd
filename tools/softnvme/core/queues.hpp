// Submission and completion queues as the controller sees them: rings in host memory, doorbells, who is outstanding.
// The fast path is inline: observe a doorbell, fetch an entry, post an entry. NVMe base 2.0c, 3.3.1; doorbells: PCIe
// transport 1.0c, 3.1.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"
#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/core/host_memory.hpp"
#include "pollux/tools/softnvme/core/interrupts.hpp"
#include "pollux/tools/softnvme/core/violation_log.hpp"

namespace pollux::softnvme {

// A ring in host memory: contiguous for the device, page by page for us.
class Ring {
 public:
  // False: some of it is not mapped for `writing` or reading.
  bool bind(const HostMemory& memory, std::uint64_t iova, std::uint64_t size_bytes, bool writing);
  // The same ring, after the mappings changed.
  bool rebind(const HostMemory& memory) { return bind(memory, iova_, size_bytes_, writing_); }

  std::byte* at(std::uint32_t offset) const { return pages_[offset >> kPageShift] + (offset & kPageMask); }
  std::uint64_t iova() const { return iova_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  static constexpr unsigned kPageShift = 12;  // the granule of a mapping
  static constexpr std::uint32_t kPageMask = (1u << kPageShift) - 1;

  std::vector<std::byte*> pages_;
  std::uint64_t iova_ = 0;
  std::uint64_t size_bytes_ = 0;
  bool writing_ = false;
};

inline constexpr std::uint64_t kNothingRefused = ~0ull;  // no value of a doorbell, which has 32 bits

struct CompletionQueue {
  Ring ring;
  std::uint32_t size = 0;
  std::uint32_t tail = 0;  // where the next entry goes
  std::uint32_t head = 0;  // what the host has consumed, as far as its doorbell says
  std::uint16_t id = 0;
  std::uint16_t phase = 1;
  std::uint16_t users = 0;                  // submission queues that post here
  std::uint32_t* doorbell = nullptr;        // BAR0's word
  std::uint32_t* told = nullptr;            // where the host tells its head: that word, or a shadow
  std::uint32_t* event = nullptr;           // the event index of a shadow
  std::uint32_t event_moved_at = 0;         // where the head was when that was moved last
  std::uint64_t refused = kNothingRefused;  // the doorbell value that was refused, while it stands there
  bool exists = false;
  bool unsignalled = false;                       // entries were posted since its interrupt was signalled
  std::optional<std::uint16_t> interrupt_vector;  // IEN and IV; nothing: it has no interrupt

  std::uint32_t posted() const { return tail >= head ? tail - head : tail + size - head; }
  // Entries that may be posted without passing the host's head.
  std::uint32_t room() const { return size - 1 - posted(); }
};

struct SubmissionQueue {
  Ring ring;
  std::uint32_t size = 0;
  std::uint32_t head = 0;  // the next command to fetch
  std::uint32_t tail = 0;  // as the host's doorbell says
  std::uint16_t id = 0;
  CompletionQueue* cq = nullptr;
  std::uint32_t* doorbell = nullptr;  // BAR0's word
  std::uint32_t* told = nullptr;      // where the host tells its tail: that word, or a shadow
  std::uint32_t* event = nullptr;     // the event index of a shadow
  std::uint32_t event_moved_at = 0;   // where the tail was when that was moved last
  unsigned quiet_looks = 0;           // at the shadow, since it changed
  bool asleep = false;                // until BAR0's word is written the shadow is not looked at
  std::uint64_t refused = kNothingRefused;
  std::uint32_t conflicts = 0;             // set bits in conflict
  std::vector<std::uint64_t> outstanding;  // a bit a CID: from its doorbell to its completion
  std::vector<bool> conflict;              // a bit a slot: its CID was in use when the doorbell told of it
  bool exists = false;

  std::uint32_t waiting() const { return tail >= head ? tail - head : tail + size - head; }
  bool is_outstanding(std::uint16_t cid) const { return (outstanding[cid >> 6] >> (cid & 63) & 1) != 0; }
  void begin(std::uint16_t cid) { outstanding[cid >> 6] |= 1ull << (cid & 63); }
  void end(std::uint16_t cid) { outstanding[cid >> 6] &= ~(1ull << (cid & 63)); }
};

// An invalid doorbell write, for the asynchronous event that tells of it (5.2.1).
enum class DoorbellError : std::uint8_t { none, no_queue, bad_value };

class Queues {
 public:
  // `doorbells`: kDoorbellWords words, zero, written by the host and read here; they outlive the queues.
  Queues(const Config& config, const HostMemory& memory, std::uint32_t* doorbells, ViolationLog& violations);

  // False: the ring is not mapped. The identifier is free and at most kMaxIoQueues; `cqid` exists.
  bool create_cq(std::uint16_t id, std::uint64_t iova, std::uint32_t entries,
                 std::optional<std::uint16_t> interrupt_vector);
  bool create_sq(std::uint16_t id, std::uint64_t iova, std::uint32_t entries, std::uint16_t cqid);
  void delete_sq(std::uint16_t id);
  void delete_cq(std::uint16_t id);
  // Every queue is gone and every doorbell 0.
  void clear();
  // After the mappings changed. False: the memory of a queue is gone.
  bool rebind();

  CompletionQueue& cq(std::uint16_t id) { return completion_[id]; }
  SubmissionQueue& sq(std::uint16_t id) { return submission_[id]; }
  const std::vector<SubmissionQueue*>& submission_queues() const { return active_; }  // those that exist, ascending
  bool any_io_queue() const { return io_queues_ != 0; }

  // Doorbell Buffer Config: from now on the doorbells of I/O queues are told in a page of host memory, and the host is
  // asked for writes of BAR0 by event indices in another. False, and nothing changed: they are not mapped.
  bool use_shadows(std::uint64_t shadows_iova, std::uint64_t events_iova);
  // Config::shadow_polls, when the buffers have been taken: for all completion queues that there may be.
  void mark_polled();

  // Takes up what the tail doorbell says: new commands are outstanding from now on.
  void observe(SubmissionQueue& sq) {
    if (sq.event != nullptr && !looks_at_shadow(sq)) [[unlikely]]
      return;
    // Pairs with the host's release of the doorbell: the entries before it are complete.
    const std::uint32_t tail = __atomic_load_n(sq.told, __ATOMIC_ACQUIRE);
    if (tail != sq.tail) advance_tail(sq, tail);
  }

  // Takes up what the head doorbell says.
  void observe(CompletionQueue& cq) {
    // Pairs with the host's release of the doorbell: it has read the entries before it.
    const std::uint32_t head = __atomic_load_n(cq.told, __ATOMIC_ACQUIRE);
    if (head == cq.head) return;
    const std::uint32_t consumed = head >= cq.head ? head - cq.head : head + cq.size - cq.head;
    if (head >= cq.size || consumed > cq.posted()) [[unlikely]]
      return refuse_head(cq, head);
    cq.head = head;
    cq.refused = kNothingRefused;
    if (cq.event != nullptr && !shadow_polls_) [[unlikely]]
      keep_awake(cq, head);
  }

  // Copies the next command. Call only while waiting() > 0.
  nvme::Command fetch(SubmissionQueue& sq) {
    const nvme::Command command = *reinterpret_cast<const nvme::Command*>(sq.ring.at(sq.head * kSqeBytes));
    if (++sq.head == sq.size) sq.head = 0;
    return command;
  }

  // Posts one entry. Call only while room() > 0.
  void post(CompletionQueue& cq, nvme::Completion entry) {
    auto* slot = reinterpret_cast<nvme::Completion*>(cq.ring.at(cq.tail * kCqeBytes));
    slot->dw0 = entry.dw0;
    slot->dw1 = entry.dw1;
    // Pairs with the host's acquire of the tail: what comes before it, data and dword 0, is there when the phase is.
    __atomic_store_n(&slot->tail, nvme::cqe::kPhase.put(entry.tail, cq.phase), __ATOMIC_RELEASE);
    if (++cq.tail == cq.size) {
      cq.tail = 0;
      cq.phase ^= 1;
    }
    cq.unsignalled = true;
  }

  // Signals the vector of each queue with entries that were posted since the last time, whether the host has consumed
  // them or not: an interrupt too many costs it a look, one too few its sleep. PCIe transport 1.0c, 3.5.2.
  void signal(Interrupts& interrupts) {
    for (CompletionQueue* cq : signalling_) {
      if (std::exchange(cq->unsignalled, false)) interrupts.signal(*cq->interrupt_vector);
    }
  }
  // What was posted up to now is signalled to nobody.
  void forget_unsignalled() {
    for (CompletionQueue* cq : signalling_) cq->unsignalled = false;
  }

  // Looks at every doorbell: completion heads, and words that belong to no queue. For idle moments and once in many
  // steps.
  void scan_doorbells();

  // A doorbell written by call: only there a value that repeats itself can be seen.
  void write_doorbell(std::uint32_t word, std::uint32_t value);

  // The first doorbell error since this was asked last, and the queue's identifier.
  DoorbellError take_error(std::uint16_t& qid);

  static constexpr std::uint32_t kSqeBytes = 64;
  static constexpr std::uint32_t kCqeBytes = 16;

 private:
  void advance_tail(SubmissionQueue& sq, std::uint32_t tail);
  bool looks_at_shadow(SubmissionQueue& sq);
  // Wants no wake now: keeps the event index behind the host's value, so that it is not passed once around the ring.
  template <typename Queue>
  void keep_awake(Queue& queue, std::uint32_t value) {
    const std::uint32_t moved =
        value >= queue.event_moved_at ? value - queue.event_moved_at : value + queue.size - queue.event_moved_at;
    if (moved < queue.size / 2) return;
    queue.event_moved_at = value;
    __atomic_store_n(queue.event, (value - 1) & 0xffff, __ATOMIC_RELEASE);
  }
  // Where a queue's doorbells are told now.
  void tell_through_shadow(SubmissionQueue& sq);
  void tell_through_shadow(CompletionQueue& cq);
  // The word of a queue that does not exist: back to 0, and a violation where it is not.
  void void_doorbell(std::uint32_t* word, const char* kind, std::uint16_t id);
  void refuse_head(CompletionQueue& cq, std::uint32_t head);
  void doorbell_error(DoorbellError error, std::uint16_t qid);
  void list_active();

  const HostMemory& memory_;
  std::uint32_t* doorbells_;
  struct Shadows {
    std::uint64_t shadows_iova, events_iova;
    std::uint32_t* shadows;  // a page each, laid out like the doorbells
    std::uint32_t* events;
  };
  std::optional<Shadows> shadows_;
  ViolationLog& violations_;
  const unsigned looks_before_sleep_;
  const bool shadow_polls_;
  std::vector<SubmissionQueue> submission_;
  std::vector<CompletionQueue> completion_;
  std::vector<SubmissionQueue*> active_;
  std::vector<CompletionQueue*> signalling_;  // those that exist and have an interrupt
  std::uint32_t io_queues_ = 0;               // of both kinds
  DoorbellError error_ = DoorbellError::none;
  std::uint16_t error_qid_ = 0;
};

}  // namespace pollux::softnvme
