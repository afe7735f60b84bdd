// The ways to wait: whichever a channel's owner chose, everything is answered, a wait ends in time, and a sleeper uses
// no processor.
#include <atomic>
#include <thread>
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

const Wait kWays[] = {Wait::poll, Wait::adaptive, Wait::interrupt};

std::uint64_t ms_since(std::uint64_t begin_ns) { return (steady_clock().now_ns() - begin_ns) / kNsPerMs; }

TEST_CASE_METHOD(TestDevice, "requests are answered by wait() alone, in every way to wait") {
  const auto buffer = allocate(16 * unit());
  for (const Wait way : kWays) {
    INFO(name_of(way));
    const auto channel = open_channel({.depth = 16, .wait = way});
    for (unsigned round = 0; round < 50; ++round) {
      std::vector<Request> requests(channel->depth());
      for (unsigned i = 0; i < channel->depth(); ++i) {
        REQUIRE(channel->read(i, buffer.slice(i * unit(), block()), Request::done, &requests[i]) == Submit::accepted);
      }
      const Deadline deadline;
      while (channel->in_flight() != 0 && !deadline.passed()) channel->wait(1'000);
      for (const Request& request : requests) REQUIRE((request.answers == 1 && request.status.ok()));
    }
  }
}

TEST_CASE_METHOD(TestDevice, "with nothing in flight wait() returns at once") {
  for (const Wait way : kWays) {
    INFO(name_of(way));
    const auto channel = open_channel({.depth = 4, .wait = way});
    const std::uint64_t begin_ns = steady_clock().now_ns();
    CHECK(channel->wait(20'000) == 0);
    CHECK(ms_since(begin_ns) < 10'000);
  }
}

TEST_CASE_METHOD(TestDevice, "several channels may sleep at a time, each on its own interrupt") {
  if (!grants(2)) return;
  std::atomic<unsigned> bad = 0;
  const auto work = [&](Channel& channel, const dma::Slice& into) {
    for (unsigned round = 0; round < 100; ++round) {
      Request request;
      if (channel.read(round, into, Request::done, &request) != Submit::accepted) ++bad;
      const Deadline deadline;
      while (request.answers == 0 && !deadline.passed()) channel.wait(1'000);
      if (request.answers != 1 || !request.status.ok()) ++bad;
    }
  };
  const auto one = open_channel({.depth = 4, .wait = Wait::interrupt});
  const auto other = open_channel({.depth = 4, .wait = Wait::adaptive});
  const auto buffer = allocate(2 * unit());
  std::thread thread([&] { work(*other, buffer.slice(unit(), block())); });
  work(*one, buffer.slice(0, block()));
  thread.join();
  CHECK(bad == 0);
}

TEST_CASE_METHOD(TestDevice, "a sleeper notices a reset that another thread makes, and works again afterwards") {
  const auto channel = open_channel({.depth = 4, .wait = Wait::interrupt});
  const auto buffer = allocate(unit());
  std::atomic<bool> ends = false;
  std::atomic<unsigned> resets_failed = 0;
  std::thread resetter([&] {
    for (unsigned i = 0; i < 5 && !ends; ++i) {
      if (!drive->reset()) ++resets_failed;
      steady_clock().pause_ns(20 * kNsPerMs);
    }
    ends = true;
  });
  unsigned lost = 0;
  while (!ends) {
    Request request;
    if (channel->read(0, buffer.slice(0, block()), Request::done, &request) != Submit::accepted) {
      channel->poll();
      continue;
    }
    const Deadline deadline;
    while (request.answers == 0 && !deadline.passed()) channel->wait(1'000);
    if (request.answers != 1) {
      ++lost;
      break;
    }
  }
  ends = true;
  resetter.join();
  CHECK(lost == 0);
  CHECK(resets_failed == 0);
  CHECK(revived(*channel, buffer.slice(0, block())));
}

TEST_CASE_METHOD(TestDevice, "a way that the processor lacks is refused by name, and no channel is made") {
  const auto channel = drive->open_channel(ns, {.depth = 4, .wait = Wait::monitor});
  if (channel) {
    WARN("this processor can wait for a write: nothing to refuse");
    return;
  }
  CHECK(channel.error().what.find("WAITPKG (umwait)") != std::string::npos);
}

}  // namespace
}  // namespace pollux::conformance
