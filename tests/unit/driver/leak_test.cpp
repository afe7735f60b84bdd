// A drive that is opened and closed a thousand times leaves nothing behind: no memory, descriptor, thread, I/O address
// or mapping, and each time the whole depth of its channel can be used.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "pollux/driver/block/block.hpp"
#include "pollux/softnvme.hpp"
#include "pollux/tests/sanitizer.hpp"
#include "pollux/tools/softnvme/space.hpp"

namespace pollux {
namespace {

using softnvme::FetchFault;
using softnvme::PostFault;

constexpr unsigned kDepth = 8;
constexpr unsigned kBlock = 512;
constexpr unsigned kResetEvery = 64;  // cycles: each waits 50 ms for the channel's owner, who is in the reset himself
constexpr unsigned kWarmUp = 50;      // the allocator's arenas and whatever else is made once

constexpr unsigned kCycles = kHasSanitizer ? 200 : 1000;
constexpr unsigned kCyclesApart = kCycles / 10;  // with a space for each drive, which ends with all that it held

std::ptrdiff_t entries(const char* folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

struct Counts {
  std::ptrdiff_t descriptors = entries("/proc/self/fd");
  std::ptrdiff_t threads = entries("/proc/self/task");
  long resident_bytes = 0;

  Counts() {
    long all = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> all >> resident;
    resident_bytes = resident * sysconf(_SC_PAGESIZE);
  }
};

// What happens to reads while it is set.
struct Fault final : softnvme::FaultHook {
  FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    const bool is_read = nvme::cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(nvme::IoOpcode::read);
    return {.kind = sqid != 0 && is_read ? fetch : FetchFault::Kind::none};
  }
  PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override { return sqid != 0 ? post : PostFault::none; }

  FetchFault::Kind fetch = FetchFault::Kind::none;
  PostFault post = PostFault::none;
};

struct Answers {
  unsigned good = 0, aborted = 0, others = 0;
  static void take(void* context, nvme::Status status) noexcept {
    auto& answers = *static_cast<Answers*>(context);
    ++(status.ok()                                          ? answers.good
       : status.code() == nvme::StatusCode::aborted_by_host ? answers.aborted
                                                            : answers.others);
  }
  unsigned all() const { return good + aborted + others; }
};

bool drain(Channel& channel) {
  const std::uint64_t end_ns = steady_clock().now_ns() + 20'000'000'000;
  while (channel.in_flight() != 0 && steady_clock().now_ns() < end_ns) channel.poll();
  return channel.in_flight() == 0;
}

// One drive, from open to close.
struct Cycle {
  Fault fault;  // outlives the drive
  vfio::Scheme scheme = softnvme::scheme();
  std::unique_ptr<Drive> drive;
  Namespace ns;
  dma::Buffer buffer;
  std::unique_ptr<Channel> channel;

  explicit Cycle(std::shared_ptr<dma::Space> space) {
    auto opened = Drive::open("soft:size=1MiB,queues=1", {.schemes = {&scheme, 1}, .space = std::move(space)});
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
    ns = *drive->open_namespace();
    buffer = *drive->allocate(2 * kDepth * kBlock);
    channel = *drive->open_channel(ns, {.depth = kDepth});
  }

  // A command for each block of the first half of the buffer, or of the second: as many as the channel can hold, and
  // one more, which it cannot.
  void submit_all(bool writes, Answers& answers) {
    for (unsigned i = 0; i <= kDepth; ++i) {
      const unsigned block = i % kDepth;
      const dma::Slice slice = buffer.slice(((writes ? 0 : kDepth) + block) * kBlock, kBlock);
      const Submit submitted = writes ? channel->write(block, slice, Answers::take, &answers)
                                      : channel->read(block, slice, Answers::take, &answers);
      REQUIRE(submitted == (i < kDepth ? Submit::accepted : Submit::queue_full));
    }
  }

  void write_and_read(unsigned seed) {
    std::byte* const data = buffer.slice().data;
    for (unsigned i = 0; i < kDepth * kBlock; ++i) data[i] = static_cast<std::byte>(i / kBlock * 31 + i + seed);
    Answers answers;
    submit_all(true, answers);
    REQUIRE(drain(*channel));
    submit_all(false, answers);
    REQUIRE(drain(*channel));
    REQUIRE(answers.good == 2 * kDepth);
    REQUIRE(std::memcmp(data, data + kDepth * kBlock, kDepth * kBlock) == 0);
  }

  // Everything in flight, and a controller that answers none of it.
  void leave_in_flight(FetchFault::Kind fetch, PostFault post, Answers& answers) {
    fault.fetch = fetch;
    fault.post = post;
    auto& device = *softnvme::soft_device(drive->controller().device());
    device.set_fault_hook(&fault);
    submit_all(false, answers);
    channel->ring();
  }

  void reset() {
    softnvme::soft_device(drive->controller().device())->set_fault_hook(nullptr);
    REQUIRE(drive->reset());
    REQUIRE(drain(*channel));
  }
};

// The buffer of a drive goes before the drive, and the channel before the buffer; what it has in flight with it.
void run_cycle(unsigned n, std::shared_ptr<dma::Space> space) {
  Answers answers;
  {
    Cycle cycle(std::move(space));
    cycle.write_and_read(n);
    if (n % 8 == 1) cycle.leave_in_flight(FetchFault::Kind::hang, PostFault::none, answers);
    if (n % 8 == 3) cycle.leave_in_flight(FetchFault::Kind::drop, PostFault::none, answers);
    if (n % 8 == 5) cycle.leave_in_flight(FetchFault::Kind::none, PostFault::lose, answers);
    if (n % kResetEvery == 0) {
      cycle.leave_in_flight(FetchFault::Kind::drop, PostFault::none, answers);
      cycle.reset();
      REQUIRE(answers.good == kDepth);
      cycle.write_and_read(n + 1);
    }
    auto& device = *softnvme::soft_device(cycle.drive->controller().device());
    cycle.channel.reset();
    REQUIRE(cycle.drive->shutdown());
    REQUIRE(device.violation_count() == 0);
    device.set_fault_hook(nullptr);
  }
  REQUIRE(answers.all() == (n % kResetEvery == 0 ? kDepth : 0));
}

void expect_no_growth(const Counts& before) {
  const Counts after;
  CHECK(after.descriptors == before.descriptors);
  CHECK(after.threads == before.threads);
  // A page for every eight cycles would be more.
  constexpr long kSlack = 512l << 10;
  if (!kHasSanitizer) CHECK(after.resident_bytes - before.resident_bytes < kSlack);
}

}  // namespace

TEST_CASE("drives that each have an address space of their own leave no memory, descriptor or thread") {
  for (unsigned n = 0; n < kWarmUp; ++n) run_cycle(n, nullptr);
  const Counts before;
  for (unsigned n = 0; n < kCyclesApart; ++n) run_cycle(n, nullptr);
  expect_no_growth(before);
}

TEST_CASE("a thousand drives in one address space leave all of it, and all of its mappings") {
  constexpr std::uint64_t kFirst = 1 << 20, kBytes = 8 << 20;
  const auto space = dma::Space::create(
      std::make_unique<softnvme::SoftSpace>(std::vector<vfio::IovaRange>{{kFirst, kFirst + kBytes - 1}}));
  const auto mappings = space->io().mappings_left();
  REQUIRE(mappings);
  for (unsigned n = 0; n < kWarmUp; ++n) run_cycle(n, space);
  const Counts before;
  for (unsigned n = 0; n < kCycles; ++n) run_cycle(n, space);
  expect_no_growth(before);
  CHECK(space->io().mappings_left() == mappings);

  // In one piece: nothing in it is taken.
  void* const all = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(all != MAP_FAILED);
  {
    const auto registration = space->register_memory(all, kBytes);
    if (!registration) FAIL(registration.error().message());
    CHECK(registration->slice().iova == kFirst);
    CHECK_FALSE(space->allocate(4096));
  }
  munmap(all, kBytes);
}

}  // namespace pollux
