#include "pollux/vfio/clock.hpp"

#include <time.h>

#include <cerrno>

namespace pollux {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

class SteadyClock final : public Clock {
 public:
  std::uint64_t now_ns() override {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(t.tv_nsec);
  }

  void pause_ns(std::uint64_t ns) override {
    // Until a moment, not for a while: who counts pauses, as tries of a reset, gets their time where signals come too.
    const std::uint64_t end_ns = now_ns() + ns;
    const timespec end{static_cast<time_t>(end_ns / kNsPerSecond), static_cast<long>(end_ns % kNsPerSecond)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == EINTR) continue;
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock clock;
  return clock;
}

}  // namespace pollux
