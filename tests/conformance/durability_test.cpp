// Flush and Force Unit Access. That the bytes outlive a power loss cannot be seen from here; that the commands are
// right and answered can.
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice, "a flush after writes is answered with success, and the data is there") {
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  write_pattern(*channel, 5, buffer.slice(0, block()), 1);
  CHECK(flush(*channel).ok());
  CHECK(holds_pattern(*channel, 5, buffer.slice(0, block()), 1));
}

TEST_CASE_METHOD(TestDevice, "a flush of an empty cache is answered with success") {
  const auto channel = open_channel({.depth = 1});
  CHECK(flush(*channel).ok());
  CHECK(flush(*channel).ok());
}

TEST_CASE_METHOD(TestDevice, "a write with FUA is answered with success, in one command and split") {
  const auto channel = open_channel({.depth = 4, .max_transfer_bytes = static_cast<std::uint32_t>(2 * unit())});
  const auto buffer = allocate(8 * unit());
  for (const std::uint64_t size : {block(), 2 * unit(), 7 * unit()}) {
    const dma::Slice slice = buffer.slice(0, size);
    fill(slice, size, words(3));
    CHECK(write(*channel, 3, slice, true).ok());
    CHECK(holds_pattern(*channel, 3, slice, size));
  }
}

TEST_CASE_METHOD(TestDevice, "flushes and writes may be in flight together") {
  const auto channel = open_channel({.depth = 16});
  const auto buffer = allocate(unit());
  Request requests[16];
  fill(buffer.slice(0, block()), 1, words(0));
  for (unsigned i = 0; i < 16; ++i) {
    Submit submitted = Submit::queue_full;
    for (const Deadline deadline; submitted == Submit::queue_full && !deadline.passed(); channel->poll()) {
      submitted = i % 4 == 3 ? channel->flush(Request::done, &requests[i])
                             : channel->write(0, buffer.slice(0, block()), Request::done, &requests[i], i % 2 != 0);
    }
    REQUIRE(submitted == Submit::accepted);
  }
  REQUIRE(drain(*channel));
  for (const Request& request : requests) CHECK((request.answers == 1 && request.status.ok()));
}

}  // namespace
}  // namespace pollux::conformance
