// Requests that are refused before they reach the controller: an answer of their own each, and never a callback.
#include <limits>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

class Refusal : public TestDevice {
 public:
  Refusal() : channel(open_channel({.depth = 4})), buffer(allocate(4 * unit())) {}

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
  channel.reset();
  channel = open_channel(poorer, {.depth = 2});
  CHECK(channel->write_zeroes(0, 1, Request::done, &request) == Submit::unsupported);
  CHECK(channel->deallocate(0, 1, Request::done, &request) == Submit::unsupported);
  check_untouched();
}

// Another drive, whose space has nothing to do with this one's.
std::unique_ptr<Drive> open_other() {
  auto other = Drive::open("soft:size=1MiB,block=4096", open_options());
  REQUIRE(other);
  return std::move(*other);
}

TEST_CASE_METHOD(Refusal, "memory of another drive's space is foreign") {
  const auto other = open_other();
  const auto elsewhere = other->allocate(4 * unit());
  REQUIRE(elsewhere);
  const dma::Slice foreign = elsewhere->slice(0, block());
  CHECK(read(0, foreign) == Submit::foreign_memory);
  CHECK(write(0, foreign) == Submit::foreign_memory);
  CHECK(read(0, elsewhere->slice()) == Submit::foreign_memory);
  const dma::Slice mixed[] = {buffer.slice(0, unit()), elsewhere->slice(0, unit())};
  CHECK(channel->readv(0, mixed, Request::done, &request) == Submit::foreign_memory);
  CHECK(channel->writev(0, mixed, Request::done, &request) == Submit::foreign_memory);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "a part that does not lie within its slice is nobody's memory, and foreign") {
  const dma::Slice whole = buffer.slice();
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  struct Part {
    std::uint64_t offset, bytes;
  };
  for (const auto [offset, bytes] :
       {Part{0, whole.size_bytes + block()}, Part{whole.size_bytes, block()}, Part{whole.size_bytes + 4, 0},
        Part{kMost, block()}, Part{block(), kMost}, Part{kMost - block() + 1, block()}}) {
    INFO(offset << " + " << bytes);
    const dma::Slice part = buffer.slice(offset, bytes);
    CHECK(part.data == nullptr);
    CHECK(part.size_bytes == 0);
    CHECK(read(0, part) == Submit::foreign_memory);
    CHECK(write(0, whole.part(offset, bytes)) == Submit::foreign_memory);
    CHECK(channel->readv(0, {&part, 1}, Request::done, &request) == Submit::foreign_memory);
    CHECK(read(0, part.part(0, 0)) == Submit::foreign_memory);
  }
  CHECK(buffer.slice(whole.size_bytes, 0).data == whole.data + whole.size_bytes);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "a buffer that was moved from, a slice of none and one that nobody made are foreign") {
  auto gone = allocate(unit());
  const dma::Buffer holder = std::move(gone);
  CHECK(read(0, gone.slice()) == Submit::foreign_memory);
  CHECK(read(0, dma::Buffer().slice()) == Submit::foreign_memory);
  CHECK(read(0, dma::Registration().slice()) == Submit::foreign_memory);
  CHECK(read(0, {buffer.slice().data, buffer.slice().iova, block()}) == Submit::foreign_memory);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "a request without a callback is refused") {
  const dma::Slice one = buffer.slice(0, block());
  CHECK(channel->read(0, one, nullptr, &request) == Submit::no_callback);
  CHECK(channel->write(0, one, nullptr, &request) == Submit::no_callback);
  CHECK(channel->readv(0, {&one, 1}, nullptr, &request) == Submit::no_callback);
  CHECK(channel->writev(0, {&one, 1}, nullptr, &request) == Submit::no_callback);
  CHECK(channel->flush(nullptr, &request) == Submit::no_callback);
  CHECK(channel->write_zeroes(0, 1, nullptr, &request) == Submit::no_callback);
  CHECK(channel->deallocate(0, 1, nullptr, &request) == Submit::no_callback);
  check_untouched();
}

TEST_CASE_METHOD(Refusal, "a namespace of another drive opens no channel") {
  const auto other = open_other();
  const auto theirs = other->open_namespace();
  REQUIRE(theirs);
  const auto refused = drive->open_channel(*theirs);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message(), Catch::Contains("another drive"));
  CHECK_FALSE(other->open_channel(ns));
  CHECK(other->open_channel(*theirs));
}

TEST_CASE_METHOD(Refusal, "a namespace that no drive has given opens no channel") {
  for (const Namespace& made : {Namespace{}, Namespace{.nsid = 1, .block_size_bytes = 512, .block_count = 8}}) {
    const auto refused = drive->open_channel(made);
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message(), Catch::Contains("open_namespace()"));
  }
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
