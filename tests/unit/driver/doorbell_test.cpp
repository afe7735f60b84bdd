// Where a doorbell's value goes: the register, a call, a shadow, and when the register behind a shadow is written.
#include "pollux/driver/queue/doorbell.hpp"

#include <catch2/catch.hpp>

namespace pollux::nvme {
namespace {

constexpr std::uint32_t kUntouched = 0xffff'ffff;

struct Shadowed {
  std::uint32_t word = kUntouched, shadow = 0, event = 0;

  bool wakes(std::uint32_t old, std::uint32_t now, std::uint32_t asleep_at) {
    word = kUntouched;
    shadow = old;
    event = asleep_at;
    Doorbell(&word).shadowed_by(&shadow, &event).ring(now);
    CHECK(shadow == now);
    CHECK((word == kUntouched || word == now));
    return word == now;
  }

  // The same by tell() and wake(), with a tell() at each place in between.
  bool wakes_later(std::uint32_t old, std::uint32_t now, std::uint32_t asleep_at, std::uint32_t entries) {
    word = kUntouched;
    shadow = old;
    event = asleep_at;
    const Doorbell doorbell = Doorbell(&word).shadowed_by(&shadow, &event);
    for (std::uint32_t place = old; place != now;) {
      place = (place + 1) % entries;
      CHECK_FALSE(doorbell.tell(place));
    }
    CHECK((shadow == now && word == kUntouched));
    doorbell.wake(old, now);
    return word == now;
  }
};

}  // namespace

TEST_CASE("a doorbell without a shadow is its register") {
  std::uint32_t word = kUntouched;
  Doorbell(&word).ring(7);
  CHECK(word == 7);
}

TEST_CASE("a doorbell that cannot be mapped is written by its call, with or without a shadow") {
  std::uint32_t told = kUntouched, shadow = 0;
  const std::uint32_t event = 3;
  const Doorbell call(
      [](void* context, std::uint32_t value) noexcept { *static_cast<std::uint32_t*>(context) = value; }, &told);
  call.ring(5);
  CHECK(told == 5);
  const Doorbell shadowed = call.shadowed_by(&shadow, &event);
  shadowed.ring(3);
  CHECK((told == 5 && shadow == 3));
  shadowed.ring(4);
  CHECK((told == 4 && shadow == 4));
}

TEST_CASE("a shadow without an event index keeps the register up to date") {
  std::uint32_t word = kUntouched, shadow = 0;
  const Doorbell doorbell = Doorbell(&word).shadowed_by(&shadow, nullptr);
  for (std::uint32_t value : {1u, 2u, 0u}) {
    doorbell.ring(value);
    CHECK((word == value && shadow == value));
  }
}

TEST_CASE("behind a shadow the register is written just when the value passes the controller's event index") {
  // In a ring of so many entries: from `old` to `now`, the controller asleep at each place.
  const std::uint32_t entries = GENERATE(2u, 3u, 8u, 13u);
  Shadowed queue;
  for (std::uint32_t old = 0; old < entries; ++old) {
    for (std::uint32_t added = 1; added < entries; ++added) {
      for (std::uint32_t asleep_at = 0; asleep_at < entries; ++asleep_at) {
        CAPTURE(entries, old, added, asleep_at);
        const bool passed = (asleep_at + entries - old) % entries < added;
        REQUIRE(queue.wakes(old, (old + added) % entries, asleep_at) == passed);
        REQUIRE(queue.wakes_later(old, (old + added) % entries, asleep_at, entries) == passed);
      }
    }
  }
}

TEST_CASE("what has no event index is told at once, and needs no wake") {
  std::uint32_t word = kUntouched, shadow = 0;
  CHECK(Doorbell(&word).tell(3));
  CHECK(word == 3);
  CHECK(Doorbell(&word).shadowed_by(&shadow, nullptr).tell(4));
  CHECK((word == 4 && shadow == 4));
}

TEST_CASE("in the largest ring the register is written just when the value passes the event index, around the wrap") {
  Shadowed queue;
  CHECK(queue.wakes(65'534, 65'535, 65'534));
  CHECK(queue.wakes(65'534, 1, 65'535));
  CHECK(queue.wakes(65'534, 1, 0));
  CHECK_FALSE(queue.wakes(65'534, 1, 1));
  CHECK_FALSE(queue.wakes(65'534, 1, 65'533));
}

}  // namespace pollux::nvme
