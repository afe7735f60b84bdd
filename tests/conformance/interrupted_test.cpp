// A program whose timer interrupts it every millisecond does all that another does, and nobody tells it of EINTR.
#include "../ticker.hpp"
#include "pollux/vfio/eventfd.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

constexpr std::uint64_t kBytes = 32 << 20;  // more than a millisecond's worth of pages

TEST_CASE("a drive is opened, used, reset and closed under a timer that interrupts every millisecond") {
  const test::Ticker ticker;
  TestDevice device;
  dma::Buffer buffer = device.allocate(kBytes);
  {
    const auto channel = device.open_channel();
    for (unsigned i = 0; i < 32; ++i) {
      const std::uint64_t size = device.unit(), lba = i * size / device.block();
      device.write_pattern(*channel, lba, buffer.slice(i * size, size), i);
      REQUIRE(device.holds_pattern(*channel, lba, buffer.slice(i * size, size), i));
    }
    REQUIRE(flush(*channel).ok());
    REQUIRE(device.drive->reset());
    REQUIRE(revived(*channel, buffer.slice(0, device.block())));
  }
  for (const Wait wait : {Wait::interrupt, Wait::adaptive}) {
    const auto channel = device.open_channel({.wait = wait});
    for (unsigned i = 0; i < 32; ++i) {
      Request request;
      REQUIRE(channel->read(0, buffer.slice(0, device.block()), Request::done, &request) == Submit::accepted);
      const Deadline deadline;
      while (request.answers == 0 && !deadline.passed()) channel->wait(kTimeoutMs);
      REQUIRE(request.answers == 1);
      REQUIRE(request.status.ok());
    }
  }
  const auto fresh = device.drive->allocate(kBytes);  // beside the first
  if (!fresh) FAIL(fresh.error().message());
  CHECK(device.drive->poll());
  CHECK(test::Ticker::ticks > 10);
}

TEST_CASE("a pause and a wait last as long under such a timer") {
  const test::Ticker ticker;
  Clock& clock = steady_clock();
  const std::uint64_t start_ns = clock.now_ns();
  clock.pause_ns(50 * kNsPerMs);
  CHECK(clock.now_ns() - start_ns >= 50 * kNsPerMs);
  const std::uint64_t then_ns = clock.now_ns();
  CHECK_FALSE(vfio::Eventfd::create()->wait(50 * kNsPerMs));
  CHECK(clock.now_ns() - then_ns >= 50 * kNsPerMs);
  CHECK(test::Ticker::ticks > 10);
}

}  // namespace
}  // namespace pollux::conformance
