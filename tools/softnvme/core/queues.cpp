#include "pollux/tools/softnvme/core/queues.hpp"

#include <fmt/format.h>

namespace pollux::softnvme {
namespace {

constexpr std::size_t kCidWords = (1u << 16) / 64;

// In BAR0's word while the controller sleeps: no value that a host writes there.
constexpr std::uint32_t kAsleep = 0xffff'ffff;

// An event index that means "never": no tail or head reaches it.
constexpr std::uint32_t kPolls = 0xffff'ffff;

void zero_doorbell(std::uint32_t* word) { __atomic_store_n(word, 0, __ATOMIC_RELEASE); }

}  // namespace

bool Ring::bind(const HostMemory& memory, std::uint64_t iova, std::uint64_t size_bytes, bool writing) {
  iova_ = iova;
  size_bytes_ = size_bytes;
  writing_ = writing;
  pages_.clear();
  for (std::uint64_t offset = 0; offset < size_bytes; offset += 1ull << kPageShift) {
    const Window window = memory.window(iova + offset);
    if (window.size_bytes == 0 || !(writing ? window.device_may_write : window.device_may_read)) return false;
    pages_.push_back(window.host + (iova + offset - window.iova));
  }
  return true;
}

Queues::Queues(const Config& config, const HostMemory& memory, std::uint32_t* doorbells, ViolationLog& violations)
    : memory_(memory),
      doorbells_(doorbells),
      violations_(violations),
      looks_before_sleep_(config.looks_before_sleep),
      shadow_polls_(config.shadow_polls),
      submission_(kMaxIoQueues + 1),
      completion_(kMaxIoQueues + 1) {
  active_.reserve(kMaxIoQueues + 1);
  signalling_.reserve(kMaxIoQueues + 1);
  for (std::uint32_t id = 0; id <= kMaxIoQueues; ++id) {
    submission_[id].id = completion_[id].id = static_cast<std::uint16_t>(id);
    submission_[id].doorbell = submission_[id].told = doorbells + 2 * id;
    completion_[id].doorbell = completion_[id].told = doorbells + 2 * id + 1;
  }
}

bool Queues::create_cq(std::uint16_t id, std::uint64_t iova, std::uint32_t entries,
                       std::optional<std::uint16_t> interrupt_vector) {
  CompletionQueue& cq = completion_[id];
  if (!cq.ring.bind(memory_, iova, std::uint64_t{entries} * kCqeBytes, true)) return false;
  cq.size = entries;
  cq.tail = cq.head = 0;
  cq.refused = kNothingRefused;
  cq.phase = 1;
  cq.users = 0;
  cq.unsignalled = false;
  cq.interrupt_vector = interrupt_vector;
  if (interrupt_vector) signalling_.push_back(&cq);
  void_doorbell(cq.doorbell, "CQ", id);
  tell_through_shadow(cq);
  cq.exists = true;
  io_queues_ += id != 0;
  return true;
}

bool Queues::create_sq(std::uint16_t id, std::uint64_t iova, std::uint32_t entries, std::uint16_t cqid) {
  SubmissionQueue& sq = submission_[id];
  if (!sq.ring.bind(memory_, iova, std::uint64_t{entries} * kSqeBytes, false)) return false;
  sq.size = entries;
  sq.head = sq.tail = sq.conflicts = 0;
  sq.refused = kNothingRefused;
  sq.cq = &completion_[cqid];
  ++sq.cq->users;
  sq.outstanding.assign(kCidWords, 0);
  sq.conflict.assign(entries, false);
  void_doorbell(sq.doorbell, "SQ", id);
  tell_through_shadow(sq);
  sq.exists = true;
  io_queues_ += id != 0;
  list_active();
  return true;
}

void Queues::delete_sq(std::uint16_t id) {
  SubmissionQueue& sq = submission_[id];
  --sq.cq->users;
  sq.exists = false;
  io_queues_ -= id != 0;
  zero_doorbell(sq.doorbell);
  list_active();
}

void Queues::delete_cq(std::uint16_t id) {
  completion_[id].exists = false;
  std::erase(signalling_, &completion_[id]);
  io_queues_ -= id != 0;
  zero_doorbell(completion_[id].doorbell);
}

void Queues::clear() {
  for (std::uint32_t id = 0; id <= kMaxIoQueues; ++id) {
    submission_[id].exists = completion_[id].exists = false;
    zero_doorbell(submission_[id].doorbell);
    zero_doorbell(completion_[id].doorbell);
    submission_[id].told = submission_[id].doorbell;
    submission_[id].event = nullptr;
    completion_[id].told = completion_[id].doorbell;
    completion_[id].event = nullptr;
  }
  shadows_.reset();
  active_.clear();
  signalling_.clear();
  io_queues_ = 0;
  error_ = DoorbellError::none;
}

bool Queues::use_shadows(std::uint64_t shadows_iova, std::uint64_t events_iova) {
  const auto page = [&](std::uint64_t iova, bool Window::* allowed) -> std::uint32_t* {
    const Window window = memory_.window(iova);
    if (window.size_bytes == 0 || !(window.*allowed)) return nullptr;
    return reinterpret_cast<std::uint32_t*>(window.host + (iova - window.iova));
  };
  std::uint32_t* const shadows = page(shadows_iova, &Window::device_may_read);
  std::uint32_t* const events = page(events_iova, &Window::device_may_write);
  if (shadows == nullptr || events == nullptr) return false;
  shadows_ = {shadows_iova, events_iova, shadows, events};
  for (std::uint32_t id = 1; id <= kMaxIoQueues; ++id) {
    if (submission_[id].exists) tell_through_shadow(submission_[id]);
    if (completion_[id].exists) tell_through_shadow(completion_[id]);
  }
  return true;
}

void Queues::mark_polled() {
  if (!shadow_polls_) return;
  for (std::uint32_t id = 1; id <= kMaxIoQueues; ++id)
    __atomic_store_n(shadows_->events + 2 * id + 1, kPolls, __ATOMIC_RELEASE);
}

void Queues::tell_through_shadow(SubmissionQueue& sq) {
  if (!shadows_ || sq.id == 0) return;
  sq.told = shadows_->shadows + 2 * sq.id;
  sq.event = shadows_->events + 2 * sq.id;
  sq.event_moved_at = sq.tail;
  sq.quiet_looks = 0;
  sq.asleep = false;
  __atomic_store_n(sq.event, shadow_polls_ ? kPolls : (sq.tail - 1) & 0xffff, __ATOMIC_RELEASE);
}

void Queues::tell_through_shadow(CompletionQueue& cq) {
  if (!shadows_ || cq.id == 0) return;
  cq.told = shadows_->shadows + 2 * cq.id + 1;
  cq.event = shadows_->events + 2 * cq.id + 1;
  cq.event_moved_at = cq.head;
  if (shadow_polls_) return;
  // Heads are looked for when they are needed: no wake is ever asked for.
  __atomic_store_n(cq.event, (cq.head - 1) & 0xffff, __ATOMIC_RELEASE);
}

// False: the controller sleeps, or falls asleep now.
bool Queues::looks_at_shadow(SubmissionQueue& sq) {
  if (shadow_polls_) return true;
  if (sq.asleep) {
    if (__atomic_load_n(sq.doorbell, __ATOMIC_ACQUIRE) == kAsleep) return false;
    sq.asleep = false;
    sq.quiet_looks = 0;
    sq.event_moved_at = sq.tail;
    __atomic_store_n(sq.event, (sq.tail - 1) & 0xffff, __ATOMIC_RELEASE);
  }
  if (__atomic_load_n(sq.told, __ATOMIC_RELAXED) != sq.tail) {
    sq.quiet_looks = 0;
    keep_awake(sq, sq.tail);
    return true;
  }
  if (++sq.quiet_looks < looks_before_sleep_) return true;
  __atomic_store_n(sq.doorbell, kAsleep, __ATOMIC_RELAXED);
  // Pairs with the host's full barrier between its store of the shadow and its load of the event index: one of the two
  // sees the other's.
  __atomic_exchange_n(sq.event, sq.tail, __ATOMIC_SEQ_CST);
  sq.asleep = __atomic_load_n(sq.told, __ATOMIC_SEQ_CST) == sq.tail;
  sq.quiet_looks = 0;
  return !sq.asleep;
}

bool Queues::rebind() {
  bool whole = true;
  if (shadows_ && !use_shadows(shadows_->shadows_iova, shadows_->events_iova)) {
    violations_.add(Rule::ring_unmapped,
                    fmt::format("the shadow doorbells at IOVA {:#x} and {:#x} are no longer mapped",
                                shadows_->shadows_iova, shadows_->events_iova));
    whole = false;
  }
  const auto check = [&](Ring& ring, const char* kind, std::uint16_t id) {
    if (ring.rebind(memory_)) return;
    violations_.add(Rule::ring_unmapped, fmt::format("the {} bytes at IOVA {:#x} of {} {} are no longer mapped",
                                                     ring.size_bytes(), ring.iova(), kind, id));
    whole = false;
  };
  for (std::uint32_t id = 0; id <= kMaxIoQueues; ++id) {
    if (submission_[id].exists) check(submission_[id].ring, "SQ", static_cast<std::uint16_t>(id));
    if (completion_[id].exists) check(completion_[id].ring, "CQ", static_cast<std::uint16_t>(id));
  }
  return whole;
}

void Queues::advance_tail(SubmissionQueue& sq, std::uint32_t tail) {
  // A value that was refused stays in its word: it is told once.
  if (sq.refused == tail) return;
  if (tail >= sq.size) {
    violations_.add(Rule::doorbell_out_of_range,
                    fmt::format("tail {} rung for SQ {} of {} entries", tail, sq.id, sq.size));
    sq.refused = tail;
    return doorbell_error(DoorbellError::bad_value, sq.id);
  }
  const std::uint32_t added = tail >= sq.tail ? tail - sq.tail : tail + sq.size - sq.tail;
  if (sq.waiting() + added >= sq.size) {
    violations_.add(Rule::sq_tail_passes_head,
                    fmt::format("tail {} rung for SQ {} of {} entries, with tail {} and head {}", tail, sq.id, sq.size,
                                sq.tail, sq.head));
    sq.refused = tail;
    return doorbell_error(DoorbellError::bad_value, sq.id);
  }
  sq.refused = kNothingRefused;
  for (std::uint32_t slot = sq.tail; slot != tail; slot = slot + 1 == sq.size ? 0 : slot + 1) {
    const auto cid = static_cast<std::uint16_t>(
        reinterpret_cast<const nvme::Command*>(sq.ring.at(slot * kSqeBytes))->cdw0 >> nvme::cdw0::kCid.shift);
    if (sq.is_outstanding(cid)) [[unlikely]] {
      violations_.add(Rule::cid_in_use, fmt::format("CID {:#06x} submitted in slot {} of SQ {} while it is outstanding",
                                                    cid, slot, sq.id));
      sq.conflict[slot] = true;
      ++sq.conflicts;
    } else {
      sq.begin(cid);
    }
  }
  sq.tail = tail;
}

void Queues::refuse_head(CompletionQueue& cq, std::uint32_t head) {
  if (cq.refused == head) return;
  cq.refused = head;
  if (head >= cq.size) {
    violations_.add(Rule::doorbell_out_of_range,
                    fmt::format("head {} rung for CQ {} of {} entries", head, cq.id, cq.size));
  } else {
    violations_.add(Rule::cq_head_passes_tail,
                    fmt::format("head {} rung for CQ {} of {} entries, with head {} and {} entries posted", head, cq.id,
                                cq.size, cq.head, cq.posted()));
  }
  doorbell_error(DoorbellError::bad_value, cq.id);
}

void Queues::scan_doorbells() {
  for (std::uint32_t id = 0; id <= kMaxIoQueues; ++id) {
    if (!submission_[id].exists) void_doorbell(submission_[id].doorbell, "SQ", submission_[id].id);
    if (completion_[id].exists) {
      observe(completion_[id]);
    } else {
      void_doorbell(completion_[id].doorbell, "CQ", completion_[id].id);
    }
  }
}

void Queues::void_doorbell(std::uint32_t* word, const char* kind, std::uint16_t id) {
  if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0) [[likely]]
    return;
  const std::uint32_t value = __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL);
  violations_.add(Rule::doorbell_without_queue,
                  fmt::format("{} rung for {} {}, which does not exist", value, kind, id));
  doorbell_error(DoorbellError::no_queue, id);
}

void Queues::write_doorbell(std::uint32_t word, std::uint32_t value) {
  const auto id = static_cast<std::uint16_t>(word / 2);
  const bool is_cq = word % 2 != 0;
  const bool exists = is_cq ? completion_[id].exists : submission_[id].exists;
  // Behind a shadow BAR0 hears of some values only, so that one may come twice.
  const bool shadowed = shadows_.has_value() && id != 0;
  if (exists && !shadowed && __atomic_load_n(&doorbells_[word], __ATOMIC_RELAXED) == value) {
    violations_.add(Rule::doorbell_repeated,
                    fmt::format("{} {} rung again for {} {}", is_cq ? "head" : "tail", value, is_cq ? "CQ" : "SQ", id));
    doorbell_error(DoorbellError::bad_value, id);
  }
  __atomic_store_n(&doorbells_[word], value, __ATOMIC_RELEASE);
}

DoorbellError Queues::take_error(std::uint16_t& qid) {
  qid = error_qid_;
  return std::exchange(error_, DoorbellError::none);
}

void Queues::doorbell_error(DoorbellError error, std::uint16_t qid) {
  if (error_ != DoorbellError::none) return;
  error_ = error;
  error_qid_ = qid;
}

void Queues::list_active() {
  active_.clear();
  for (SubmissionQueue& sq : submission_) {
    if (sq.exists) active_.push_back(&sq);
  }
}

}  // namespace pollux::softnvme
