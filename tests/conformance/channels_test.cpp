// Several channels, several threads, and more channels than the controller has queues. Threads use no assertion: they
// count.
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice, "channels are independent: one's full queue does not stop another") {
  if (!grants(2)) return;
  const auto first = open_channel({.depth = 2});
  const auto second = open_channel({.depth = 2});
  const auto buffer = allocate(unit());
  Request request;
  while (first->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::accepted) continue;
  CHECK(read(*second, 0, buffer.slice(0, block())).ok());
  CHECK(request.answers == 0);
  REQUIRE(drain(*first));
  CHECK(request.answers == first->depth());
}

TEST_CASE_METHOD(TestDevice, "what one channel wrote another reads") {
  if (!grants(2)) return;
  const auto first = open_channel({.depth = 2});
  const auto second = open_channel({.depth = 2});
  const auto buffer = allocate(unit());
  write_pattern(*first, 9, buffer.slice(0, block()), 1);
  CHECK(holds_pattern(*second, 9, buffer.slice(0, block()), 1));
}

TEST_CASE("one channel more than there are queues is a clear answer, and one given back can be had again") {
  OpenOptions options = open_options();
  options.io_queues = 3;
  TestDevice device(options);
  const unsigned granted = device.drive->controller().io_queue_limit();
  REQUIRE(granted >= 1);
  const auto buffer = device.allocate(device.unit());

  std::vector<std::unique_ptr<Channel>> channels;
  for (unsigned i = 0; i < granted; ++i) channels.push_back(device.open_channel({.depth = 2}));
  const auto refused = device.drive->open_channel(device.ns, {.depth = 2});
  REQUIRE_FALSE(refused);
  INFO(refused.error().message());
  CHECK(refused.error().message().find(std::to_string(granted)) != std::string::npos);
  CHECK(refused.error().message().find('\n') == std::string::npos);
  // What helps: asking for more, unless more were asked for than the controller has.
  CHECK((refused.error().advice.find("io_queues") != std::string::npos) == (granted == options.io_queues));

  for (const auto& channel : channels) CHECK(read(*channel, 0, buffer.slice(0, device.unit())).ok());
  channels.erase(channels.begin() + granted / 2);
  channels.push_back(device.open_channel({.depth = 4}));
  for (const auto& channel : channels) CHECK(read(*channel, 0, buffer.slice(0, device.unit())).ok());
}

TEST_CASE_METHOD(TestDevice, "a channel can be made and destroyed many times, whatever its depth") {
  const auto buffer = allocate(unit());
  for (unsigned round = 0; round < 24; ++round) {
    const auto channel = open_channel({.depth = static_cast<std::uint16_t>(1 + round * 3)});
    CHECK(read(*channel, round, buffer.slice(0, block())).ok());
  }
}

// A thread's work: writes and reads of random blocks in its own range, several in flight, each read compared with the
// last write.
class Worker {
 public:
  static constexpr unsigned kSlots = 8, kRounds = 40;
  static constexpr std::uint64_t kRangeBlocks = 64;

  Worker(TestDevice& device, unsigned number)
      : device_(device),
        channel_(device.open_channel({.depth = kSlots})),
        buffer_(device.allocate(kSlots * device.block())),
        first_lba_(number * kRangeBlocks),
        random_(number),
        seeds_(kRangeBlocks, 0) {}

  // A round writes kSlots blocks, then reads kSlots other ones: blocks differ within a round, so that the order does
  // not matter.
  void run() {
    for (unsigned round = 1; round <= kRounds && faults == 0; ++round) {
      one_pass(round, true);
      one_pass(round, false);
    }
  }

  unsigned faults = 0;
  unsigned compared = 0;

 private:
  void one_pass(unsigned round, bool writing) {
    const std::uint64_t stride = 1 + 2 * (random_() % 16);  // odd: visits different blocks
    const std::uint64_t start = random_();
    Request requests[kSlots];
    std::uint64_t places[kSlots];
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      places[slot] = (start + slot * stride) % kRangeBlocks;
      const std::uint64_t lba = first_lba_ + places[slot];
      const dma::Slice slice = buffer_.slice(slot * device_.block(), device_.block());
      if (writing) {
        seeds_[places[slot]] = round;
        fill(slice, round, device_.words(lba));
      } else {
        fill_bytes(slice, kGuard);
      }
      Submit submitted = Submit::queue_full;
      for (const Deadline deadline; submitted == Submit::queue_full && !deadline.passed(); channel_->poll()) {
        submitted = writing ? channel_->write(lba, slice, Request::done, &requests[slot])
                            : channel_->read(lba, slice, Request::done, &requests[slot]);
      }
      if (submitted != Submit::accepted) ++faults;
    }
    if (!drain(*channel_)) ++faults;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      if (requests[slot].answers != 1 || !requests[slot].status.ok()) ++faults;
      const std::uint64_t seed = seeds_[places[slot]];
      if (writing || seed == 0) continue;
      ++compared;
      const dma::Slice slice = buffer_.slice(slot * device_.block(), device_.block());
      if (first_difference(slice, seed, device_.words(first_lba_ + places[slot]))) ++faults;
    }
  }

  TestDevice& device_;
  std::unique_ptr<Channel> channel_;
  dma::Buffer buffer_;
  std::uint64_t first_lba_;
  std::minstd_rand random_;
  std::vector<std::uint64_t> seeds_;  // of the pattern that each block of the range holds; 0: not written yet
};

TEST_CASE_METHOD(TestDevice, "threads with a channel each read back what they wrote") {
  const unsigned several = std::min<unsigned>(4, drive->controller().io_queue_limit());
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < several; ++i) workers.push_back(std::make_unique<Worker>(*this, i));
  std::vector<std::thread> threads;
  for (const auto& worker : workers) threads.emplace_back([&worker] { worker->run(); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& worker : workers) {
    CHECK(worker->faults == 0);
    CHECK(worker->compared > Worker::kRounds);
  }
}

TEST_CASE_METHOD(TestDevice, "threads may open and close channels while another one works") {
  if (!grants(2)) return;
  const auto steady = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  std::atomic<unsigned> failures = 0;
  std::thread opener([this, &failures] {
    for (unsigned round = 0; round < 12; ++round) {
      if (!drive->open_channel(ns, {.depth = 8})) ++failures;
    }
  });
  unsigned bad = 0;
  for (std::uint64_t lba = 0; lba < 100 && bad == 0; ++lba) {  // each drain is bounded, and so is their sum
    Request request;
    if (steady->read(lba, buffer.slice(0, block()), Request::done, &request) != Submit::accepted) ++bad;
    if (!drain(*steady) || request.answers != 1 || !request.status.ok()) ++bad;
  }
  opener.join();
  CHECK(failures == 0);
  CHECK(bad == 0);
}

}  // namespace
}  // namespace pollux::conformance
