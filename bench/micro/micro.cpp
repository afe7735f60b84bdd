// pollux-micro: the queue engine's parts under Google Benchmark. Times are this machine's; a figure worth keeping is a
// ratio between two lines of one run, as read-4k to floor. What plays the controller is not timed.
#include <benchmark/benchmark.h>

#include <chrono>
#include <string>
#include <vector>

#include "pollux/bench/micro/paths.hpp"
#include "pollux/dma/iova_allocator.hpp"
#include "pollux/driver/queue/prp.hpp"

namespace pollux::micro {
namespace {

using Timer = std::chrono::steady_clock;

double seconds(Timer::duration time) { return std::chrono::duration<double>(time).count(); }

// A path in batches of so many I/Os, with kDepth in flight or a batch, whichever is more.
template <bool kSubmit, bool kPoll>
void batches(benchmark::State& state, const PathEntry& entry) {
  const auto batch = static_cast<unsigned>(state.range(0));
  const auto path = entry.make();
  if (!entry.empty) {
    for (unsigned ahead = batch; ahead + batch <= kDepth; ahead += batch) path->submit(batch);
  }
  for (auto _ : state) {
    const auto begin = Timer::now();
    path->submit(batch);
    const auto submitted = Timer::now();
    path->complete(batch);
    const auto completed = Timer::now();
    if (path->poll(batch) != batch) state.SkipWithError("an I/O was lost");
    const auto end = Timer::now();
    state.SetIterationTime((kSubmit ? seconds(submitted - begin) : 0) + (kPoll ? seconds(end - completed) : 0));
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

// One I/O at a time, with nothing else in flight.
void depth_one(benchmark::State& state, const PathEntry& entry) {
  const auto path = entry.make();
  for (auto _ : state) {
    path->submit(1);
    path->complete(1);
    if (path->poll(1) != 1) state.SkipWithError("an I/O was lost");
  }
}

void prp_building(benchmark::State& state) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(state.range(0)) * nvme::kPageBytes;
  std::vector<std::uint64_t> memory(std::max(1u, nvme::prp_list_pages(bytes)) * nvme::kPrpsAPage);
  const nvme::PrpList list{memory.data(), 0x8000'0000};
  for (auto _ : state) {
    benchmark::DoNotOptimize(nvme::build_prps(0x4000'0000, bytes, list));
    benchmark::ClobberMemory();
  }
}

void iova_allocation(benchmark::State& state) {
  dma::IovaAllocator allocator;
  const vfio::IovaRange ranges[] = {{0x1'0000, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}};
  if (!allocator.confine(ranges)) return state.SkipWithError("ranges refused");
  const auto bytes = static_cast<std::uint64_t>(state.range(0));
  for (auto _ : state) {
    const auto iova = allocator.allocate(bytes, bytes);
    if (!iova) return state.SkipWithError("no room");
    allocator.free(*iova, bytes);
  }
}

void register_all() {
  for (const PathEntry& entry : paths()) {
    const std::string name(entry.name);
    const auto add = [&](const std::string& what, auto function) {
      return benchmark::RegisterBenchmark((name + what).c_str(), function, entry);
    };
    add("", batches<true, true>)->Arg(kBatch)->UseManualTime();
    if (entry.empty) continue;
    add("/submit", batches<true, false>)->Arg(kBatch)->UseManualTime();
    add("/complete", batches<false, true>)->Arg(kBatch)->UseManualTime();
    add("/round_trip", depth_one);
  }
  for (const PathEntry& entry : paths()) {
    if (entry.name != "read-4k") continue;
    benchmark::RegisterBenchmark("read-4k/batch", batches<true, true>, entry)
        ->RangeMultiplier(4)
        ->Range(1, 64)
        ->Arg(kEntries - 1)
        ->UseManualTime();
  }
  benchmark::RegisterBenchmark("prp/pages", prp_building)->Arg(1)->Arg(2)->Arg(4)->Arg(32)->Arg(128)->Arg(512);
  benchmark::RegisterBenchmark("iova/bytes", iova_allocation)->Arg(4096)->Arg(2 << 20);
}

}  // namespace
}  // namespace pollux::micro

int main(int argc, char** argv) {
  pollux::micro::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
