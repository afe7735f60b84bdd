// Bandwidth and IOPS over stretches of half a second, as fio samples them: min, max, mean and deviation of what a
// report's jobs did together. Fed by the main thread from the jobs' progress; the ramp is left out.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "pollux/bench/report.hpp"
#include "pollux/bench/statistics.hpp"

namespace pollux::bench {

class Sampler {
 public:
  static constexpr std::uint64_t kIntervalNs = 500'000'000;  // fio's bwavgtime and iopsavgtime

  // To be called as often as one likes. `jobs` index into `progress`.
  void update(std::span<const std::size_t> jobs, std::span<const Progress> progress, std::uint64_t elapsed_ns) {
    bool measuring = true;
    for (const std::size_t job : jobs) {
      measuring = measuring && progress[job].phase.load(std::memory_order_relaxed) == Phase::measure;
    }
    if (!measuring) {
      running_ = false;
      return;
    }
    if (running_ && elapsed_ns - last_ns_ < kIntervalNs) return;
    for (std::size_t d = 0; d < kDirections; ++d) {
      std::uint64_t ios = 0, bytes = 0;
      for (const std::size_t job : jobs) {
        ios += progress[job].ios[d].load(std::memory_order_relaxed);
        bytes += progress[job].bytes[d].load(std::memory_order_relaxed);
      }
      if (running_ && ios != last_ios_[d]) {
        const std::uint64_t interval_ns = elapsed_ns - last_ns_;
        iops_[d].add(static_cast<std::uint64_t>(per_second(ios - last_ios_[d], interval_ns)));
        bandwidth_kib_[d].add(static_cast<std::uint64_t>(per_second(bytes - last_bytes_[d], interval_ns) / 1024));
      }
      last_ios_[d] = ios;
      last_bytes_[d] = bytes;
    }
    running_ = true;
    last_ns_ = elapsed_ns;
  }

  const std::array<Moments, kDirections>& bandwidth_kib() const { return bandwidth_kib_; }
  const std::array<Moments, kDirections>& iops() const { return iops_; }

 private:
  bool running_ = false;
  std::uint64_t last_ns_ = 0;
  std::array<std::uint64_t, kDirections> last_ios_{}, last_bytes_{};
  std::array<Moments, kDirections> bandwidth_kib_, iops_;
};

}  // namespace pollux::bench
