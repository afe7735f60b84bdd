// The job loop: how many requests it makes, when it begins to measure, and everything that ends it.
#include "pollux/bench/job_loop.hpp"

#include <catch2/catch.hpp>

#include "pollux/tests/unit/bench/memory_engine.hpp"

using namespace pollux::bench;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

struct Bench {
  LoopPlan plan;
  MemoryEngine engine{8, 512, 64 * 512};
  std::atomic<int> stop = 0;
  Progress progress;
  SteppingClock clock;

  Bench() {
    plan.shape = {.pattern = Pattern::randread, .blocks = 64};
    plan.block_bytes = 512;
    plan.max_ios = 64;
  }

  LoopResult run() { return JobLoop<MemoryEngine>(plan, engine, stop, progress, clock).run(); }
};

std::uint64_t ios(const LoopResult& result) {
  return result.statistics.direction[0].ios + result.statistics.direction[1].ios;
}

}  // namespace

TEST_CASE("a job ends after its number of requests, each measured once") {
  Bench bench;
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(bench.engine.submitted == 64);
  const DirectionStatistics& reads = result.statistics.of(Direction::read);
  CHECK(reads.ios == 64);
  CHECK(reads.bytes == 64 * 512);
  CHECK(reads.slat.count == 64);
  CHECK(reads.clat.count == 64);
  CHECK(reads.clat_histogram.total() == 64);
  CHECK(reads.slat_histogram.total() == 64);
  CHECK(result.statistics.of(Direction::write).ios == 0);
  CHECK(reads.lat.sum == reads.slat.sum + reads.clat.sum);
  CHECK(result.measured_ns > 0);
  CHECK(bench.progress.phase == Phase::ended);
  CHECK(bench.progress.ios[0] == 64);
}

TEST_CASE("the queue is kept filled to its depth, and the doorbell is rung once a batch") {
  Bench bench;
  bench.run();
  CHECK(bench.engine.most_outstanding == 8);
  CHECK(bench.engine.rings < 64);
}

TEST_CASE("the counts of depths and batches add up to the requests") {
  Bench bench;
  const LoopResult result = bench.run();
  std::uint64_t depths = 0;
  for (const std::uint64_t count : result.statistics.depth) depths += count;
  CHECK(depths == 64);
  CHECK(result.statistics.depth[3] > 0);  // eight outstanding
}

TEST_CASE("a job with a runtime ends by time, and measures what it had outstanding") {
  Bench bench;
  bench.plan.max_ios = 0;
  bench.plan.runtime_ns = kSecond / 1000;
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(ios(result) == bench.engine.submitted);
  CHECK(result.measured_ns >= bench.plan.runtime_ns);
  CHECK(result.measured_ns < bench.plan.runtime_ns * 2);
}

TEST_CASE("an idle job notices the end of its runtime") {
  Bench bench;
  bench.plan.max_ios = 0;
  bench.plan.runtime_ns = kSecond;
  unsigned polls = 0;
  bench.engine.completions_per_poll = 0;
  bench.engine.on_poll = [&] {
    if (++polls == 10'000'000 / 16) bench.engine.completions_per_poll = 8;
  };
  bench.clock = SteppingClock(100'000);
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(bench.engine.submitted == 8);
}

TEST_CASE("what happens within the ramp is not measured, and the runtime begins after it") {
  Bench bench;
  bench.plan.max_ios = 0;
  bench.plan.ramp_time_ns = kSecond / 50;
  bench.plan.runtime_ns = kSecond / 1000;
  bool slow_seen = false;
  // Ten completions take a millisecond each: all of them are over before the ramp is.
  bench.engine.decide = [&](const Request&, std::uint64_t serial) {
    if (serial < 10) bench.clock.pause_ns(kSecond / 1000);
    slow_seen = slow_seen || serial < 10;
    return MemoryEngine::Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(slow_seen);
  CHECK(ios(result) > 100);
  CHECK(ios(result) < bench.engine.submitted);
  CHECK(result.statistics.of(Direction::read).clat.most < kSecond / 1000);
  CHECK(result.measured_ns < 2 * bench.plan.runtime_ns);
}

TEST_CASE("a job that ends within its ramp measured nothing and says so") {
  Bench bench;
  bench.plan.ramp_time_ns = kSecond;
  const LoopResult result = bench.run();
  CHECK(bench.engine.submitted == 64);
  CHECK(ios(result) == 0);
  CHECK(result.measured_ns == 0);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0].find("ramp_time") != std::string::npos);
}

TEST_CASE("a full queue is no error: the request is made later, none is lost and none doubled") {
  Bench bench;
  bench.engine.capacity = 3;
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(ios(result) == 64);
  CHECK(bench.engine.submitted == 64);
  CHECK(bench.engine.most_outstanding == 3);
}

TEST_CASE("asked to stop, a job submits nothing more and waits for what is outstanding") {
  Bench bench;
  bench.plan.max_ios = 0;
  unsigned polls = 0;
  bench.engine.on_poll = [&] {
    if (++polls == 100) bench.stop = 1;
  };
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(ios(result) == bench.engine.submitted);
  CHECK(polls < 110);
}

TEST_CASE("an I/O error ends the job with the first one's direction, size, offset and status; others are counted") {
  Bench bench;
  bench.plan.shape.pattern = Pattern::write;
  bench.plan.offset_bytes = 0;
  bench.engine.decide = [](const Request& request, std::uint64_t) {
    return request.offset_bytes >= 10 * 512 ? MemoryEngine::Fate::failed : MemoryEngine::Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.error == EIO);
  CHECK(result.io_errors >= 1);
  CHECK(bench.engine.submitted < 64);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0].starts_with("write of 512 bytes at offset "));
  CHECK(result.messages[0].ends_with(" failed: code 7"));
}

TEST_CASE("a job goes on after the errors that it is to outlive: all are counted, the first is shown") {
  Bench bench;
  bench.plan.continue_on_error[0] = true;
  bench.engine.decide = [](const Request&, std::uint64_t serial) {
    return serial % 4 == 1 ? MemoryEngine::Fate::failed : MemoryEngine::Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.error == 0);
  CHECK(result.io_errors == 16);
  CHECK(result.first_io_error == EIO);
  CHECK(ios(result) == 48);
  CHECK((result.submitted == 64 && result.answered == 64));
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0].starts_with("the first error, others are only counted: read of 512 bytes at offset "));
}

TEST_CASE("an error of the other direction ends a job that outlives one direction's") {
  Bench bench;
  bench.plan.shape.pattern = Pattern::randrw;
  bench.plan.shape.rwmixread = 50;
  bench.plan.continue_on_error[0] = true;
  bool write_failed = false;
  bench.engine.decide = [&](const Request& request, std::uint64_t serial) {
    write_failed = write_failed || (request.write && serial == 5);
    return !request.write || serial == 5 ? MemoryEngine::Fate::failed : MemoryEngine::Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(write_failed);
  CHECK(result.error == EIO);
  CHECK(bench.engine.submitted < 64);
  REQUIRE(result.messages.size() == 2);
  CHECK(result.messages[1].starts_with("write of 512 bytes at offset "));
}

TEST_CASE("a request that is answered twice is an error of the run, and counted once") {
  Bench bench;
  bench.engine.answers_twice = 20;
  const LoopResult result = bench.run();
  CHECK(result.error == EIO);
  CHECK(ios(result) == 64);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0] == "64 requests were submitted and 65 answered");
}

TEST_CASE("a refused request ends the job with the reason") {
  Bench bench;
  bench.plan.offset_bytes = 60 * 512;
  const LoopResult result = bench.run();
  CHECK(result.error == EINVAL);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0].ends_with(" failed: past the end"));
}

TEST_CASE("a device that never answers ends the job after the stall limit, and says how much is outstanding") {
  Bench bench;
  bench.clock = SteppingClock(1'000'000);
  bench.engine.decide = [](const Request&, std::uint64_t serial) {
    return serial == 20 ? MemoryEngine::Fate::never : MemoryEngine::Fate::done;
  };
  const LoopResult result = bench.run();
  CHECK(result.error == ETIMEDOUT);
  CHECK(result.stalled);
  REQUIRE(result.messages.size() == 1);
  CHECK(result.messages[0] == "nothing completed in 160 s, 1 requests are outstanding");
}
