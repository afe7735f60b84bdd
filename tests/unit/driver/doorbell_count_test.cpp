// How often an I/O costs a write of a doorbell register: counted by a software controller whose BAR0 cannot be mapped.
#include <catch2/catch.hpp>

#include "pollux/driver/block/block.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"

namespace pollux {
namespace {

constexpr unsigned kBatch = 32, kBatches = 100;

void count_one(void* context, nvme::Status status) noexcept {
  if (status.ok()) ++*static_cast<unsigned*>(context);
}

// Register writes of `kBatches` times so many reads, each batch rung once and waited for.
std::uint64_t register_writes(std::string_view address, bool shadow_doorbells) {
  const vfio::Scheme scheme = softnvme::scheme();
  auto drive = Drive::open(address, {.schemes = {&scheme, 1}, .shadow_doorbells = shadow_doorbells});
  REQUIRE(drive);
  const auto ns = (*drive)->open_namespace();
  REQUIRE(ns);
  const auto buffer = (*drive)->allocate(4096);
  REQUIRE(buffer);
  softnvme::SoftDevice& device = *softnvme::soft_device((*drive)->controller().device());
  const auto channel = (*drive)->open_channel(*ns, {.depth = 4 * kBatch});
  REQUIRE(channel);

  unsigned answered = 0;
  const std::uint64_t before = device.doorbell_writes();
  for (unsigned batch = 1; batch <= kBatches; ++batch) {
    for (unsigned i = 0; i < kBatch; ++i) {
      if ((*channel)->read(i, buffer->slice(0, 512), count_one, &answered) != Submit::accepted) return ~0ull;
    }
    (*channel)->ring();
    const std::uint64_t end_ns = steady_clock().now_ns() + 20 * 1'000'000'000ull;
    while (answered < batch * kBatch && steady_clock().now_ns() < end_ns) (*channel)->poll(kBatch);
  }
  REQUIRE(answered == kBatches * kBatch);
  const std::uint64_t writes = device.doorbell_writes() - before;
  CHECK(device.violation_count() == 0);
  return writes;
}

// A drive behind a controller that polls: its event indices say "never", once, when it takes them.
struct Polled {
  const vfio::Scheme scheme = softnvme::scheme();
  std::unique_ptr<Drive> drive;
  softnvme::SoftDevice* device = nullptr;

  explicit Polled(std::string_view address) {
    auto opened = Drive::open(address, {.schemes = {&scheme, 1}});
    REQUIRE(opened);
    drive = std::move(*opened);
    device = softnvme::soft_device(drive->controller().device());
  }

  // Register writes of so many reads, one after the other, on a new channel of this depth.
  std::uint64_t one_by_one(unsigned reads, std::uint16_t depth) {
    const auto ns = drive->open_namespace();
    const auto buffer = drive->allocate(4096);
    const auto channel = drive->open_channel(*ns, {.depth = depth});
    REQUIRE((ns && buffer && channel));
    const std::uint64_t before = device->doorbell_writes();
    unsigned answered = 0;
    const std::uint64_t end_ns = steady_clock().now_ns() + 20 * 1'000'000'000ull;
    for (unsigned i = 0; i < reads; ++i) {
      if ((*channel)->read(0, buffer->slice(0, 512), count_one, &answered) != Submit::accepted) return ~0ull;
      while (answered == i && steady_clock().now_ns() < end_ns) (*channel)->poll();
    }
    REQUIRE(answered == reads);
    CHECK(device->violation_count() == 0);
    return device->doorbell_writes() - before;
  }
};

}  // namespace

TEST_CASE("a controller that polls hears of a register only where a ring comes round, and small depths do so seldom") {
  constexpr unsigned kReads = 1024, kRing = 256;
  Polled polled("soft:size=1MiB,trap=1,shadow=poll");
  const auto depth = static_cast<std::uint16_t>(GENERATE(1, 2, 31, 300));
  const unsigned wraps = kReads / std::max<unsigned>(kRing, depth + 1u) + 1;
  CHECK(polled.one_by_one(kReads, depth) <= 2 * wraps);  // the tail's and the head's
  // A queue that was made anew over an old one's place finds what the controller wrote there at the beginning.
  CHECK(polled.one_by_one(kReads, depth) <= 2 * wraps);
  REQUIRE(polled.drive->reset());
  CHECK(polled.one_by_one(kReads, depth) <= 2 * wraps);
}

TEST_CASE("without shadow doorbells a batch writes its tail once, and each poll that finds something its head") {
  const bool offered = GENERATE(false, true);
  const std::uint64_t writes =
      register_writes(offered ? "soft:size=1MiB,trap=1,shadow=1" : "soft:size=1MiB,trap=1", false);
  CHECK(writes >= 2 * kBatches);
  CHECK(writes <= kBatches + kBatches * kBatch);  // a poll answers one at the least
}

TEST_CASE("with shadow doorbells a controller that does not sleep hears of next to nothing by its registers") {
  const std::uint64_t writes = register_writes("soft:size=1MiB,trap=1,shadow=1", true);
  INFO(writes << " register writes for " << kBatches * kBatch << " reads in " << kBatches << " batches");
  CHECK(writes <= kBatches);  // a wake a batch, where this thread had to wait so long that the controller fell asleep
}

}  // namespace pollux
