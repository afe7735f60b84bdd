// What a wait costs when nothing comes: its time is kept, and a sleeper sleeps.
#include <sys/resource.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "pollux/driver/block/block.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"

namespace pollux {
namespace {

// Never answers a read.
struct Silence final : softnvme::FaultHook {
  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command&) override {
    return {sqid != 0 ? softnvme::FetchFault::Kind::drop : softnvme::FetchFault::Kind::none, {}, 0};
  }
};

void ignore(void*, nvme::Status) noexcept {}

std::uint64_t thread_cpu_ns() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto ns = [](const timeval& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_usec) * 1'000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

}  // namespace

TEST_CASE("a wait for what never comes ends after its timeout, and a sleeper has used next to no processor") {
  const Wait way = GENERATE(Wait::poll, Wait::adaptive, Wait::interrupt);
  INFO(name_of(way));
  const vfio::Scheme scheme = softnvme::scheme();
  const auto drive = *Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}});
  const Namespace ns = *drive->open_namespace();
  const auto buffer = *drive->allocate(4096);
  const auto channel = *drive->open_channel(ns, {.depth = 4, .wait = way});
  Silence silence;
  softnvme::SoftDevice& device = *softnvme::soft_device(drive->controller().device());
  device.set_fault_hook(&silence);
  REQUIRE(channel->read(0, buffer.slice(0, 512), ignore, nullptr) == Submit::accepted);

  constexpr std::uint64_t kTimeoutMs = 300;
  const std::uint64_t begin_ns = steady_clock().now_ns(), begin_cpu_ns = thread_cpu_ns();
  CHECK(channel->wait(kTimeoutMs) == 0);
  CHECK(steady_clock().now_ns() - begin_ns >= kTimeoutMs * kNsPerMs);
  if (way != Wait::poll) CHECK(thread_cpu_ns() - begin_cpu_ns < kTimeoutMs * kNsPerMs / 4);
  CHECK(channel->in_flight() == 1);
  device.set_fault_hook(nullptr);
}

// A vector each; two that share, beside the admin queue's; all on the one that is the admin queue's too.
TEST_CASE("channels sleep each for its own requests, however few vectors the drive has") {
  constexpr unsigned kChannels = 3, kRounds = 100;
  const unsigned vectors = GENERATE(4u, 3u, 2u, 1u);
  INFO(vectors << " vectors");
  const vfio::Scheme scheme = softnvme::scheme();
  const auto drive = *Drive::open("soft:size=1MiB,queues=3,vectors=" + std::to_string(vectors),
                                  {.schemes = {&scheme, 1}, .io_queues = kChannels});
  const Namespace ns = *drive->open_namespace();
  const auto buffer = *drive->allocate(kChannels * 4096);
  std::vector<std::unique_ptr<Channel>> channels;
  for (unsigned i = 0; i < kChannels; ++i) {
    auto channel = drive->open_channel(ns, {.depth = 4, .wait = Wait::interrupt});
    if (!channel) FAIL(channel.error().message());
    channels.push_back(std::move(*channel));
  }
  std::atomic<unsigned> answered = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kChannels; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < kRounds; ++round) {
        bool is_done = false;
        const auto done = [](void* context, nvme::Status status) noexcept {
          *static_cast<bool*>(context) = status.ok();
        };
        if (channels[i]->read(round, buffer.slice(i * 4096, 512), done, &is_done) != Submit::accepted) return;
        channels[i]->wait(20'000);
        if (!is_done) return;
        ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(answered == kChannels * kRounds);
  CHECK(softnvme::soft_device(drive->controller().device())->violation_count() == 0);
}

}  // namespace pollux
