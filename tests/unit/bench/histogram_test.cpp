// The histogram: percentiles beside those of the sorted values, and what it promises of precision.
#include "pollux/bench/histogram.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "pollux/bench/random.hpp"
#include "pollux/bench/statistics.hpp"

using namespace pollux::bench;

namespace {

std::uint64_t true_percentile(std::vector<std::uint64_t> values, double percent) {
  std::ranges::sort(values);
  const auto rank =
      std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(values.size()))));
  return values[rank - 1];
}

}  // namespace

TEST_CASE("a bucket's value is within 1.6 per cent of whatever falls into it") {
  Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t value = random.next() >> (27 + random.below(37));
    if (value > Histogram::kMaxValue) continue;
    const std::uint64_t shown = Histogram::value_of(Histogram::index_of(value));
    const std::uint64_t error = shown > value ? shown - value : value - shown;
    REQUIRE(error * 64 <= value);
  }
}

TEST_CASE("buckets are in order and none is missing") {
  for (std::size_t i = 1; i < Histogram::kBuckets; ++i) {
    REQUIRE(Histogram::value_of(i) > Histogram::value_of(i - 1));
    REQUIRE(Histogram::index_of(Histogram::value_of(i)) == i);
  }
  CHECK(Histogram::index_of(Histogram::kMaxValue) == Histogram::kBuckets - 1);
}

TEST_CASE("percentiles agree with the sorted values") {
  const auto spread = GENERATE(100ull, 100'000ull, 10'000'000'000ull);
  Random random(spread);
  Histogram histogram;
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(random.below(random.below(spread) + 1));
    histogram.add(values.back());
  }
  for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    INFO(percent);
    const std::uint64_t wanted = true_percentile(values, percent);
    CHECK(static_cast<double>(histogram.percentile(percent)) ==
          Approx(static_cast<double>(wanted)).epsilon(1.0 / 64).margin(0.5));
  }
}

TEST_CASE("few values have percentiles too, and none has zero") {
  Histogram histogram;
  CHECK(histogram.percentile(50) == 0);
  histogram.add(7);
  CHECK(histogram.percentile(1) == 7);
  CHECK(histogram.percentile(99.99) == 7);
  histogram.add(9);
  CHECK(histogram.percentile(50) == 7);
  CHECK(histogram.percentile(51) == 9);
}

TEST_CASE("a value beyond the last bucket counts in it") {
  Histogram histogram;
  histogram.add(~0ull);
  CHECK(histogram.total() == 1);
  CHECK(histogram.percentile(50) == Histogram::value_of(Histogram::kBuckets - 1));
}

TEST_CASE("merged histograms are as one that saw everything") {
  Histogram one, other, both;
  for (std::uint64_t value = 1; value < 100'000; value += 7) {
    (value % 2 == 0 ? one : other).add(value);
    both.add(value);
  }
  one.merge(other);
  CHECK(one.total() == both.total());
  CHECK(one.percentile(75) == both.percentile(75));
}

TEST_CASE("moments give minimum, maximum, mean and deviation, merged or not") {
  Moments all, low, high;
  for (const std::uint64_t value : {2ull, 4ull, 4ull, 4ull, 5ull, 5ull, 7ull, 9ull}) {
    all.add(value);
    (value < 5 ? low : high).add(value);
  }
  low.merge(high);
  for (const Moments& moments : {all, low}) {
    CHECK(moments.count == 8);
    CHECK(moments.minimum() == 2);
    CHECK(moments.most == 9);
    CHECK(moments.mean() == Approx(5.0));
    CHECK(moments.deviation() == Approx(2.138).epsilon(0.001));  // of a sample: sqrt(32 / 7)
  }
  CHECK(Moments{}.minimum() == 0);
  CHECK(Moments{}.deviation() == 0.0);
}

TEST_CASE("depths and batches fall into fio's classes") {
  CHECK(depth_class(1) == 0);
  CHECK(depth_class(2) == 1);
  CHECK(depth_class(3) == 1);
  CHECK(depth_class(32) == 5);
  CHECK(depth_class(63) == 5);
  CHECK(depth_class(64) == 6);
  CHECK(depth_class(4095) == 6);
  CHECK(batch_class(0) == 0);
  CHECK(batch_class(1) == 1);
  CHECK(batch_class(4) == 1);
  CHECK(batch_class(5) == 2);
  CHECK(batch_class(8) == 2);
  CHECK(batch_class(9) == 3);
  CHECK(batch_class(64) == 5);
  CHECK(batch_class(65) == 6);
}
