// Every size and every offset in memory that a PRP treats differently: what is written is what is read, no byte beside
// it moves, neither in memory nor on the drive.
#include <set>
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

constexpr std::uint64_t kLba = 7;  // not 0, and no multiple of a page's worth of blocks
constexpr std::uint64_t kMargin = kPage;

class Transfer : public TestDevice {
 public:
  Transfer()
      : channel(open_channel({.depth = 16})),
        limit(channel->max_transfer_bytes()),
        source(allocate(2 * limit + 32 * unit() + 4 * kPage)),
        target(allocate(2 * limit + 32 * unit() + 4 * kPage)) {}

  // Writes from `write_offset` within a page, reads to `read_offset` within one; checks the bytes before and behind,
  // too.
  void round_trip(std::uint64_t size, std::uint64_t write_offset, std::uint64_t read_offset) {
    INFO(size << " bytes, written from offset " << write_offset << ", read to " << read_offset);
    ++seed_;
    const dma::Slice from = source.slice(kMargin + write_offset, size);
    fill(from, seed_, words(kLba));
    REQUIRE(write(*channel, kLba, from).ok());

    const dma::Slice before = target.slice(0, kMargin + read_offset);
    const dma::Slice into = target.slice(kMargin + read_offset, size);
    const dma::Slice behind = target.slice(kMargin + read_offset + size, kPage);
    for (const dma::Slice& part : {before, into, behind}) fill_bytes(part, kGuard);
    REQUIRE(read(*channel, kLba, into).ok());
    CHECK_FALSE(first_difference(into, seed_, words(kLba)));
    CHECK(all_bytes(before, kGuard));
    CHECK(all_bytes(behind, kGuard));
  }

  std::unique_ptr<Channel> channel;
  std::uint64_t limit;
  dma::Buffer source, target;

 private:
  std::uint64_t seed_ = 0;
};

TEST_CASE_METHOD(Transfer, "every size around a page boundary arrives whole, from and to any place in a page") {
  std::set<std::uint64_t> sizes;
  for (const std::uint64_t around : {unit(), 2 * unit(), 3 * unit(), 8 * unit()}) {
    sizes.insert({around - block(), around, around + block()});
  }
  sizes.erase(0);
  sizes.insert(block());
  constexpr std::uint64_t kOffsets[] = {0, 4, 512, 2048, kPage - 512, kPage - 4};
  for (const std::uint64_t size : sizes) {
    for (const std::uint64_t offset : kOffsets) round_trip(size, offset, kPage - 4 - offset);
  }
}

TEST_CASE_METHOD(Transfer, "every size around the controller's limit arrives whole, in one command or in several") {
  for (const std::uint64_t size : {limit - block(), limit, limit + block(), 2 * limit, 2 * limit + block()}) {
    if (size == 0) continue;  // the limit is one block
    round_trip(size, 0, kPage - 4);
    round_trip(size, kPage - 4, 0);
  }
}

TEST_CASE_METHOD(Transfer, "where a PRP list is exactly full or one entry longer, nothing is lost") {
  // A page of a list holds 512 entries; PRP1 takes one page more.
  constexpr std::uint64_t kAround[] = {511, 512, 513, 514, 515};
  if (limit < kAround[0] * kPage) {
    WARN("this controller takes " << limit << " bytes at once: its PRP lists never fill a page");
    return;
  }
  for (const std::uint64_t pages : kAround) {
    if (pages * kPage % block() != 0) continue;
    round_trip(pages * kPage, 0, 4);
    round_trip(pages * kPage, 4, 0);
  }
}

TEST_CASE_METHOD(Transfer, "several pieces that meet at pages are written and read as one command") {
  // The first piece ends at a page, the last begins at one; between them lie whole pages, in no order. As many as a
  // command takes, and whole blocks in all.
  const std::uint64_t most = std::min(limit, std::max(4 * kPage, 2 * block()));
  const std::uint64_t bytes = most - most % block(), head = kPage / 2;
  const std::uint64_t between = std::min<std::uint64_t>(3, (bytes - head - 1) / kPage);
  const std::uint64_t tail = bytes - head - between * kPage;
  const auto memory = allocate(8 * kPage + tail);
  std::vector<dma::Slice> pieces = {memory.slice(7 * kPage - head, head)};
  if (between != 0) pieces.push_back(memory.slice(2 * kPage, kPage));
  if (between > 1) pieces.push_back(memory.slice(0, (between - 1) * kPage));
  pieces.push_back(memory.slice(8 * kPage, tail));
  const dma::Slice whole = source.slice(0, bytes);
  write_pattern(*channel, kLba, whole, 8);

  fill_bytes(memory.slice(), kGuard);
  Request request;
  REQUIRE(channel->readv(kLba, pieces, Request::done, &request) == Submit::accepted);
  CHECK(channel->in_flight() == 1);
  REQUIRE(drain(*channel));
  REQUIRE((request.answers == 1 && request.status.ok()));
  std::uint64_t at = 0;
  for (const dma::Slice& piece : pieces) {
    CHECK_FALSE(first_difference(piece, 8, words(kLba) + at / sizeof(std::uint64_t)));
    at += piece.size_bytes;
  }
  CHECK(all_bytes(memory.slice(5 * kPage, kPage), kGuard));

  REQUIRE(channel->writev(kLba + 64, pieces, Request::done, &request) == Submit::accepted);
  REQUIRE(drain(*channel));
  REQUIRE((request.answers == 2 && request.status.ok()));
  fill_bytes(whole, kGuard);
  REQUIRE(read(*channel, kLba + 64, whole).ok());
  CHECK_FALSE(first_difference(whole, 8, words(kLba)));
}

TEST_CASE_METHOD(Transfer, "several pieces are refused where they do not meet at pages or are more than one command") {
  const std::uint64_t bytes = std::min(limit, 2 * unit()), rest = bytes - kPage;
  const auto memory = allocate(bytes + 4 * kPage);
  Request request;
  const auto readv = [&](std::initializer_list<dma::Slice> pieces) {
    return channel->readv(kLba, pieces, Request::done, &request);
  };
  const dma::Slice page = memory.slice(0, kPage), whole = memory.slice(0, bytes);
  CHECK(readv({memory.slice(kPage / 2, kPage), memory.slice(2 * kPage, rest)}) == Submit::misaligned);
  CHECK(readv({page, memory.slice(kPage + 4, rest)}) == Submit::misaligned);
  CHECK(readv({memory.slice(kPage, 0), whole}) == Submit::misaligned);
  CHECK(readv({}) == Submit::bad_size);
  CHECK(readv({whole, memory.slice(kPage, 4)}) == Submit::bad_size);
  const std::vector<dma::Slice> many(limit / kPage + 1, page);
  CHECK(channel->readv(kLba, many, Request::done, &request) == Submit::bad_size);
  CHECK(request.answers == 0);
}

TEST_CASE_METHOD(Transfer, "a block may begin at any dword of a page") {
  write_pattern(*channel, kLba, source.slice(0, block()), 1);
  channel.reset();
  channel = open_channel({.depth = 64});
  const unsigned at_once = channel->depth();
  const auto targets = allocate(at_once * 2 * unit());
  for (std::uint64_t first = 0; first < kPage; first += at_once * 4) {
    std::vector<Request> requests(at_once);
    std::vector<dma::Slice> into(at_once);
    for (unsigned i = 0; i < at_once; ++i) {
      into[i] = targets.slice(i * 2 * unit() + (first + i * 4) % kPage, block());
      fill_bytes(into[i], kGuard);
      REQUIRE(channel->read(kLba, into[i], Request::done, &requests[i]) == Submit::accepted);
    }
    REQUIRE(drain(*channel));
    for (unsigned i = 0; i < at_once; ++i) {
      INFO("read to offset " << first + i * 4);
      REQUIRE((requests[i].answers == 1 && requests[i].status.ok()));
      REQUIRE_FALSE(first_difference(into[i], 1, words(kLba)));
    }
  }
}

TEST_CASE_METHOD(Transfer, "the first and the last block of the namespace can be written and read") {
  const dma::Slice one = source.slice(0, block());
  const std::uint64_t last = ns.block_count - 1;
  write_pattern(*channel, 0, one, 1);
  write_pattern(*channel, last, one, 2);
  CHECK(holds_pattern(*channel, 0, one, 1));
  CHECK(holds_pattern(*channel, last, one, 2));

  const dma::Slice three = source.slice(0, 3 * block());
  write_pattern(*channel, last - 2, three, 3);
  CHECK(holds_pattern(*channel, last - 2, three, 3));
}

TEST_CASE_METHOD(Transfer, "a write leaves the blocks beside it alone") {
  constexpr std::uint64_t kBlocks = 24, kInner = 5, kInnerAt = 9;
  const dma::Slice all = source.slice(0, kBlocks * block());
  write_pattern(*channel, kLba, all, 1);
  write_pattern(*channel, kLba + kInnerAt, source.slice(0, kInner * block()), 2);

  CHECK(holds_pattern(*channel, kLba, target.slice(0, kInnerAt * block()), 1));
  CHECK(holds_pattern(*channel, kLba + kInnerAt, target.slice(0, kInner * block()), 2));
  const std::uint64_t behind = kInnerAt + kInner;
  CHECK(holds_pattern(*channel, kLba + behind, target.slice(0, (kBlocks - behind) * block()), 1));
}

TEST_CASE_METHOD(Transfer, "requests in flight at the same time each get their own bytes") {
  constexpr unsigned kRequests = 16;
  Request requests[kRequests];
  const std::uint64_t size = unit() + block();
  const std::uint64_t step = size / block();
  for (unsigned i = 0; i < kRequests; ++i) {
    write_pattern(*channel, kLba + i * step, source.slice(0, size), i);
  }
  const dma::Slice all = target.slice(0, kRequests * size);
  fill_bytes(all, kGuard);
  for (unsigned i = 0; i < kRequests; ++i) {
    submit_read(*channel, kLba + i * step, all.part(i * size, size), requests[i]);
  }
  REQUIRE(drain(*channel));
  for (unsigned i = 0; i < kRequests; ++i) {
    INFO("request " << i);
    CHECK(requests[i].answers == 1);
    CHECK(requests[i].status.ok());
    CHECK_FALSE(first_difference(all.part(i * size, size), i, words(kLba + i * step)));
  }
}

}  // namespace
}  // namespace pollux::conformance
