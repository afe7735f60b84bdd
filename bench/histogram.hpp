// A latency histogram of fixed size: 64 linear buckets to each power of two, as fio's, so that a value is known to
// within 1.6 per cent from nanoseconds up to two minutes. add() is a shift and an increment. One thread writes; merging
// and reading come after it has ended.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pollux::bench {

class Histogram {
 public:
  static constexpr unsigned kBucketBits = 6;
  static constexpr unsigned kGroups = 32;
  static constexpr std::size_t kBuckets = std::size_t{kGroups} << kBucketBits;
  static constexpr std::uint64_t kMaxValue = (1ull << (kGroups + kBucketBits - 1)) - 1;  // larger ones count as this

  void add(std::uint64_t value) noexcept { ++counts_[index_of(std::min(value, kMaxValue))]; }

  void merge(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  }

  std::uint64_t total() const noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : counts_) sum += count;
    return sum;
  }

  // The middle of the bucket that holds the value which `percent` of all values do not exceed; 0 without values.
  std::uint64_t percentile(double percent) const noexcept {
    const std::uint64_t count = total();
    if (count == 0) return 0;
    const auto rank =
        std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(percent / 100.0 * static_cast<double>(count))));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen >= rank) return value_of(i);
    }
    return kMaxValue;
  }

  // Calls visit(value, count) for each bucket that holds something, in ascending order.
  template <typename Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (counts_[i] != 0) visit(value_of(i), counts_[i]);
    }
  }

  static constexpr std::size_t index_of(std::uint64_t value) noexcept {
    constexpr std::uint64_t kLinear = 1ull << kBucketBits;
    if (value < kLinear) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kBucketBits;
    // value >> shift lies in [64, 128): its leading one carries the index into the group after `shift`.
    return (std::size_t{shift} << kBucketBits) + static_cast<std::size_t>(value >> shift);
  }

  static constexpr std::uint64_t value_of(std::size_t index) noexcept {
    const std::size_t group = index >> kBucketBits;
    if (group == 0) return index;
    const auto shift = static_cast<unsigned>(group - 1);
    const std::uint64_t low = ((index & ((1u << kBucketBits) - 1)) + (1ull << kBucketBits)) << shift;
    return low + ((1ull << shift) >> 1);
  }

 private:
  std::array<std::uint64_t, kBuckets> counts_{};
};

}  // namespace pollux::bench
