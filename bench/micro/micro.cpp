// pollux-micro: the queue engine's parts under Google Benchmark. Times are this machine's; a figure worth keeping is a
// ratio between two lines of one run, as read-4k to floor. What plays the controller is not timed.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "pollux/bench/micro/paths.hpp"
#include "pollux/bench/micro/shared_loopback.hpp"
#include "pollux/bench/random.hpp"
#include "pollux/dma/iova_allocator.hpp"
#include "pollux/driver/block/block.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/softnvme.hpp"

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

// So many threads at one shared queue pair: each submits a batch, plays the controller if nobody else does, and polls.
void shared_by_threads(benchmark::State& state) {
  constexpr unsigned kFew = kBatch;
  constexpr auto kIgnore = [](void*, nvme::Status) noexcept {};
  static std::unique_ptr<SharedLoopback> queue;
  if (state.thread_index() == 0) queue = std::make_unique<SharedLoopback>(kEntries, kEntries - 1);
  std::uint64_t answered = 0;
  for (auto _ : state) {
    unsigned submitted = 0;
    while (submitted < kFew &&
           queue->pair.submit(kIgnore, nullptr, 0, [](nvme::Command& slot, std::uint16_t) { slot = {}; })) {
      ++submitted;
    }
    queue->pair.ring();
    queue->complete_all();
    const unsigned found = queue->pair.poll(kFew);
    answered += found;
    if (found == 0 && submitted == 0) std::this_thread::yield();
  }
  // What is left belongs to nobody; the next run has a queue of its own.
  state.SetItemsProcessed(static_cast<std::int64_t>(answered));
}

// Reads from the software controller's null namespace at depth 128 with nothing else done: what its thread serves. A
// job of pollux-bench spends more on its clocks and histograms than on the I/O.
void soft_null(benchmark::State& state) {
  const vfio::Scheme scheme = softnvme::scheme();
  auto drive = Drive::open("soft:size=1GiB,null=1", {.schemes = {&scheme, 1}});
  if (!drive) return state.SkipWithError(drive.error().message().c_str());
  const auto ns = (*drive)->open_namespace();
  if (!ns) return state.SkipWithError(ns.error().message().c_str());
  const auto channel = (*drive)->open_channel(*ns, {.depth = kDepth});
  if (!channel) return state.SkipWithError(channel.error().message().c_str());
  const auto buffer = (*drive)->allocate(4096);
  if (!buffer) return state.SkipWithError(buffer.error().message().c_str());
  constexpr auto kIgnore = [](void*, nvme::Status) noexcept {};
  std::uint64_t answered = 0, lba = 0;
  for (auto _ : state) {
    while ((*channel)->read(lba & 0xffff, buffer->slice(), kIgnore, nullptr) == Submit::accepted) lba += 8;
    answered += (*channel)->poll(kBatch);
  }
  while ((*channel)->in_flight() != 0) (*channel)->poll();
  state.SetItemsProcessed(static_cast<std::int64_t>(answered));
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

// There is no pool of buffers: an application allocates one and takes slices of it. What allocating costs (memory,
// mapping and release) tells why.
void buffer_allocation(benchmark::State& state) {
  const vfio::Scheme scheme = softnvme::scheme();
  const auto drive = Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}});
  if (!drive) return state.SkipWithError(drive.error().message().c_str());
  for (auto _ : state) {
    if (!(*drive)->allocate(static_cast<std::uint64_t>(state.range(0)))) return state.SkipWithError("no memory");
  }
}

void buffer_slice(benchmark::State& state) {
  const vfio::Scheme scheme = softnvme::scheme();
  const auto drive = Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}});
  if (!drive) return state.SkipWithError(drive.error().message().c_str());
  const auto buffer = (*drive)->allocate(1 << 20);
  if (!buffer) return state.SkipWithError(buffer.error().message().c_str());
  std::uint64_t offset = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(buffer->slice(offset, 4096));
    offset = (offset + 4096) & 0xf'ffff;
  }
}

// What memory behind a software controller can give at best: pieces of much memory, in no order, into a few buffers.
void copy(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kSourceBytes = 256u << 20;
  constexpr std::size_t kBuffers = 4;
  const std::vector<std::byte> source(kSourceBytes, std::byte{1});
  std::vector<std::byte> buffers(kBuffers * bytes, std::byte{2});
  bench::Random random(1);
  std::size_t turn = 0;
  for (auto _ : state) {
    const std::size_t piece = random.below(kSourceBytes / bytes);
    std::memcpy(buffers.data() + turn++ % kBuffers * bytes, source.data() + piece * bytes, bytes);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
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
  benchmark::RegisterBenchmark("shared", shared_by_threads)->ThreadRange(1, 8)->UseRealTime();
  benchmark::RegisterBenchmark("soft-null", soft_null)->UseRealTime();
  benchmark::RegisterBenchmark("prp/pages", prp_building)->Arg(1)->Arg(2)->Arg(4)->Arg(32)->Arg(128)->Arg(512);
  benchmark::RegisterBenchmark("iova/bytes", iova_allocation)->Arg(4096)->Arg(2 << 20);
  benchmark::RegisterBenchmark("buffer/bytes", buffer_allocation)->Arg(4096)->Arg(2 << 20);
  benchmark::RegisterBenchmark("buffer/slice", buffer_slice);
  benchmark::RegisterBenchmark("copy/bytes", copy)->Arg(128 << 10)->UseRealTime();
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
