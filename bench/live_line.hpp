// The line that a terminal shows while jobs run: progress, IOPS, bandwidth, time left. One thread, the main one;
// nothing where the output is no terminal.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "pollux/bench/plan.hpp"
#include "pollux/bench/statistics.hpp"

namespace pollux::bench {

// What the line says of the last interval.
struct LiveState {
  bool verifying = false;
  double done = 0;  // 0 to 1
  std::array<double, kDirections> iops{};
  double bytes_per_second = 0;  // both directions
  std::uint64_t left_s = 0;
};

std::string live_text(const LiveState& state);

class LiveLine {
 public:
  // `fd` is standard error's; `on` whether it is a terminal.
  LiveLine(int fd, bool on) : fd_(fd), on_(on) {}

  // To be called as often as one likes: draws once a second.
  void update(std::span<const PlannedJob> jobs, std::span<const Progress> progress, std::uint64_t elapsed_ns);

  // Takes the line away.
  void clear();

 private:
  static constexpr std::uint64_t kIntervalNs = 1'000'000'000;

  int fd_;
  bool on_;
  bool drawn_ = false;
  std::uint64_t last_ns_ = 0;
  std::array<std::uint64_t, kDirections> last_ios_{};
  std::uint64_t last_bytes_ = 0;
};

}  // namespace pollux::bench
