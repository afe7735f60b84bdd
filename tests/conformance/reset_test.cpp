// A controller reset: what is in flight is answered exactly once, reads by their data and writes as their channel's
// owner chose, and every channel works again.
#include <atomic>
#include <thread>
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

constexpr unsigned kDepth = 16;

// A write: answered before the reset came, or by the reset.
bool fair(const Request& request) {
  return request.answers == 1 && (request.status.ok() || request.status.code() == nvme::StatusCode::aborted_by_host);
}

TEST_CASE_METHOD(TestDevice, "after a reset with nothing in flight a channel works again") {
  const auto channel = open_channel({.depth = kDepth});
  const auto buffer = allocate(unit());
  write_pattern(*channel, 4, buffer.slice(0, block()), 1);
  for (int round = 0; round < 3; ++round) {
    REQUIRE(drive->reset());
    REQUIRE(revived(*channel, buffer.slice(0, block())));
    CHECK(holds_pattern(*channel, 4, buffer.slice(0, block()), 1));
  }
}

TEST_CASE_METHOD(TestDevice, "reads in flight over a reset are answered exactly once, with their data") {
  const auto channel = open_channel({.depth = kDepth});
  const auto buffer = allocate(channel->depth() * unit());
  for (unsigned i = 0; i < channel->depth(); ++i) write_pattern(*channel, i, buffer.slice(i * unit(), block()), 3);
  fill_bytes(buffer.slice(), kGuard);
  std::vector<Request> requests(channel->depth());
  for (unsigned i = 0; i < channel->depth(); ++i) {
    REQUIRE(channel->read(i, buffer.slice(i * unit(), block()), Request::done, &requests[i]) == Submit::accepted);
    if (i == channel->depth() / 2) channel->ring();  // half are the controller's, half not yet
  }
  REQUIRE(drive->reset());
  CHECK(channel->in_flight() == requests.size());
  REQUIRE(drain(*channel));
  for (unsigned i = 0; i < channel->depth(); ++i) {
    CHECK((requests[i].answers == 1 && requests[i].status.ok()));
    CHECK_FALSE(first_difference(buffer.slice(i * unit(), block()), 3, words(i)));
  }

  REQUIRE(revived(*channel, buffer.slice(0, block())));
  for (const Request& request : requests) CHECK(request.answers == 1);
}

TEST_CASE_METHOD(TestDevice,
                 "writes in flight over a reset are answered exactly once; those that the controller knew of are sent "
                 "again by choice only") {
  const bool reissue = GENERATE(false, true);
  const auto channel = open_channel({.depth = kDepth, .reissue_writes = reissue});
  const auto buffer = allocate(channel->depth() * unit()), scratch = allocate(unit());
  for (unsigned i = 0; i < channel->depth(); ++i) write_pattern(*channel, i, scratch.slice(0, block()), 4);
  std::vector<Request> requests(channel->depth());
  for (unsigned i = 0; i < channel->depth(); ++i) {
    const dma::Slice slice = buffer.slice(i * unit(), block());
    fill(slice, 5, words(i));
    REQUIRE(channel->write(i, slice, Request::done, &requests[i]) == Submit::accepted);
    if (i == channel->depth() / 2) channel->ring();  // half are the controller's, half not yet
  }
  REQUIRE(drive->reset());
  REQUIRE(drain(*channel));
  REQUIRE(revived(*channel, scratch.slice(0, block())));
  for (unsigned i = 0; i < channel->depth(); ++i) {
    CHECK(fair(requests[i]));
    const bool must_succeed = reissue || i > channel->depth() / 2;  // the controller has never heard of the later half
    CHECK((requests[i].status.ok() || !must_succeed));
    if (requests[i].status.ok()) CHECK(holds_pattern(*channel, i, scratch.slice(0, block()), 5));
  }
}

TEST_CASE_METHOD(TestDevice, "a command with a PRP list is whole when it is sent again") {
  constexpr std::uint64_t kPages = 16;
  const auto channel = open_channel({.depth = 4, .reissue_writes = true});
  const auto buffer = allocate(kPages * kPage);
  fill(buffer.slice(), 6, words(0));
  Request written, back;
  REQUIRE(channel->write(0, buffer.slice(), Request::done, &written) == Submit::accepted);
  REQUIRE(drive->reset());
  REQUIRE(drain(*channel));
  REQUIRE(written.status.ok());
  fill_bytes(buffer.slice(), kGuard);
  REQUIRE(channel->read(0, buffer.slice(), Request::done, &back) == Submit::accepted);
  REQUIRE(drive->reset());
  REQUIRE(drain(*channel));
  REQUIRE((back.answers == 1 && back.status.ok()));
  CHECK_FALSE(first_difference(buffer.slice(), 6, words(0)));
}

// On the software controller the log would show a doorbell of a queue that does not exist any more.
TEST_CASE_METHOD(TestDevice, "requests that are rung only after the reset, before the owner has polled, are not lost") {
  const auto channel = open_channel({.depth = kDepth});
  const auto buffer = allocate(unit());
  REQUIRE(read(*channel, 0, buffer.slice(0, block())).ok());
  Request before, after;
  REQUIRE(channel->read(0, buffer.slice(0, block()), Request::done, &before) == Submit::accepted);
  REQUIRE(drive->reset());
  const Submit submitted = channel->read(0, buffer.slice(0, block()), Request::done, &after);
  channel->ring();
  const bool is_full = submitted == Submit::queue_full && channel->depth() == 1;  // `before` is still in flight
  REQUIRE((submitted == Submit::accepted || submitted == Submit::stopped || is_full));
  REQUIRE(drain(*channel));
  CHECK((before.answers == 1 && before.status.ok()));
  CHECK(after.answers == (submitted == Submit::accepted ? 1 : 0));
  CHECK(after.status.ok());
  REQUIRE(revived(*channel, buffer.slice(0, block())));
}

TEST_CASE_METHOD(TestDevice, "a split request in flight over a reset is answered once, a read with all of its data") {
  const auto channel = open_channel({.depth = 2, .max_transfer_bytes = static_cast<std::uint32_t>(unit())});
  const auto buffer = allocate(16 * unit());
  write_pattern(*channel, 0, buffer.slice(), 8);
  Request request;
  SECTION("read") {
    fill_bytes(buffer.slice(), kGuard);
    REQUIRE(channel->read(0, buffer.slice(), Request::done, &request) == Submit::accepted);
    channel->ring();
    REQUIRE(drive->reset());
    REQUIRE(drain(*channel));
    CHECK(request.status.ok());
    CHECK_FALSE(first_difference(buffer.slice(), 8, words(0)));
  }
  SECTION("write") {
    fill(buffer.slice(), 9, words(0));
    REQUIRE(channel->write(0, buffer.slice(), Request::done, &request) == Submit::accepted);
    channel->ring();
    REQUIRE(drive->reset());
    REQUIRE(drain(*channel));
    CHECK(fair(request));  // aborted at the first piece that the controller had not answered; else whole
    if (request.status.ok()) CHECK(holds_pattern(*channel, 0, buffer.slice(), 9));
  }
  CHECK(request.answers == 1);
  REQUIRE(revived(*channel, buffer.slice(0, block())));
  CHECK(request.answers == 1);
}

TEST_CASE_METHOD(TestDevice, "every channel comes back from a reset, whichever is polled first") {
  std::vector<std::unique_ptr<Channel>> channels;
  const int several = std::min<int>(3, drive->controller().io_queue_limit());
  for (int i = 0; i < several; ++i) channels.push_back(open_channel({.depth = 4}));
  const auto buffer = allocate(unit());
  for (const auto& channel : channels) REQUIRE(read(*channel, 0, buffer.slice(0, block())).ok());
  REQUIRE(drive->reset());
  for (auto channel = channels.rbegin(); channel != channels.rend(); ++channel) {
    CHECK(revived(**channel, buffer.slice(0, block())));
  }
}

TEST_CASE_METHOD(TestDevice, "a channel that was not polled since the reset can be destroyed, and another one opened") {
  auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  Request request;
  REQUIRE(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::accepted);
  channel->ring();
  REQUIRE(drive->reset());
  channel.reset();
  channel = open_channel({.depth = 4});
  CHECK(read(*channel, 0, buffer.slice(0, block())).ok());
}

// VFIO_DEVICE_RESET on a drive behind the kernel.
TEST_CASE_METHOD(TestDevice, "a function reset behind the driver's back is noticed, and every channel comes back") {
  const auto channel = open_channel({.depth = kDepth});
  const auto buffer = allocate(unit());
  REQUIRE(read(*channel, 0, buffer.slice(0, block())).ok());
  REQUIRE(drive->controller().device().reset());
  REQUIRE(drive->poll());
  CHECK(revived(*channel, buffer.slice(0, block())));
}

TEST_CASE_METHOD(TestDevice, "threads go on working over resets that another thread makes") {
  constexpr unsigned kResets = 3;
  const unsigned several = std::min<unsigned>(2, drive->controller().io_queue_limit());
  constexpr std::uint64_t kRangeBlocks = 16;
  std::atomic<bool> stop = false;
  std::atomic<unsigned> unfair = 0, lost = 0, wrong = 0, finished = 0;
  std::vector<std::unique_ptr<Channel>> channels;
  std::vector<dma::Buffer> buffers;
  for (unsigned i = 0; i < several; ++i) {
    channels.push_back(open_channel({.depth = 4}));
    buffers.push_back(allocate(unit()));
  }

  std::vector<std::thread> threads;
  for (unsigned number = 0; number < several; ++number) {
    threads.emplace_back([&, number] {
      Channel& channel = *channels[number];
      const dma::Slice slice = buffers[number].slice(0, block());
      for (std::uint64_t round = 0; !stop || round < kRangeBlocks; ++round) {
        const std::uint64_t lba = number * kRangeBlocks + round % kRangeBlocks;
        // A write, again until no reset came between, and the read of it, which no reset keeps from its data.
        for (const bool writing : {true, false}) {
          Request request;
          const Deadline deadline;
          do {
            request = {};
            writing ? fill(slice, round, words(lba)) : fill_bytes(slice, kGuard);
            Submit submitted = Submit::stopped;
            while (submitted != Submit::accepted && !deadline.passed()) {
              submitted = writing ? channel.write(lba, slice, Request::done, &request)
                                  : channel.read(lba, slice, Request::done, &request);
              if (submitted != Submit::accepted) channel.poll();
            }
            if (!drain(channel)) ++lost;
            if (!fair(request) || (!writing && !request.status.ok())) ++unfair;
          } while (!request.status.ok() && !deadline.passed());
        }
        if (first_difference(slice, round, words(lba))) ++wrong;
        if (lost + unfair + wrong != 0) return;
      }
      ++finished;
    });
  }
  unsigned failed_resets = 0;
  for (unsigned i = 0; i < kResets; ++i) {
    steady_clock().pause_ns(20 * kNsPerMs);
    if (!drive->reset()) ++failed_resets;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failed_resets == 0);
  CHECK(lost == 0);
  CHECK(unfair == 0);
  CHECK(wrong == 0);
  CHECK(finished == several);
}

}  // namespace
}  // namespace pollux::conformance
