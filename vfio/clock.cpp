#include "pollux/vfio/clock.hpp"

#include <time.h>

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
    const timespec t{static_cast<time_t>(ns / kNsPerSecond), static_cast<long>(ns % kNsPerSecond)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr);
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock clock;
  return clock;
}

}  // namespace pollux
