// The queue pair as its owner meets it: full, wrapping, shallow, deep, and entered from its own callbacks.
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice,
                 "a queue takes exactly its depth, then says that it is full; polled, it takes as many again") {
  const auto channel = open_channel({.depth = 8});
  const unsigned depth = channel->depth();
  REQUIRE(depth == std::min(8u, drive->controller().max_queue_entries() - 1));
  const auto buffer = allocate(unit());
  for (int round = 0; round < 5; ++round) {
    std::vector<Request> requests(depth + 1);
    for (unsigned i = 0; i < depth; ++i) {
      CHECK(channel->in_flight() == i);
      REQUIRE(channel->read(i, buffer.slice(0, block()), Request::done, &requests[i]) == Submit::accepted);
    }
    CHECK(channel->read(0, buffer.slice(0, block()), Request::done, &requests[depth]) == Submit::queue_full);
    CHECK(channel->flush(Request::done, &requests[depth]) == Submit::queue_full);
    CHECK(channel->in_flight() == depth);
    REQUIRE(drain(*channel));
    for (unsigned i = 0; i < depth; ++i) CHECK((requests[i].answers == 1 && requests[i].status.ok()));
    CHECK(requests[depth].answers == 0);
  }
}

TEST_CASE_METHOD(TestDevice,
                 "many times more requests than entries go round the queue and come back in order of nothing") {
  constexpr unsigned kRequests = 1500;
  const auto channel = open_channel({.depth = 5});
  const auto buffer = allocate(unit());
  std::vector<Request> requests(kRequests);
  const Deadline deadline;
  for (unsigned sent = 0; sent < kRequests;) {
    const Submit submitted =
        channel->read(sent % ns.block_count, buffer.slice(0, block()), Request::done, &requests[sent]);
    if (submitted == Submit::accepted) {
      ++sent;
      continue;
    }
    if (submitted != Submit::queue_full) FAIL("refused with answer " << static_cast<int>(submitted));
    if (deadline.passed()) FAIL("the queue stays full");
    channel->poll();
  }
  REQUIRE(drain(*channel));
  unsigned wrong = 0;
  for (const Request& request : requests) wrong += request.answers == 1 && request.status.ok() ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE_METHOD(TestDevice, "a queue of depth one works") {
  const auto channel = open_channel({.depth = 1});
  CHECK(channel->depth() == 1);
  const auto buffer = allocate(unit());
  for (std::uint64_t lba = 0; lba < 8; ++lba) {
    write_pattern(*channel, lba, buffer.slice(0, block()), lba);
    CHECK(holds_pattern(*channel, lba, buffer.slice(0, block()), lba));
  }
}

TEST_CASE_METHOD(TestDevice,
                 "a depth beyond what the controller's queues hold is lowered to it, and all of it can be used") {
  const auto channel = open_channel({.depth = 4095, .max_transfer_bytes = static_cast<std::uint32_t>(unit())});
  const unsigned depth = channel->depth();
  CHECK(depth < drive->controller().max_queue_entries());
  CHECK(depth >= std::min(4095u, drive->controller().max_queue_entries() / 2 - 1));
  const auto buffer = allocate(unit());
  Request request;
  for (unsigned i = 0; i < depth; ++i) {
    REQUIRE(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::accepted);
  }
  CHECK(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::queue_full);
  REQUIRE(drain(*channel));
  CHECK(request.answers == depth);
}

TEST_CASE_METHOD(TestDevice, "poll answers no more than it is asked for, and tells how many it did") {
  const auto channel = open_channel({.depth = 8});
  const unsigned requests = std::min(6u, channel->depth());
  const auto buffer = allocate(unit());
  Request request;
  for (unsigned i = 0; i < requests; ++i) {
    REQUIRE(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::accepted);
  }
  const Deadline deadline;
  unsigned answered = 0, wrong = 0;
  while (answered < requests && !deadline.passed()) {
    const unsigned before = request.answers;
    const unsigned now = channel->poll(2);
    if (now > 2 || request.answers != before + now) ++wrong;
    answered += now;
  }
  CHECK(wrong == 0);
  CHECK(answered == requests);
  CHECK(channel->poll() == 0);
}

// Reads the next block from the callback of the one before.
struct Chain {
  Channel& channel;
  dma::Slice into;
  std::uint64_t blocks_left;
  unsigned answers = 0, refused = 0, failed = 0;

  void next() noexcept {
    --blocks_left;
    if (channel.read(blocks_left, into, done, this) != Submit::accepted) ++refused;
  }
  static void done(void* context, nvme::Status status) noexcept {
    Chain& chain = *static_cast<Chain*>(context);
    ++chain.answers;
    if (!status.ok()) ++chain.failed;
    if (chain.blocks_left != 0) chain.next();
  }
};

TEST_CASE_METHOD(TestDevice, "a callback may submit: its own request has left a place, even in a queue of one") {
  constexpr unsigned kLength = 50;
  const auto channel = open_channel({.depth = 1});
  const auto buffer = allocate(unit());
  Chain chain{*channel, buffer.slice(0, block()), kLength};
  chain.next();
  REQUIRE(drain(*channel));
  CHECK(chain.answers == kLength);
  CHECK(chain.refused == 0);
  CHECK(chain.failed == 0);
}

TEST_CASE_METHOD(TestDevice, "several chains of callbacks share a queue") {
  constexpr unsigned kLength = 100;
  const auto channel = open_channel({.depth = 3});
  const auto buffer = allocate(unit());
  std::vector<Chain> chains(channel->depth(), Chain{*channel, buffer.slice(0, block()), kLength});
  for (Chain& chain : chains) chain.next();
  REQUIRE(drain(*channel));
  for (const Chain& chain : chains) {
    CHECK(chain.answers == kLength);
    CHECK(chain.refused + chain.failed == 0);
  }
}

}  // namespace
}  // namespace pollux::conformance
