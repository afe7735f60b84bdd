// A queue pair in private memory whose controller is the benchmark itself: complete() fetches commands and posts their
// completions, on the same core and outside what is measured.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/driver/queue/queue_pair.hpp"

namespace pollux::micro {

// Rings, and the controller's side of them.
class Rings {
 public:
  explicit Rings(std::uint32_t entries) : submissions(entries), completions(entries) {}

  // Answers the next `count` commands with success, in order.
  void complete(unsigned count) noexcept {
    const auto mask = static_cast<std::uint32_t>(submissions.size()) - 1;
    for (; count != 0; --count, ++done_) {
      const std::uint64_t cid = nvme::cdw0::kCid.of(submissions[done_ & mask].cdw0);
      const std::uint64_t phase = (done_ & (mask + 1)) == 0 ? 1 : 0;
      const std::uint64_t tail = nvme::cqe::kSqhd.put(std::uint64_t{0}, (done_ + 1) & mask);
      // Pairs with load_from_device(), where another thread polls.
      __atomic_store_n(&completions[done_ & mask].tail, nvme::cqe::kPhase.put(nvme::cqe::kCid.put(tail, cid), phase),
                       __ATOMIC_RELEASE);
    }
  }

  std::vector<nvme::Command> submissions;
  std::vector<nvme::Completion> completions;
  std::uint32_t submission_doorbell = 0;
  std::uint32_t completion_doorbell = 0;

 private:
  std::uint32_t done_ = 0;
};

// Its doorbells, as registers or behind shadows whose controller never asks to be woken.
enum class Told { by_register, by_shadow };

class Loopback : public Rings {
 public:
  Loopback(std::uint32_t entries, std::uint32_t depth, Told told = Told::by_register)
      : Rings(entries),
        requests_(depth),
        free_indices_(depth),
        pair({.submissions = submissions,
              .completions = completions,
              .requests = requests_,
              .free_indices = free_indices_,
              .submission_doorbell = doorbell(told, submission_doorbell, 0),
              .completion_doorbell = doorbell(told, completion_doorbell, 1)}) {}

 private:
  nvme::Doorbell doorbell(Told told, std::uint32_t& word, unsigned index) {
    const nvme::Doorbell itself(&word);
    return told == Told::by_register ? itself : itself.shadowed_by(&shadows_[index], &kNever);
  }

  static constexpr std::uint32_t kNever = 0xffff'ffff;  // of event indices
  std::uint32_t shadows_[2] = {};
  std::vector<nvme::Request> requests_;
  std::vector<std::uint16_t> free_indices_;

 public:
  nvme::QueuePair pair;
};

}  // namespace pollux::micro
