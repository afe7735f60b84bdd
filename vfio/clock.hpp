// The one source of time and of sleep. Nothing above this floor reads time or sleeps by itself, so that a simulation
// can own both. Shared by threads: now() and pause() are safe from any of them.
#pragma once

#include <cstdint>

namespace pollux {

class Clock {
 public:
  virtual ~Clock() = default;

  // Monotonic nanoseconds from an arbitrary start.
  virtual std::uint64_t now_ns() = 0;

  // Called between two looks at something slow (bring-up, admin commands): gives the processor away for about `ns`.
  virtual void pause_ns(std::uint64_t ns) = 0;
};

// CLOCK_MONOTONIC and clock_nanosleep. Lives as long as the process.
Clock& steady_clock();

inline constexpr std::uint64_t kNsPerMs = 1'000'000;

}  // namespace pollux
