// Completion interrupts through the device's eventfds: a queue that asks for one signals its vector and nothing else, a
// polled queue signals nobody, no completion is slept through, and a reset takes no vector away.
#include <algorithm>
#include <utility>
#include <vector>

#include "pollux/vfio/eventfd.hpp"
#include "raw_io_queue.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

using vfio::InterruptIndex;

constexpr std::size_t kMostVectors = 3;  // the admin queue's, and two for I/O queues
constexpr std::uint64_t kWaitNs = kTimeoutMs * kNsPerMs;
constexpr std::uint64_t kQuietNs = 20 * kNsPerMs;

// The drive with an eventfd a vector. Its controller was reset since, so that the admin queue has its interrupt too. A
// queue has the last of the vectors, which is the admin queue's own where there is no other.
struct Interrupted : TestDevice {
  std::vector<vfio::Eventfd> eventfds;
  std::uint16_t mine = 0;

  Interrupted() {
    const auto info = device().interrupt_info(InterruptIndex::msix);
    REQUIRE(info);
    REQUIRE(info->count >= 1);
    REQUIRE(info->eventfd);
    mine = static_cast<std::uint16_t>(std::min<std::size_t>(kMostVectors, info->count) - 1);
    for (std::size_t v = 0; v <= mine; ++v) eventfds.push_back(*vfio::Eventfd::create());
    install();
    REQUIRE(drive->reset());
    quiet();
  }

  vfio::Device& device() { return drive->controller().device(); }
  Result<void> try_install(InterruptIndex index) {
    std::vector<int> fds;
    for (const vfio::Eventfd& eventfd : eventfds) fds.push_back(eventfd.fd());
    return device().set_interrupts(index, fds);
  }
  void install(InterruptIndex index = InterruptIndex::msix) {
    const auto installed = try_install(index);
    if (!installed) FAIL(installed.error().message());
  }
  // What was signalled up to now is forgotten, once it has had the time to arrive.
  void quiet() {
    steady_clock().pause_ns(kQuietNs);
    for (const vfio::Eventfd& eventfd : eventfds) eventfd.drain();
  }
  bool signalled() const { return eventfds[mine].wait(kWaitNs); }
  bool others_are_quiet() const {
    steady_clock().pause_ns(kQuietNs);
    return std::none_of(eventfds.begin(), eventfds.begin() + mine, [](const auto& each) { return each.wait(0); });
  }
};

TEST_CASE_METHOD(Interrupted, "a completion signals the vector of its queue, and no other") {
  Queue queue(*drive, ns, mine);
  quiet();
  CHECK_FALSE(eventfds[mine].wait(kQuietNs));
  Request request;
  queue.submit(request);
  REQUIRE(signalled());
  queue.poll();
  CHECK(request.answers == 1);
  CHECK(request.status.ok());
  CHECK(others_are_quiet());
}

TEST_CASE_METHOD(Interrupted, "a polled queue signals nobody") {
  Queue queue(*drive, ns, std::nullopt);
  quiet();
  for (unsigned i = 0; i < 10; ++i) {
    Request request;
    queue.submit(request);
    REQUIRE(queue.finish(request));
  }
  CHECK_FALSE(eventfds[0].wait(kQuietNs));
  for (const vfio::Eventfd& eventfd : eventfds) CHECK(eventfd.drain() == 0);
}

TEST_CASE_METHOD(Interrupted, "who drains, looks and then sleeps misses no completion that comes in between") {
  constexpr unsigned kRounds = 200;
  Queue queue(*drive, ns, mine);
  unsigned slept_through = 0, answered = 0;
  for (unsigned round = 0; round < kRounds && slept_through == 0; ++round) {
    Request request;
    for (bool submitted = false; request.answers == 0 && slept_through == 0;) {
      eventfds[mine].drain();
      queue.poll();
      if (request.answers != 0) break;
      if (!std::exchange(submitted, true)) {
        queue.submit(request);
        steady_clock().pause_ns(round % 20 * 10'000);  // it comes before the sleep, or during it
      }
      if (!signalled()) ++slept_through;
    }
    if (request.status.ok()) answered += request.answers;
  }
  CHECK(slept_through == 0);
  CHECK(answered == kRounds);
}

TEST_CASE_METHOD(Interrupted, "the admin queue signals vector 0") {
  CHECK_FALSE(eventfds[0].wait(0));
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::get_features);
  command.cdw10 = static_cast<std::uint32_t>(nvme::FeatureId::number_of_queues);
  REQUIRE(drive->controller().admin(command));
  CHECK(eventfds[0].wait(kWaitNs));
  steady_clock().pause_ns(kQuietNs);
  for (std::size_t v = 1; v < eventfds.size(); ++v) CHECK_FALSE(eventfds[v].wait(0));
}

TEST_CASE_METHOD(Interrupted, "vectors survive a reset of the controller, and one of the function") {
  SECTION("of the controller") { REQUIRE(drive->reset()); }
  SECTION("of the function, behind the driver's back") {
    REQUIRE(device().reset());
    REQUIRE(drive->poll());
  }
  Queue queue(*drive, ns, mine);
  quiet();
  Request request;
  queue.submit(request);
  REQUIRE(signalled());
  CHECK(queue.finish(request));
  CHECK(others_are_quiet());
}

TEST_CASE_METHOD(Interrupted, "a set of the same size replaces the one before while its queue is in use") {
  Queue queue(*drive, ns, mine);
  const vfio::Eventfd before = std::exchange(eventfds[mine], *vfio::Eventfd::create());
  install();
  before.drain();
  Request request;
  queue.submit(request);
  CHECK(signalled());
  CHECK(queue.finish(request));
  CHECK_FALSE(before.wait(kQuietNs));
}

TEST_CASE_METHOD(Interrupted, "interrupts are turned off and on again, and a set may shrink and grow") {
  // Whether a completion of a new queue is signalled on vector `number`; the queue itself works in any case. A polled
  // one while MSI-X is off: the controller may refuse any vector but 0 then.
  const auto signals = [&](int number, std::uint64_t wait_ns, bool polled = false) {
    const auto vector = static_cast<std::uint16_t>(number);
    Queue queue(*drive, ns, polled ? std::nullopt : std::optional(vector));
    quiet();
    Request request;
    queue.submit(request);
    REQUIRE(queue.finish(request));
    return eventfds[vector].wait(wait_ns);
  };
  REQUIRE(device().set_interrupts(InterruptIndex::msix, {}));
  REQUIRE(device().set_interrupts(InterruptIndex::msix, {}));
  CHECK_FALSE(signals(mine, kQuietNs, true));
  install();
  CHECK(signals(mine, kWaitNs));
  if (mine == 0) return;  // no smaller set
  std::vector<int> fds(mine, -1);
  fds.back() = eventfds[mine - 1].fd();
  REQUIRE(device().set_interrupts(InterruptIndex::msix, fds));
  CHECK(signals(mine - 1, kWaitNs));
  CHECK_FALSE(signals(mine, kQuietNs));
  install();
  CHECK(signals(mine, kWaitNs));
}

TEST_CASE_METHOD(Interrupted, "MSI signals as MSI-X does; a device without it refuses") {
  REQUIRE(device().set_interrupts(InterruptIndex::msix, {}));
  if (device().interrupt_info(InterruptIndex::msi)->count == 0) {
    CHECK_FALSE(try_install(InterruptIndex::msi));
    install();  // and MSI-X still can be had
    return;
  }
  install(InterruptIndex::msi);
  REQUIRE(drive->reset());
  {
    Queue queue(*drive, ns, mine);
    quiet();
    Request request;
    queue.submit(request);
    REQUIRE(signalled());
    CHECK(queue.finish(request));
    CHECK(others_are_quiet());
  }
  REQUIRE(device().set_interrupts(InterruptIndex::msi, {}));
}

TEST_CASE_METHOD(Interrupted, "channels work beside a queue that signals, and wake nobody") {
  if (!grants(2)) return;
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  Queue queue(*drive, ns, mine);
  quiet();
  for (unsigned i = 0; i < 10; ++i) REQUIRE(read(*channel, i, buffer.slice(0, block())).ok());
  CHECK_FALSE(eventfds[mine].wait(kQuietNs));
  CHECK(others_are_quiet());
  Request request;
  queue.submit(request);
  CHECK(signalled());
  CHECK(queue.finish(request));
}

TEST_CASE_METHOD(Interrupted, "more eventfds than the device has vectors, and what is no eventfd, are refused") {
  const auto info = device().interrupt_info(InterruptIndex::msix);
  const std::vector<int> many(info->count + 1, eventfds[0].fd());
  CHECK_FALSE(device().set_interrupts(InterruptIndex::msix, many));
  const int closed[] = {1'000'000};
  CHECK_FALSE(device().set_interrupts(InterruptIndex::msix, closed));
  install();
  Queue queue(*drive, ns, mine);
  quiet();
  Request request;
  queue.submit(request);
  CHECK(signalled());
  CHECK(queue.finish(request));
}

}  // namespace
}  // namespace pollux::conformance
