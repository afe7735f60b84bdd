// Verification against the software controller, through the driver: each way in which a drive can lose data is caught,
// and a good one is not accused.
#include <catch2/catch.hpp>
#include <functional>

#include "pollux/bench/engine_pollux.hpp"
#include "pollux/bench/job_loop.hpp"
#include "pollux/driver/block/drive.hpp"
#include "pollux/softnvme.hpp"

using namespace pollux;
using namespace pollux::bench;
using softnvme::DataFault;
using softnvme::DataTransfer;

namespace {

constexpr std::uint64_t kBytes = 4096;
constexpr std::uint64_t kBlocks = 256;
constexpr std::uint64_t kLbasPerBlock = 8;

// Asks `decide` at each transfer, until it has made `most` faults.
class Faults : public softnvme::FaultHook {
 public:
  using Decide = std::function<DataFault(const DataTransfer&)>;
  explicit Faults(Decide decide, unsigned most = 1) : decide_(std::move(decide)), most_(most) {}

  DataFault at_transfer(const DataTransfer& transfer) override {
    if (made == most_) return {};
    const DataFault fault = decide_(transfer);
    if (fault.kind != DataFault::Kind::none) ++made;
    return fault;
  }

  std::atomic<unsigned> made = 0;

 private:
  Decide decide_;
  unsigned most_;
};

struct Outcome {
  LoopResult result;
  std::uint64_t violations;
};

// A verified job over `kBlocks` blocks of a new drive.
Outcome run(const WorkloadShape& shape, std::uint64_t ios, softnvme::FaultHook* hook) {
  const vfio::Scheme schemes[] = {softnvme::scheme()};
  auto opened = Drive::open("soft:size=4MiB", {.schemes = schemes});
  REQUIRE(opened);
  Drive& drive = **opened;
  auto* soft = softnvme::soft_device(drive.controller().device());
  REQUIRE(soft != nullptr);
  soft->set_fault_hook(hook);
  const auto ns = drive.open_namespace();
  REQUIRE(ns);
  REQUIRE(ns->block_size_bytes == kBytes / kLbasPerBlock);
  ChannelOptions options;
  options.depth = 32;
  auto channel = drive.open_channel(*ns, options);
  REQUIRE(channel);
  auto buffer = drive.allocate(options.depth * kBytes);
  REQUIRE(buffer);

  LoopPlan plan;
  plan.shape = shape;
  plan.shape.blocks = kBlocks;
  plan.block_bytes = kBytes;
  plan.max_ios = ios;
  plan.verify = VerifyScope{.run = 1, .job = 0, .offset_bytes = 0, .block_bytes = kBytes, .blocks = kBlocks};
  plan.yield_when_idle = true;
  std::atomic<int> stop = 0;
  Progress progress;
  Outcome outcome;
  {
    PolluxEngine engine(std::move(*channel), buffer->slice(), kBytes);
    outcome.result = JobLoop<PolluxEngine>(plan, engine, stop, progress, steady_clock()).run();
  }
  soft->set_fault_hook(nullptr);
  REQUIRE(drive.shutdown());
  outcome.violations = soft->violation_count();
  return outcome;
}

const WorkloadShape kWriteOnce = {.pattern = Pattern::randwrite, .seed = 2};
const WorkloadShape kMix = {.pattern = Pattern::randrw, .rwmixread = 70, .norandommap = true, .seed = 2};

}  // namespace

TEST_CASE("a drive that does as it is told has no mismatch and no violation") {
  const Outcome outcome = run(kMix, 20'000, nullptr);
  CHECK(outcome.result.error == 0);
  CHECK(outcome.result.mismatches == 0);
  CHECK(outcome.result.checked_in_mix > 1000);
  CHECK(outcome.result.checked_at_end == outcome.result.written_blocks);
  CHECK(outcome.violations == 0);
}

TEST_CASE("a write that the drive dropped is caught") {
  Faults hook([](const DataTransfer& transfer) {
    return DataFault{.kind = transfer.is_write && transfer.slba == 16 * kLbasPerBlock ? DataFault::Kind::drop_write
                                                                                      : DataFault::Kind::none};
  });
  const Outcome outcome = run(kWriteOnce, kBlocks, &hook);
  CHECK(hook.made == 1);
  CHECK(outcome.result.mismatches == 1);
  REQUIRE_FALSE(outcome.result.messages.empty());
  CHECK(outcome.result.messages[0].find("mismatch at offset 65536 ") != std::string::npos);
}

TEST_CASE("two blocks that the drive swapped are caught") {
  Faults hook([](const DataTransfer& transfer) -> DataFault {
    if (!transfer.is_write || transfer.slba != 16 * kLbasPerBlock) return {};
    return {.kind = DataFault::Kind::swap_blocks, .lba = transfer.slba, .other_lba = transfer.slba + 1};
  });
  const Outcome outcome = run(kWriteOnce, kBlocks, &hook);
  CHECK(hook.made == 1);
  CHECK(outcome.result.mismatches == 1);
}

TEST_CASE("stale data is caught while the mix runs") {
  // More than one: a read that a write of its block overtakes is rightly not judged.
  constexpr unsigned kStale = 20;
  std::uint64_t reads = 0;
  Faults hook(
      [&](const DataTransfer& transfer) {
        const bool stale = !transfer.is_write && ++reads > 2000 && reads % 100 == 0;
        return DataFault{.kind = stale ? DataFault::Kind::stale_read : DataFault::Kind::none};
      },
      kStale);
  const Outcome outcome = run(kMix, 20'000, &hook);
  CHECK(hook.made == kStale);
  CHECK(outcome.result.mismatches > kStale / 2);
  CHECK(outcome.result.mismatches <= kStale);
}

TEST_CASE("a bit that the drive flipped is caught, on the medium and on the way") {
  const bool on_medium = GENERATE(true, false);
  Faults hook([=](const DataTransfer& transfer) -> DataFault {
    if (transfer.is_write != on_medium || transfer.slba != 40 * kLbasPerBlock) return {};
    return {.kind = DataFault::Kind::flip_bit, .lba = transfer.slba + 3, .bit = 1234};
  });
  const Outcome outcome = run(kWriteOnce, kBlocks, &hook);
  CHECK(hook.made == 1);
  CHECK(outcome.result.mismatches == 1);
  // Bit 1234 of the fourth LBA: byte 154 of it.
  REQUIRE_FALSE(outcome.result.messages.empty());
  CHECK(outcome.result.messages[0].find("first difference at offset 165530: ") != std::string::npos);
}
