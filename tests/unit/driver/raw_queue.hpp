// A queue pair over private memory, with the controller's side played by hand: the test fetches commands and posts
// completions itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "pollux/driver/queue/queue_pair.hpp"

namespace pollux::nvme {

class RawQueue {
 public:
  explicit RawQueue(std::uint32_t entries, std::uint32_t depth, bool shadowed = false)
      : shadowed_(shadowed),
        submissions_(entries),
        completions_(entries),
        requests_(depth),
        free_indices_(depth),
        pair_({
            .submissions = submissions_,
            .completions = completions_,
            .requests = requests_,
            .free_indices = free_indices_,
            .submission_doorbell = doorbell(submission_doorbell, shadows[0], events[0]),
            .completion_doorbell = doorbell(completion_doorbell, shadows[1], events[1]),
        }) {}

  QueuePair& pair() { return pair_; }

  // The next command that the doorbell has told about.
  std::optional<Command> fetch() {
    if (fetched_ == submission_doorbell) return std::nullopt;
    const Command command = submissions_[fetched_];
    fetched_ = (fetched_ + 1) % static_cast<std::uint32_t>(submissions_.size());
    return command;
  }

  Command& slot(std::size_t index) { return submissions_[index]; }
  std::span<Completion> completions() { return completions_; }

  // Writes the next completion entry with the phase of this pass.
  void post(std::uint16_t cid, std::uint16_t status = 0, std::uint32_t dw0 = 0) {
    Completion& entry = completions_[posted_ % completions_.size()];
    const std::uint64_t phase = (posted_ / completions_.size() & 1) == 0 ? 1 : 0;
    ++posted_;
    entry.dw0 = dw0;
    entry.tail = cqe::kCid.put(cqe::kPhase.put(cqe::kStatus.put(std::uint64_t{0}, status), phase), cid);
  }

  // As after a reset: rings of zeros, and a controller that knows of nothing.
  void restart() {
    std::fill(submissions_.begin(), submissions_.end(), Command{});
    std::fill(completions_.begin(), completions_.end(), Completion{});
    submission_doorbell = completion_doorbell = fetched_ = 0;
    posted_ = 0;
    pair_.restart();
  }

  static std::uint16_t cid_of(const Command& command) {
    return static_cast<std::uint16_t>(cdw0::kCid.of(command.cdw0));
  }

  std::uint32_t submission_doorbell = 0;
  std::uint32_t completion_doorbell = 0;
  // Of the tail and of the head, where it is `shadowed`.
  std::uint32_t shadows[2] = {}, events[2] = {};

 private:
  Doorbell doorbell(std::uint32_t& word, std::uint32_t& shadow, const std::uint32_t& event) const {
    const Doorbell itself(&word);
    return shadowed_ ? itself.shadowed_by(&shadow, &event) : itself;
  }

  const bool shadowed_;
  std::vector<Command> submissions_;
  std::vector<Completion> completions_;
  std::vector<Request> requests_;
  std::vector<std::uint16_t> free_indices_;
  QueuePair pair_;
  std::uint32_t fetched_ = 0;
  std::uint64_t posted_ = 0;
};

// What a callback was told.
struct Answer {
  int times = 0;
  Status status;
  static void take(void* context, Status status) noexcept {
    auto* const answer = static_cast<Answer*>(context);
    ++answer->times;
    answer->status = status;
  }
};

inline bool submit(QueuePair& pair, Answer& answer, std::uint32_t deadline = 0) {
  return pair.submit(Answer::take, &answer, deadline, [](Command& slot, std::uint16_t) { slot = {}; });
}

}  // namespace pollux::nvme
