// The shared queue pair in private memory, with the controller played by whichever thread finds it free.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "pollux/bench/micro/loopback.hpp"
#include "pollux/driver/queue/shared_queue_pair.hpp"

namespace pollux::micro {

class SharedLoopback {
 public:
  SharedLoopback(std::uint32_t entries, std::uint32_t depth)
      : rings(entries),
        requests_(depth),
        commands_(depth),
        free_words_(nvme::SharedQueuePair::words_for(depth)),
        ready_words_(nvme::SharedQueuePair::words_for(depth)),
        pair({.submissions = rings.submissions,
              .completions = rings.completions,
              .requests = requests_,
              .commands = commands_,
              .free_words = free_words_,
              .ready_words = ready_words_,
              .submission_doorbell = &rings.submission_doorbell,
              .completion_doorbell = &rings.completion_doorbell}) {}

  // Answers whatever the doorbell has told of, unless another thread is at it.
  void complete_all() noexcept {
    if (busy_.exchange(true, std::memory_order_acquire)) return;
    const std::uint32_t tail = __atomic_load_n(&rings.submission_doorbell, __ATOMIC_ACQUIRE);
    rings.complete((tail - completed_) & (static_cast<std::uint32_t>(rings.submissions.size()) - 1));
    completed_ = tail;
    busy_.store(false, std::memory_order_release);
  }

  Rings rings;

 private:
  std::vector<nvme::SharedRequest> requests_;
  std::vector<nvme::Command> commands_;
  std::vector<nvme::IndexWord> free_words_;
  std::vector<nvme::IndexWord> ready_words_;
  alignas(64) std::atomic<bool> busy_ = false;
  std::uint32_t completed_ = 0;

 public:
  nvme::SharedQueuePair pair;
};

}  // namespace pollux::micro
