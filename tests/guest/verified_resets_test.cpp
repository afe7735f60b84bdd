// A verified mix on a drive that is reset again and again while it runs: pollux-bench's job, in a process that has the
// drive in its hands.
#include <atomic>
#include <thread>

#include "pollux/bench/engine_pollux.hpp"
#include "pollux/bench/job_loop.hpp"
#include "pollux/tests/conformance/test_device.hpp"

namespace pollux::conformance {

using namespace pollux::bench;

TEST_CASE_METHOD(TestDevice, "a verified mix under resets has no mismatch and loses no request", "[verified-resets]") {
  constexpr std::uint16_t kDepth = 32;
  constexpr std::uint64_t kBlocks = 1024, kRequests = 3'000, kBetweenResets = 300;
  const bool reissue_writes = GENERATE(false, true);
  CAPTURE(reissue_writes);

  const auto buffer = allocate(kDepth * kPage);
  LoopPlan plan;
  plan.shape = {.pattern = Pattern::randrw, .blocks = kBlocks, .rwmixread = 50, .norandommap = true, .seed = 5};
  plan.block_bytes = kPage;
  plan.continue_on_error[0] = plan.continue_on_error[1] = true;
  plan.max_ios = kRequests;  // and no time: a machine may be slow
  plan.verify = VerifyScope{
      .run = steady_clock().now_ns(), .offset_bytes = 0, .block_bytes = std::uint32_t{kPage}, .blocks = kBlocks};
  std::atomic<int> stop = 0;
  Progress progress;
  LoopResult result;
  unsigned resets = 0;
  {
    PolluxEngine engine(open_channel({.depth = kDepth, .reissue_writes = reissue_writes}), buffer.slice(), kPage);
    JobLoop<PolluxEngine> loop(plan, engine, stop, progress, steady_clock());
    std::jthread job([&] { result = loop.run(); });
    const auto at_work = [&] {
      const Phase phase = progress.phase.load();
      return phase != Phase::verify && phase != Phase::ended;
    };
    const auto answered = [&] { return progress.ios[0].load() + progress.ios[1].load(); };
    // The last pass is left alone. Between two resets everything that the first interrupted is answered, on a machine
    // that is slow as well: a command that several interrupt is given up.
    while (at_work()) {
      const std::uint64_t wanted = answered() + kBetweenResets;
      do std::this_thread::sleep_for(std::chrono::milliseconds(1));
      while (at_work() && answered() < wanted);
      if (!at_work()) break;
      const auto reset = drive->reset(resets++ % 2 == 0 ? ResetReach::controller : ResetReach::function);
      if (!reset) FAIL_CHECK(reset.error().message());
    }
    while (progress.phase.load() != Phase::ended) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      CHECK(drive->poll());
    }
  }
  for (const std::string& message : result.messages) WARN(message);
  CHECK(resets >= 4);
  CHECK(result.error == 0);
  CHECK(result.mismatches == 0);
  CHECK((result.submitted == result.answered && result.submitted > kRequests));
  CHECK(result.checked_in_mix > 100);
  CHECK(result.checked_at_end == result.written_blocks);
  CHECK_FALSE(result.last_pass_skipped);
  if (reissue_writes) CHECK(result.io_errors == 0);
}

}  // namespace pollux::conformance
