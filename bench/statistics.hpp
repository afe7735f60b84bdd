// What one job measures. Its own thread writes it without locks; others read or merge it after the thread has ended.
// Fixed size.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "pollux/bench/histogram.hpp"

namespace pollux::bench {

// Count, extremes, mean and standard deviation of a series, without keeping it.
struct Moments {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  double sum_of_squares = 0;
  std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t most = 0;

  void add(std::uint64_t value) noexcept {
    ++count;
    sum += value;
    sum_of_squares += static_cast<double>(value) * static_cast<double>(value);
    least = std::min(least, value);
    most = std::max(most, value);
  }

  void merge(const Moments& other) noexcept {
    count += other.count;
    sum += other.sum;
    sum_of_squares += other.sum_of_squares;
    least = std::min(least, other.least);
    most = std::max(most, other.most);
  }

  std::uint64_t minimum() const { return count == 0 ? 0 : least; }
  double mean() const { return count == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(count); }
  double deviation() const {
    if (count < 2) return 0.0;
    const double n = static_cast<double>(count);
    return std::sqrt(std::max(0.0, (sum_of_squares - n * mean() * mean()) / (n - 1)));
  }
};

enum class Direction : std::uint8_t { read = 0, write = 1 };
inline constexpr std::size_t kDirections = 2;

struct DirectionStatistics {
  std::uint64_t ios = 0;
  std::uint64_t bytes = 0;
  Moments slat, clat, lat;  // nanoseconds: the submission call, from its return to the completion, both together
  Histogram slat_histogram, clat_histogram;

  void merge(const DirectionStatistics& other) noexcept {
    ios += other.ios;
    bytes += other.bytes;
    slat.merge(other.slat);
    clat.merge(other.clat);
    lat.merge(other.lat);
    slat_histogram.merge(other.slat_histogram);
    clat_histogram.merge(other.clat_histogram);
  }
};

// Counts in fio's seven classes: outstanding requests 1, 2, 4, … 32, >=64; batches 0, 4, 8, 16, 32, 64, >=64 (upper
// ends).
using DepthCounts = std::array<std::uint64_t, 7>;

inline std::size_t depth_class(unsigned outstanding) noexcept {
  return outstanding <= 1 ? 0 : std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(outstanding)) - 1, 6);
}

inline std::size_t batch_class(unsigned size) noexcept {
  if (size == 0) return 0;
  return size <= 4 ? 1 : std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(size - 1)) - 1, 6);
}

struct Statistics {
  std::array<DirectionStatistics, kDirections> direction;
  DepthCounts depth{}, submitted{}, completed{};

  DirectionStatistics& of(Direction d) { return direction[static_cast<std::size_t>(d)]; }
  const DirectionStatistics& of(Direction d) const { return direction[static_cast<std::size_t>(d)]; }

  void merge(const Statistics& other) noexcept {
    for (std::size_t d = 0; d < kDirections; ++d) direction[d].merge(other.direction[d]);
    for (std::size_t i = 0; i < depth.size(); ++i) {
      depth[i] += other.depth[i];
      submitted[i] += other.submitted[i];
      completed[i] += other.completed[i];
    }
  }
};

enum class Phase : std::uint8_t { ramp, measure, verify, ended };

// What a running job shows to the main thread, once a batch. A cache line of its own; plain stores, no order among them
// is promised.
struct alignas(64) Progress {
  std::atomic<std::uint64_t> ios[kDirections]{};  // since the job's start, ramp included
  std::atomic<std::uint64_t> bytes[kDirections]{};
  std::atomic<std::uint64_t> verified{};  // blocks that the last pass has read
  std::atomic<std::uint64_t> to_verify{};
  std::atomic<Phase> phase{Phase::ramp};
};

}  // namespace pollux::bench
