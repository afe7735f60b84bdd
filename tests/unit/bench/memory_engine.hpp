// An engine on plain memory for tests of the job loop: completes some of what is outstanding at each poll, in a
// shuffled order, and can be told to misbehave. With a clock that goes on by itself, so that a test of an hour takes no
// time.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "pollux/bench/engine.hpp"
#include "pollux/bench/random.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::bench {

// Every look at it takes `step_ns`.
class SteppingClock : public Clock {
 public:
  explicit SteppingClock(std::uint64_t step_ns = 100) : step_ns_(step_ns) {}
  std::uint64_t now_ns() override { return now_ns_ += step_ns_; }
  void pause_ns(std::uint64_t ns) override { now_ns_ += ns; }

 private:
  std::uint64_t step_ns_;
  std::uint64_t now_ns_ = 1'000'000;
};

class MemoryEngine {
 public:
  // What happens to a transfer; `serial` counts reads and writes from 0, each apart.
  enum class Fate { done, dropped, flipped, stale, failed, failed_late, never };  // late: after the data moved
  using Decide = std::function<Fate(const Request&, std::uint64_t serial)>;

  MemoryEngine(unsigned depth, std::uint64_t block_bytes, std::uint64_t size_bytes)
      : depth_(depth), block_bytes_(block_bytes), memory_(depth * block_bytes), store(size_bytes) {}

  unsigned depth() const { return depth_; }
  std::span<std::byte> memory(std::uint32_t index) {
    return std::span(memory_).subspan(index * block_bytes_, block_bytes_);
  }

  template <Completed completed>
  Submitted submit(Request& request) noexcept {
    if (waiting_.size() == capacity) return Submitted::full;
    if (request.offset_bytes + block_bytes_ > store.size()) return Submitted::refused;
    done_ = completed;
    waiting_.push_back(&request);
    ++submitted;
    most_outstanding = std::max(most_outstanding, waiting_.size());
    busy_writes_ok = busy_writes_ok && (!request.write || writing_.insert(request.offset_bytes).second);
    return Submitted::accepted;
  }

  void ring() noexcept { ++rings; }

  unsigned poll() noexcept {
    if (on_poll) on_poll();
    unsigned count = 0;
    while (!waiting_.empty() && count < completions_per_poll) {
      const auto chosen = waiting_.begin() + static_cast<std::ptrdiff_t>(random_.below(waiting_.size()));
      Request* request = *chosen;
      const Fate fate = decide ? decide(*request, serial_[request->write]++) : Fate::done;
      waiting_.erase(chosen);
      if (fate == Fate::never) continue;
      if (request->write) writing_.erase(request->offset_bytes);
      const std::uint32_t code = transfer(*request, fate);
      done_(*request, code);
      if (++answered == answers_twice) done_(*request, code);
      ++count;
    }
    return count;
  }

  std::string describe(std::uint32_t code) const { return "code " + std::to_string(code); }
  std::string last_refusal() const { return "past the end"; }

 private:
  std::uint32_t transfer(const Request& request, Fate fate) {
    std::byte* const at = store.data() + request.offset_bytes;
    const auto mine = memory(request.index);
    if (fate == Fate::failed) return kError;
    if (request.write) {
      std::vector<std::byte>& before = older_[request.offset_bytes];
      before.assign(at, at + block_bytes_);
      if (fate != Fate::dropped) std::memcpy(at, mine.data(), block_bytes_);
      if (fate == Fate::flipped) at[block_bytes_ / 2] ^= std::byte{0x10};
    } else {
      std::memcpy(mine.data(), at, block_bytes_);
      if (fate == Fate::stale && older_.contains(request.offset_bytes)) {
        std::memcpy(mine.data(), older_[request.offset_bytes].data(), block_bytes_);
      }
    }
    return fate == Fate::failed_late ? kError : 0;
  }

  static constexpr std::uint32_t kError = 7;

  unsigned depth_;
  std::uint64_t block_bytes_;
  std::vector<std::byte> memory_;
  std::deque<Request*> waiting_;
  std::set<std::uint64_t> writing_;
  std::map<std::uint64_t, std::vector<std::byte>> older_;
  std::uint64_t serial_[2] = {0, 0};
  Random random_{11};
  Completed done_ = nullptr;

 public:
  std::vector<std::byte> store;
  Decide decide;
  std::function<void()> on_poll;
  std::size_t capacity = ~std::size_t{0};  // submissions beyond it find the queue full
  unsigned completions_per_poll = 3;
  std::uint64_t submitted = 0, answered = 0, rings = 0;
  std::uint64_t answers_twice = 0;  // the how manieth answer is given twice; 0: none
  std::size_t most_outstanding = 0;
  bool busy_writes_ok = true;  // no block ever had two writes outstanding
};

}  // namespace pollux::bench
