// Workloads: every pattern covers its range, mixes keep their share, and a seed decides the sequence.
#include "pollux/bench/workload.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace pollux::bench;

namespace {

std::vector<unsigned> visits(Workload& workload, std::uint64_t blocks, std::uint64_t picks) {
  std::vector<unsigned> counts(blocks);
  for (std::uint64_t i = 0; i < picks; ++i) ++counts.at(workload.next().block);
  return counts;
}

bool all(const std::vector<unsigned>& counts, unsigned wanted) {
  return std::ranges::all_of(counts, [=](unsigned count) { return count == wanted; });
}

}  // namespace

TEST_CASE("a pass of every pattern but a sequential mix takes each block once, whatever the range's size") {
  const auto pattern = GENERATE(Pattern::read, Pattern::write, Pattern::randread, Pattern::randwrite, Pattern::randrw);
  for (const std::uint64_t blocks : {1ull, 2ull, 3ull, 4ull, 5ull, 7ull, 8ull, 63ull, 64ull, 65ull, 1000ull, 4097ull}) {
    INFO(pattern_name(pattern) << " over " << blocks);
    Workload workload({.pattern = pattern, .blocks = blocks, .seed = blocks});
    CHECK(all(visits(workload, blocks, blocks), 1));
    CHECK(all(visits(workload, blocks, blocks), 1));
  }
}

TEST_CASE("a sequential mix keeps one position a direction, as fio") {
  Workload workload({.pattern = Pattern::rw, .blocks = 100});
  std::uint64_t next[2] = {0, 0};
  for (int i = 0; i < 1000; ++i) {
    const Pick pick = workload.next();
    REQUIRE(pick.block == next[pick.write]);
    next[pick.write] = (next[pick.write] + 1) % 100;
  }
  CHECK(next[0] + next[1] > 0);
}

TEST_CASE("a sequential pattern goes on from the range's start") {
  Workload workload({.pattern = Pattern::read, .blocks = 3});
  for (const std::uint64_t block : {0u, 1u, 2u, 0u, 1u}) CHECK(workload.next().block == block);
}

TEST_CASE("each pass of a random pattern has an order of its own, and none is sequential") {
  Workload workload({.pattern = Pattern::randread, .blocks = 1000});
  std::vector<std::uint64_t> first, second;
  for (int i = 0; i < 1000; ++i) first.push_back(workload.next().block);
  for (int i = 0; i < 1000; ++i) second.push_back(workload.next().block);
  CHECK(first != second);
  int neighbours = 0;
  for (std::size_t i = 1; i < first.size(); ++i) neighbours += first[i] == first[i - 1] + 1 ? 1 : 0;
  CHECK(neighbours < 20);
}

TEST_CASE("without the random map blocks repeat, and still each part of the range has its share") {
  constexpr std::uint64_t kBlocks = 10, kPicks = 100'000;
  Workload workload({.pattern = Pattern::randread, .blocks = kBlocks, .norandommap = true});
  const auto counts = visits(workload, kBlocks, kPicks);
  // Five standard deviations of a binomial count: sqrt(100000 * 0.1 * 0.9) is 95.
  for (const unsigned count : counts) CHECK(count == Approx(kPicks / kBlocks).margin(475));
  Workload once({.pattern = Pattern::randread, .blocks = 1000, .norandommap = true});
  CHECK_FALSE(all(visits(once, 1000, 1000), 1));
}

TEST_CASE("a mix reads the share that rwmixread names") {
  const auto percent = GENERATE(0u, 1u, 30u, 50u, 70u, 99u, 100u);
  constexpr unsigned kPicks = 100'000;
  Workload workload({.pattern = Pattern::randrw, .blocks = 1 << 20, .rwmixread = percent});
  unsigned reads = 0;
  for (unsigned i = 0; i < kPicks; ++i) reads += workload.next().write ? 0 : 1;
  INFO(percent << " per cent wanted, " << reads << " of " << kPicks);
  if (percent == 0 || percent == 100) {
    CHECK(reads == kPicks * (percent / 100));
  } else {
    CHECK(reads == Approx(kPicks * percent / 100).margin(5 * 158));  // five standard deviations at most
  }
}

TEST_CASE("a pattern of one direction never takes the other, whatever rwmixread says") {
  Workload reads({.pattern = Pattern::randread, .blocks = 100, .rwmixread = 0});
  Workload writes({.pattern = Pattern::write, .blocks = 100, .rwmixread = 100});
  for (int i = 0; i < 200; ++i) {
    CHECK_FALSE(reads.next().write);
    CHECK(writes.next().write);
  }
}

TEST_CASE("the same seed gives the same sequence, another seed another one") {
  const auto sequence = [](std::uint64_t seed) {
    Workload workload({.pattern = Pattern::randrw, .blocks = 1000, .seed = seed});
    std::vector<std::uint64_t> picks;
    for (int i = 0; i < 500; ++i) {
      const Pick pick = workload.next();
      picks.push_back(pick.block * 2 + (pick.write ? 1 : 0));
    }
    return picks;
  };
  CHECK(sequence(1) == sequence(1));
  CHECK(sequence(1) != sequence(2));
}
