#include "pollux/bench/micro/paths.hpp"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "pollux/bench/micro/shared_loopback.hpp"
#include "pollux/driver/block/block.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/softnvme.hpp"

namespace pollux::micro {
namespace {

constexpr std::uint64_t kBlocks = 8;  // of 512 bytes: 4 KiB
constexpr std::uint64_t kIova = 0x4000'0000;
constexpr std::uint32_t kDeadline = 30'000;

void ignore(void* /*context*/, nvme::Status /*status*/) noexcept {}

[[noreturn]] void lost(unsigned found, unsigned wanted) {
  fmt::print(stderr, "a path answered {} of {} requests\n", found, wanted);
  std::exit(1);
}

void fill_read(nvme::Command& slot, std::uint64_t lba, std::uint32_t blocks, const nvme::Prps& prps) noexcept {
  slot.cdw0 = static_cast<std::uint32_t>(nvme::IoOpcode::read);
  slot.nsid = 1;
  slot.cdw2 = slot.cdw3 = 0;
  slot.mptr = 0;
  slot.prp1 = prps.prp1;
  slot.prp2 = prps.prp2;
  slot.cdw10 = static_cast<std::uint32_t>(lba);
  slot.cdw11 = static_cast<std::uint32_t>(lba >> 32);
  slot.cdw12 = blocks - 1;
  slot.cdw13 = slot.cdw14 = slot.cdw15 = 0;
}

}  // namespace

// Functions of their own, so that callgrind and objdump find them by name.
extern "C" {

[[gnu::noinline]] void measured_floor_submit(Floor& queue, unsigned count) {
  for (unsigned i = 0; i < count; ++i) queue.read(i * kBlocks, kIova + i * 4096, ignore, &queue);
  queue.ring();
}
[[gnu::noinline]] unsigned measured_floor_poll(Floor& queue, unsigned limit) { return queue.poll(limit); }

[[gnu::noinline]] void measured_read_submit(nvme::QueuePair& pair, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const bool taken = pair.submit(ignore, &pair, kDeadline, [&](nvme::Command& slot, std::uint16_t) {
      fill_read(slot, i * kBlocks, kBlocks, nvme::build_prps(kIova + i * 4096, 4096, {nullptr, 0}));
    });
    if (!taken) [[unlikely]]
      return;
  }
  pair.ring();
}
[[gnu::noinline]] unsigned measured_read_poll(nvme::QueuePair& pair, unsigned limit) { return pair.poll(limit); }

[[gnu::noinline]] void measured_readv_submit(nvme::QueuePair& pair, std::span<const dma::Slice> pieces,
                                             std::span<const nvme::PrpList> lists, unsigned count) {
  for (unsigned i = 0; i < count && !pair.full(); ++i) {
    nvme::Prps prps;
    if (!nvme::build_prps(pieces, lists[pair.next_index()], prps)) [[unlikely]]
      return;
    (void)pair.submit(ignore, &pair, kDeadline,
                      [&](nvme::Command& slot, std::uint16_t) { fill_read(slot, i * kBlocks, 4 * kBlocks, prps); });
  }
  pair.ring();
}

[[gnu::noinline]] void measured_channel_submit(Channel& channel, const dma::Slice* into, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    if (channel.read(i * kBlocks, into[i], ignore, &channel) != Submit::accepted) [[unlikely]]
      return;
  }
  channel.ring();
}
[[gnu::noinline]] unsigned measured_channel_poll(Channel& channel, unsigned limit) { return channel.poll(limit); }

[[gnu::noinline]] void measured_shared_submit(nvme::SharedQueuePair& pair, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const bool taken = pair.submit(ignore, &pair, kDeadline, [&](nvme::Command& slot, std::uint16_t) {
      fill_read(slot, i * kBlocks, kBlocks, nvme::build_prps(kIova + i * 4096, 4096, {nullptr, 0}));
    });
    if (!taken) [[unlikely]]
      return;
  }
  pair.ring();
}
[[gnu::noinline]] unsigned measured_shared_poll(nvme::SharedQueuePair& pair, unsigned limit) {
  return pair.poll(limit);
}

[[gnu::noinline]] void measured_empty_poll(nvme::QueuePair& pair) {
#pragma GCC unroll 32  // the loop is not the poll's
  for (unsigned i = 0; i < kBatch; ++i) {
    if (pair.poll(kBatch) != 0) [[unlikely]]
      return;
  }
}

}  // extern "C"

namespace {

class FloorPath final : public Path {
 public:
  void submit(unsigned count) override { measured_floor_submit(queue_, count); }
  void complete(unsigned count) override { queue_.complete(count); }
  unsigned poll(unsigned limit) override { return measured_floor_poll(queue_, limit); }

 private:
  Floor queue_{kEntries};
};

class ReadPath : public Path {
 public:
  explicit ReadPath(Told told = Told::by_register) : queue_(kEntries, kEntries - 1, told) {}
  void submit(unsigned count) override { measured_read_submit(queue_.pair, count); }
  void complete(unsigned count) override { queue_.complete(count); }
  unsigned poll(unsigned limit) override { return measured_read_poll(queue_.pair, limit); }

 private:
  Loopback queue_;
};

class ShadowedReadPath final : public ReadPath {
 public:
  ShadowedReadPath() : ReadPath(Told::by_shadow) {}
};

class ReadvPath final : public Path {
 public:
  ReadvPath() : list_memory_((kEntries - 1) * nvme::kPrpsAPage) {
    for (std::uint64_t i = 0; i < kEntries - 1; ++i) {
      lists_.push_back({list_memory_.data() + i * nvme::kPrpsAPage, 0x8000'0000 + i * nvme::kPageBytes});
    }
    for (std::uint64_t i = 0; i < 4; ++i) pieces_[i] = {nullptr, kIova + i * 0x10'0000, 4096};
  }
  void submit(unsigned count) override { measured_readv_submit(queue_.pair, pieces_, lists_, count); }
  void complete(unsigned count) override { queue_.complete(count); }
  unsigned poll(unsigned limit) override { return measured_read_poll(queue_.pair, limit); }

 private:
  Loopback queue_{kEntries, kEntries - 1};
  std::vector<std::uint64_t> list_memory_;
  std::vector<nvme::PrpList> lists_;
  dma::Slice pieces_[4];
};

// One thread at the queue pair that threads share.
class SharedPath final : public Path {
 public:
  void submit(unsigned count) override { measured_shared_submit(queue_.pair, count); }
  void complete(unsigned count) override { queue_.rings.complete(count); }
  unsigned poll(unsigned limit) override { return measured_shared_poll(queue_.pair, limit); }

 private:
  SharedLoopback queue_{kEntries, kEntries - 1};
};

class EmptyPoll final : public Path {
 public:
  void submit(unsigned) override {}
  void complete(unsigned) override {}
  unsigned poll(unsigned limit) override {
    measured_empty_poll(queue_.pair);
    return limit;
  }

 private:
  Loopback queue_{kEntries, kEntries - 1};
};

// What an application calls, on the software controller: complete() waits until its thread has posted the batch.
class ChannelPath final : public Path, softnvme::FaultHook {
 public:
  ChannelPath() {
    auto opened = Drive::open("soft:size=1GiB,null=1", {.schemes = {&scheme_, 1}});
    if (!opened) fail(opened.error());
    drive_ = std::move(*opened);
    soft_ = softnvme::soft_device(drive_->controller().device());
    auto ns = drive_->open_namespace();
    if (!ns) fail(ns.error());
    auto channel = drive_->open_channel(*ns, {.depth = kEntries - 1});
    if (!channel) fail(channel.error());
    channel_ = std::move(*channel);
    auto buffer = drive_->allocate(std::uint64_t{kEntries} * 4096);
    if (!buffer) fail(buffer.error());
    buffer_ = std::move(*buffer);
    for (std::uint64_t i = 0; i < kEntries; ++i) slices_.push_back(buffer_.slice(i * 4096, 4096));
    soft_->set_fault_hook(this);
  }
  ~ChannelPath() override {
    while (channel_->in_flight() != 0) channel_->poll();
    soft_->set_fault_hook(nullptr);
    channel_.reset();
  }

  void submit(unsigned count) override {
    measured_channel_submit(*channel_, slices_.data(), count);
    submitted_ += count;
  }
  void complete(unsigned count) override {
    wanted_ += count;
    while (posted_.load(std::memory_order_acquire) < std::min(wanted_, submitted_)) std::this_thread::yield();
    (void)soft_->violation_count();  // takes the thread's lock: its step has ended, and the entry stands in the ring
  }
  unsigned poll(unsigned limit) override { return measured_channel_poll(*channel_, limit); }

 private:
  [[noreturn]] static void fail(const Error& error) {
    fmt::print(stderr, "{}\n", error.message());
    std::exit(1);
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
    if (sqid != 0) posted_.fetch_add(1, std::memory_order_release);
    return softnvme::PostFault::none;
  }

  const vfio::Scheme scheme_ = softnvme::scheme();
  std::unique_ptr<Drive> drive_;
  softnvme::SoftDevice* soft_ = nullptr;
  dma::Buffer buffer_;
  std::vector<dma::Slice> slices_;
  std::unique_ptr<Channel> channel_;
  std::atomic<std::uint64_t> posted_ = 0;
  std::uint64_t submitted_ = 0, wanted_ = 0;
};

template <typename T>
std::unique_ptr<Path> make() {
  return std::make_unique<T>();
}

constexpr PathEntry kPaths[] = {
    {"floor", make<FloorPath>},
    {"read-4k", make<ReadPath>},
    {"readv-4x4k", make<ReadvPath>},
    {"read-4k-channel", make<ChannelPath>},
    {"shared-read-4k", make<SharedPath>},
    {"read-4k-shadow", make<ShadowedReadPath>},
    {"empty-poll", make<EmptyPoll>, true},
};

}  // namespace

std::span<const PathEntry> paths() { return kPaths; }

void run(const PathEntry& entry, std::uint64_t batches) {
  const std::unique_ptr<Path> path = entry.make();
  if (!entry.empty) {
    for (unsigned ahead = kBatch; ahead < kDepth; ahead += kBatch) path->submit(kBatch);
  }
  for (std::uint64_t i = 0; i < batches; ++i) {
    path->submit(kBatch);
    path->complete(kBatch);
    if (const unsigned found = path->poll(kBatch); found != kBatch) lost(found, kBatch);
  }
}

}  // namespace pollux::micro
