// One space, several devices and several threads.
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

TEST_CASE_METHOD(AttachedFixture, "a device that shrinks the ranges joins while every mapping lies inside them") {
  auto buffer = space->allocate(k4KiB);
  REQUIRE(buffer);
  io->ranges_after_attach = {{0, 0x1fff}, {0x10'0000, 0x10'0fff}};
  auto second = space->attach(kDeviceAddress);
  REQUIRE(second);

  auto moved_on = space->allocate(k4KiB);
  REQUIRE(moved_on);
  CHECK(moved_on->slice().iova == 0x10'0000);
  CHECK_FALSE(space->allocate(k4KiB));
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "a device that cannot reach a mapping made before is refused by name") {
  auto buffer = space->allocate(k4KiB);
  REQUIRE(buffer);
  io->ranges_after_attach = {{0x10'0000, 0x1f'ffff}};
  const auto refused = space->attach(kDeviceAddress);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("fake:1 cannot join this address space: the mapping 0x1000-0x1fff") == 0);
}

TEST_CASE_METHOD(AttachedFixture, "threads may make and drop mappings at the same time") {
  constexpr int kThreads = 4, kRounds = 200, kHeld = 4;
  auto memory = Memory::allocate(kThreads * kHeld * k4KiB);
  REQUIRE(memory);
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      for (int round = 0; round < kRounds; ++round) {
        Registration held[kHeld];
        for (int i = 0; i < kHeld; ++i) {
          auto made = space->register_memory(memory->data() + (number * kHeld + i) * k4KiB, k4KiB);
          if (!made) {
            ++failures;
          } else {
            held[i] = std::move(*made);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(AttachedFixture, "threads may register and drop parts of the same page at the same time") {
  constexpr int kThreads = 4, kRounds = 2000;
  constexpr std::uint64_t kPartBytes = k4KiB / kThreads;
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&, number] {
      for (int round = 0; round < kRounds; ++round) {
        auto made = space->register_memory(memory->data() + number * kPartBytes, kPartBytes);
        if (!made || made->slice().iova % k4KiB != number * kPartBytes) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

}  // namespace
}  // namespace pollux::dma::test
