#include "pollux/vfio/eventfd.hpp"

#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

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

TEST_CASE("of several that listen to one eventfd each hears every signal, whoever drains first") {
  const Eventfd shared = *Eventfd::create();
  const Eventfd one = *shared.listener(), other = *shared.listener();
  CHECK_FALSE(one.wait(0));
  for (int round = 0; round < 3; ++round) {
    signal(shared);
    CHECK(one.wait(kLongNs));
    CHECK(one.drain() == 1);
    CHECK_FALSE(one.wait(0));
    CHECK(one.drain() == 0);
    CHECK(other.wait(0));
    signal(shared);
    CHECK(other.drain() == 1);  // both signals
    CHECK_FALSE(other.wait(0));
    CHECK(one.wait(0));
    CHECK(one.drain() == 1);
  }
}

TEST_CASE("threads that sleep on one interrupt are all woken by each") {
  constexpr unsigned kThreads = 4, kRounds = 50;
  const Eventfd shared = *Eventfd::create();
  std::atomic<unsigned> heard = 0, missed = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, mine = *shared.listener()] {
      for (unsigned round = 0; round < kRounds; ++round) {
        if (!mine.wait(kLongNs)) ++missed;
        mine.drain();
        ++heard;
        while (heard < (round + 1) * kThreads && missed == 0) std::this_thread::yield();
      }
    });
  }
  for (unsigned round = 0; round < kRounds; ++round) {
    while (heard < round * kThreads && missed == 0) std::this_thread::yield();
    signal(shared);
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(missed == 0);
  CHECK(heard == kThreads * kRounds);
}
