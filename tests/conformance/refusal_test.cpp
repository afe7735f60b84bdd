// Requests that are refused before they reach the controller: an answer of their own each, and never a callback.
#include <limits>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

class Refusal : public TestDevice {
 public:
  Refusal() : channel(open_channel({.depth = 4})), buffer(allocate(4 * kPage)) {}

  Submit read(std::uint64_t lba, const dma::Slice& into) { return channel->read(lba, into, Request::done, &request); }
  Submit write(std::uint64_t lba, const dma::Slice& from) { return channel->write(lba, from, Request::done, &request); }

  // Nothing was sent, and nothing is answered.
  void check_untouched() {
    CHECK(channel->in_flight() == 0);
    CHECK(channel->poll() == 0);
    CHECK(request.answers == 0);
  }

  std::unique_ptr<Channel> channel;
  dma::Buffer buffer;
  Request request;
};

TEST_CASE_METHOD(Refusal, "a request past the end of the namespace is out of range") {
  const dma::Slice one = buffer.slice(0, block()), two = buffer.slice(0, 2 * block());
  CHECK(read(ns.block_count, one) == Submit::out_of_range);
  CHECK(write(ns.block_count, one) == Submit::out_of_range);
  CHECK(read(ns.block_count - 1, two) == Submit::out_of_range);
  CHECK(write(ns.block_count - 1, two) == Submit::out_of_range);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "an LBA whose end would overflow 64 bits is out of range") {
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  CHECK(read(kLast, buffer.slice(0, block())) == Submit::out_of_range);
  CHECK(write(kLast, buffer.slice(0, 2 * block())) == Submit::out_of_range);
  if (ns.write_zeroes_blocks != 0) {
    CHECK(channel->write_zeroes(kLast, 2, Request::done, &request) == Submit::out_of_range);
    CHECK(channel->write_zeroes(1, kLast, Request::done, &request) == Submit::out_of_range);
    CHECK(channel->write_zeroes(ns.block_count, 1, Request::done, &request) == Submit::out_of_range);
  }
  if (ns.deallocate_blocks != 0) {
    CHECK(channel->deallocate(kLast, 1, Request::done, &request) == Submit::out_of_range);
    CHECK(channel->deallocate(ns.block_count - 1, 2, Request::done, &request) == Submit::out_of_range);
  }
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "no bytes, and bytes that are no whole blocks, are a bad size") {
  CHECK(read(0, buffer.slice(0, 0)) == Submit::bad_size);
  CHECK(write(0, buffer.slice(0, 0)) == Submit::bad_size);
  for (const std::uint64_t size : {std::uint64_t{4}, block() - 4, block() + 4, 2 * block() - 1}) {
    INFO(size << " bytes");
    CHECK(read(0, buffer.slice(0, size)) == Submit::bad_size);
    CHECK(write(0, buffer.slice(0, size)) == Submit::bad_size);
  }
  if (ns.write_zeroes_blocks != 0) CHECK(channel->write_zeroes(0, 0, Request::done, &request) == Submit::bad_size);
  if (ns.deallocate_blocks != 0) CHECK(channel->deallocate(0, 0, Request::done, &request) == Submit::bad_size);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "memory that does not begin at a dword is misaligned") {
  for (const std::uint64_t offset : {1, 2, 3, 4093}) {
    CHECK(read(0, buffer.slice(offset, block())) == Submit::misaligned);
    CHECK(write(0, buffer.slice(offset, block())) == Submit::misaligned);
  }
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "commands that the controller does not offer are unsupported") {
  Namespace poorer = ns;
  poorer.write_zeroes_blocks = 0;
  poorer.deallocate_blocks = 0;
  const auto other = open_channel(poorer, {.depth = 2});
  CHECK(other->write_zeroes(0, 1, Request::done, &request) == Submit::unsupported);
  CHECK(other->deallocate(0, 1, Request::done, &request) == Submit::unsupported);
  CHECK(other->in_flight() == 0);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "what was refused leaves the channel as it was") {
  REQUIRE(read(ns.block_count, buffer.slice(0, block())) == Submit::out_of_range);
  REQUIRE(read(0, buffer.slice(0, block() + 4)) == Submit::bad_size);
  for (unsigned i = 0; i < channel->depth(); ++i) CHECK(read(i, buffer.slice(0, block())) == Submit::accepted);
  CHECK(read(0, buffer.slice(0, block())) == Submit::queue_full);
  REQUIRE(drain(*channel));
  CHECK(request.answers == channel->depth());
}

}  // namespace
}  // namespace pollux::conformance
