// A shared queue pair over private memory, with the controller's side played by hand, as raw_queue.hpp does for the
// pair with one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pollux/driver/queue/shared_queue_pair.hpp"

namespace pollux::nvme {

class RawSharedQueue {
 public:
  RawSharedQueue(std::uint32_t entries, std::uint32_t depth)
      : submissions_(entries),
        completions_(entries),
        requests_(depth),
        commands_(depth),
        free_words_(SharedQueuePair::words_for(depth)),
        ready_words_(SharedQueuePair::words_for(depth)),
        pair_({
            .submissions = submissions_,
            .completions = completions_,
            .requests = requests_,
            .commands = commands_,
            .free_words = free_words_,
            .ready_words = ready_words_,
            .submission_doorbell = &submission_doorbell,
            .completion_doorbell = &completion_doorbell,
        }) {}

  SharedQueuePair& pair() { return pair_; }
  std::uint32_t entries() const { return static_cast<std::uint32_t>(submissions_.size()); }

  // The next command that the doorbell has told about.
  std::optional<Command> fetch() {
    // Pairs with store_doorbell().
    if (fetched_ == __atomic_load_n(&submission_doorbell, __ATOMIC_ACQUIRE)) return std::nullopt;
    const Command command = submissions_[fetched_];
    fetched_ = (fetched_ + 1) & (entries() - 1);
    return command;
  }

  std::span<Completion> completions() { return completions_; }

  // Completions posted and not acknowledged, modulo the ring: what the controller believes is in its queue.
  std::uint32_t unacknowledged() const {
    const std::uint32_t head = __atomic_load_n(&completion_doorbell, __ATOMIC_ACQUIRE);
    return static_cast<std::uint32_t>(posted_ - head) & (entries() - 1);
  }

  // Writes the next completion entry with the phase of this pass.
  void post(std::uint16_t cid, std::uint16_t status = 0) {
    Completion& entry = completions_[posted_ & (entries() - 1)];
    const std::uint64_t phase = (posted_ / entries() & 1) == 0 ? 1 : 0;
    ++posted_;
    const std::uint64_t tail = cqe::kCid.put(cqe::kPhase.put(cqe::kStatus.put(std::uint64_t{0}, status), phase), cid);
    __atomic_store_n(&entry.tail, tail, __ATOMIC_RELEASE);  // pairs with load_from_device()
  }

  static std::uint16_t cid_of(const Command& command) {
    return static_cast<std::uint16_t>(cdw0::kCid.of(command.cdw0));
  }

  alignas(64) std::uint32_t submission_doorbell = 0;
  alignas(64) std::uint32_t completion_doorbell = 0;

 private:
  alignas(64) std::uint32_t fetched_ = 0;
  std::uint64_t posted_ = 0;
  std::vector<Command> submissions_;
  std::vector<Completion> completions_;
  std::vector<SharedRequest> requests_;
  std::vector<Command> commands_;
  std::vector<IndexWord> free_words_;
  std::vector<IndexWord> ready_words_;
  SharedQueuePair pair_;
};

}  // namespace pollux::nvme
