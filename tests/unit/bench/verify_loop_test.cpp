// Verification under the job loop, with an engine that loses, swaps, ages and spoils data.
#include <catch2/catch.hpp>

#include "pollux/bench/job_loop.hpp"
#include "pollux/tests/unit/bench/memory_engine.hpp"

using namespace pollux::bench;
using Fate = MemoryEngine::Fate;

namespace {

constexpr std::uint64_t kBlocks = 64;

struct Bench {
  LoopPlan plan;
  MemoryEngine engine{16, 512, (kBlocks + 8) * 512};
  std::atomic<int> stop = 0;
  Progress progress;
  SteppingClock clock;

  explicit Bench(Pattern pattern, std::uint64_t max_ios = kBlocks * 20) {
    plan.shape = {.pattern = pattern, .blocks = kBlocks, .rwmixread = 70, .norandommap = true, .seed = 4};
    plan.offset_bytes = 8 * 512;
    plan.block_bytes = 512;
    plan.max_ios = max_ios;
    plan.verify = VerifyScope{.run = 9, .job = 3, .offset_bytes = 8 * 512, .block_bytes = 512, .blocks = kBlocks};
  }

  LoopResult run() { return JobLoop<MemoryEngine>(plan, engine, stop, progress, clock).run(); }
};

}  // namespace

TEST_CASE("a good device has no mismatch, reads are checked in the mix and everything written at the end") {
  Bench bench(Pattern::randrw);
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(result.mismatches == 0);
  CHECK(result.checked_in_mix > kBlocks);
  CHECK(result.written_blocks > kBlocks / 2);
  CHECK(result.checked_at_end == result.written_blocks);
  CHECK_FALSE(result.last_pass_skipped);
}

TEST_CASE("the last pass is not part of what was measured") {
  Bench bench(Pattern::randwrite, 100);
  const LoopResult result = bench.run();
  CHECK(result.statistics.of(Direction::write).ios == 100);
  CHECK(result.statistics.of(Direction::read).ios == 0);
  CHECK(bench.engine.submitted == 100 + result.written_blocks);
}

TEST_CASE("no block ever has two writes outstanding") {
  Bench bench(Pattern::randwrite);
  bench.plan.shape.blocks = bench.plan.verify->blocks = 4;
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(bench.engine.busy_writes_ok);
  CHECK(bench.engine.submitted == kBlocks * 20 + 4);
}

TEST_CASE("what was there before this run is not judged") {
  Bench bench(Pattern::randrw);
  std::ranges::fill(bench.engine.store, std::byte{0xee});
  CHECK(bench.run().mismatches == 0);
}

TEST_CASE("a dropped write is found") {
  Bench bench(Pattern::randrw);
  bench.engine.decide = [](const Request& request, std::uint64_t serial) {
    return request.write && serial == 50 ? Fate::dropped : Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.mismatches > 0);
  CHECK(result.error == EILSEQ);
}

TEST_CASE("a flipped bit is found") {
  Bench bench(Pattern::randwrite, kBlocks);
  bench.plan.shape.norandommap = false;
  bench.engine.decide = [](const Request& request, std::uint64_t serial) {
    return request.write && serial == 50 ? Fate::flipped : Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.mismatches == 1);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0].find("mismatch at offset ") != std::string::npos);
}

TEST_CASE("stale data is found in the mix") {
  Bench bench(Pattern::randrw);
  std::uint64_t stale = 0;
  bench.engine.decide = [&](const Request& request, std::uint64_t) {
    // Only once the block has been written twice, so that there is an older state of this run.
    if (request.write || request.generation < 2 || stale != 0) return Fate::done;
    ++stale;
    return Fate::stale;
  };
  const LoopResult result = bench.run();
  CHECK(stale == 1);
  // Not judged in the rare case that a write of the block began meanwhile: this seed has none.
  CHECK(result.mismatches == 1);
}

TEST_CASE("two swapped blocks are found, both of them") {
  Bench bench(Pattern::write, kBlocks);
  bench.engine.on_poll = [&, done = false]() mutable {
    if (done || bench.progress.phase != Phase::verify) return;
    done = true;
    auto& store = bench.engine.store;
    std::swap_ranges(store.begin() + 20 * 512, store.begin() + 21 * 512, store.begin() + 40 * 512);
  };
  const LoopResult result = bench.run();
  CHECK(result.mismatches == 2);
  REQUIRE(result.messages.size() == 2);
  CHECK(result.messages[0].find("mismatch at offset 10240 ") != std::string::npos);
  CHECK(result.messages[0].find("found    offset=20480") != std::string::npos);
}

TEST_CASE("many mismatches are counted, and the first few are shown") {
  Bench bench(Pattern::write, kBlocks);
  bench.engine.decide = [](const Request& request, std::uint64_t) {
    return request.write ? Fate::dropped : Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.mismatches == kBlocks);
  CHECK(result.messages.size() == kMaxMismatchesShown);
}

TEST_CASE("where errors are outlived, failed writes that did or did not reach the medium are no mismatch") {
  Bench bench(Pattern::randrw);
  bench.plan.continue_on_error[0] = bench.plan.continue_on_error[1] = true;
  bench.engine.decide = [](const Request& request, std::uint64_t serial) {
    if (serial % 10 != 3) return Fate::done;
    return request.write && serial % 20 == 3 ? Fate::failed_late : Fate::failed;
  };
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(result.mismatches == 0);
  CHECK(result.io_errors > 100);
  CHECK(result.checked_in_mix > kBlocks);
  CHECK(result.written_blocks > kBlocks / 2);
  CHECK(result.checked_at_end == result.written_blocks);
  CHECK_FALSE(result.last_pass_skipped);
}

TEST_CASE("where errors are outlived a dropped write is found as ever") {
  Bench bench(Pattern::randrw);
  bench.plan.continue_on_error[0] = bench.plan.continue_on_error[1] = true;
  bench.engine.decide = [](const Request& request, std::uint64_t serial) {
    if (request.write && serial == 50) return Fate::dropped;
    return serial % 10 == 3 ? Fate::failed : Fate::done;
  };
  CHECK(bench.run().mismatches > 0);
}

TEST_CASE("a block that cannot be read in the last pass is tried again some times, and fails the run then") {
  Bench bench(Pattern::randwrite);
  bench.plan.continue_on_error[0] = true;
  bench.engine.decide = [](const Request& request, std::uint64_t) {
    return !request.write && request.block == 7 ? Fate::failed : Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.checked_at_end == result.written_blocks - 1);
  CHECK(result.last_pass_skipped);
  CHECK(result.io_errors == 9);
  CHECK(result.error == EIO);
  REQUIRE(result.messages.size() == 2);  // the first read that failed, and the end
  CHECK(result.messages[1].find("1 of " + std::to_string(result.written_blocks) + " written blocks") == 0);
  CHECK(result.messages[1].find("offset " + std::to_string((8 + 7) * 512)) != std::string::npos);
}

TEST_CASE("an end that the user asks for in the last pass is no error of a block that was still to be read again") {
  Bench bench(Pattern::randwrite);
  bench.plan.continue_on_error[0] = true;
  bench.engine.decide = [&](const Request& request, std::uint64_t) {
    if (request.write || request.block != 7) return Fate::done;
    bench.stop = 1;
    return Fate::failed;
  };
  const LoopResult result = bench.run();
  CHECK(result.last_pass_skipped);
  CHECK(result.error == 0);
}

TEST_CASE("after an early end the last pass is skipped, and that is said") {
  Bench bench(Pattern::randwrite);
  unsigned polls = 0;
  bench.engine.on_poll = [&] {
    if (++polls == 20) bench.stop = 1;
  };
  const LoopResult result = bench.run();
  CHECK(result.last_pass_skipped);
  CHECK(result.written_blocks > 0);
  CHECK(result.checked_at_end == 0);
}
