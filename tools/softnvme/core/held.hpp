// Commands that were fetched and are not answered yet because a fault hook wants it so: they hang, or wait for their
// time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/tools/softnvme/core/queues.hpp"
#include "pollux/tools/softnvme/core/reply.hpp"

namespace pollux::softnvme {

struct Held {
  static constexpr std::uint64_t kNever = ~0ull;

  SubmissionQueue* sq;
  nvme::Command command;
  std::uint64_t due_ns;        // when it is to be executed
  std::optional<Reply> reply;  // answered, and waiting for room in its completion queue
};

class HeldCommands {
 public:
  bool empty() const { return list_.empty(); }
  std::vector<Held>& list() { return list_; }

  void hold(const Held& held) { list_.push_back(held); }

  // Takes an unanswered command away, for an Abort.
  std::optional<Held> take(std::uint16_t sqid, std::uint16_t cid) {
    for (auto it = list_.begin(); it != list_.end(); ++it) {
      if (it->reply || it->sq->id != sqid || nvme::cdw0::kCid.of(it->command.cdw0) != cid) continue;
      const Held held = *it;
      list_.erase(it);
      return held;
    }
    return std::nullopt;
  }

  // The queue is deleted: its commands are completed implicitly (5.7).
  void drop_queue(const SubmissionQueue& sq) {
    std::erase_if(list_, [&](const Held& held) { return held.sq == &sq; });
  }

  void reset() { list_.clear(); }

 private:
  std::vector<Held> list_;  // at most what the submission queues can hold outstanding
};

}  // namespace pollux::softnvme
