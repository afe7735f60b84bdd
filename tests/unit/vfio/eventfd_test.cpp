#include "pollux/vfio/eventfd.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "pollux/vfio/clock.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

constexpr std::uint64_t kLongNs = 20'000 * kNsPerMs;

void signal(const Eventfd& eventfd) {
  constexpr std::uint64_t kOne = 1;
  REQUIRE(write(eventfd.fd(), &kOne, sizeof kOne) == sizeof kOne);
}

}  // namespace

TEST_CASE("an eventfd that nobody signals lets its waiter go when the time is up") {
  const Eventfd eventfd = *Eventfd::create();
  const std::uint64_t start_ns = steady_clock().now_ns();
  CHECK_FALSE(eventfd.wait(20 * kNsPerMs));
  CHECK(steady_clock().now_ns() - start_ns >= 20 * kNsPerMs);
  CHECK_FALSE(eventfd.wait(0));
  CHECK(eventfd.drain() == 0);
}

TEST_CASE("an eventfd tells of its signals until it is drained, and how many they were") {
  const Eventfd eventfd = *Eventfd::create();
  signal(eventfd);
  signal(eventfd);
  CHECK(eventfd.wait(0));
  CHECK(eventfd.wait(kLongNs));
  CHECK(eventfd.drain() == 2);
  CHECK_FALSE(eventfd.wait(0));
}

TEST_CASE("a signal wakes the thread that waits") {
  const Eventfd eventfd = *Eventfd::create();
  std::thread other([&] {
    steady_clock().pause_ns(20 * kNsPerMs);
    signal(eventfd);
  });
  const bool woken = eventfd.wait(kLongNs);
  other.join();
  CHECK(woken);
}
