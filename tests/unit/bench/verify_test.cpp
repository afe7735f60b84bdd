// What verified blocks hold, which of them may be judged, and how a mismatch reads.
#include "pollux/bench/verify.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

using namespace pollux::bench;

namespace {

constexpr std::uint32_t kBytes = 4096;

Verifier make(std::uint32_t job = 0, std::uint64_t run = 42) {
  auto verifier =
      Verifier::create({.run = run, .job = job, .offset_bytes = 1 << 20, .block_bytes = kBytes, .blocks = 16});
  REQUIRE(verifier);
  return std::move(*verifier);
}

std::vector<std::byte> write(Verifier& verifier, std::uint64_t block) {
  std::vector<std::byte> data(kBytes);
  verifier.fill(block, data);
  verifier.write_begins(block);
  verifier.write_ends(block, true);
  return data;
}

std::vector<std::byte> fail_to_write(Verifier& verifier, std::uint64_t block) {
  std::vector<std::byte> data(kBytes);
  verifier.fill(block, data);
  verifier.write_begins(block);
  verifier.write_ends(block, false);
  return data;
}

bool holds(const std::optional<std::string>& text, std::string_view part) {
  return text && text->find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a block that was written is found right, and only with its generation") {
  Verifier verifier = make();
  const auto first = write(verifier, 3);
  CHECK(verifier.expected(3) == 1);
  CHECK_FALSE(verifier.mismatch(3, 1, first));
  const auto second = write(verifier, 3);
  CHECK(verifier.expected(3) == 2);
  CHECK_FALSE(verifier.mismatch(3, 2, second));
  CHECK(verifier.mismatch(3, 2, first));
}

TEST_CASE("any flipped bit is found, in the header and behind it") {
  Verifier verifier = make();
  const auto good = write(verifier, 0);
  for (std::size_t bit = 0; bit < kBytes * 8; bit += bit < 64 * 8 ? 1 : 61) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    INFO("bit " << bit);
    REQUIRE(verifier.mismatch(0, 1, bad));
  }
}

TEST_CASE("a mismatch names offset, expected and found, and where they begin to differ") {
  Verifier verifier = make(5);
  const auto one = write(verifier, 1);
  const auto two = write(verifier, 2);
  const auto swapped = verifier.mismatch(1, 1, two);
  CHECK(holds(swapped, "verify: mismatch at offset 1052672 (4096 bytes)\n"));
  CHECK(holds(swapped, "expected offset=1052672 job=5 generation=1 size=4096 crc32c="));
  CHECK(holds(swapped, "found    offset=1056768 job=5 generation=1 size=4096 crc32c="));
  CHECK(holds(swapped, "first difference at offset 1052689: expected"));  // the second byte of the header's offset

  auto flipped = one;
  flipped[1000] ^= std::byte{1};
  CHECK(holds(verifier.mismatch(1, 1, flipped), "first difference at offset 1053672: expected"));

  const std::vector<std::byte> zeros(kBytes);
  CHECK(holds(verifier.mismatch(1, 1, zeros), "no header, every byte is 00"));
}

TEST_CASE("the block of another job, run or place is never taken for this one's") {
  Verifier mine = make(1, 42), other_job = make(2, 42), other_run = make(1, 43);
  const auto good = write(mine, 7);
  CHECK_FALSE(mine.mismatch(7, 1, good));
  CHECK(mine.mismatch(7, 1, write(other_job, 7)));
  CHECK(mine.mismatch(7, 1, write(other_run, 7)));
  CHECK(mine.mismatch(7, 1, write(mine, 8)));
}

TEST_CASE("a piece of an older generation within the block is found") {
  Verifier verifier = make();
  const auto first = write(verifier, 0);
  auto torn = write(verifier, 0);
  std::memcpy(torn.data() + 512, first.data() + 512, 512);
  CHECK(verifier.mismatch(0, 2, torn));
}

TEST_CASE("a block that this run has not written, or is writing, is not judged") {
  Verifier verifier = make();
  CHECK(verifier.expected(4) == 0);
  verifier.write_begins(4);
  CHECK(verifier.write_outstanding(4));
  CHECK(verifier.expected(4) == 0);
  verifier.write_ends(4, true);
  CHECK(verifier.expected(4) == 1);
}

TEST_CASE("a read is not judged when a write of its block began before it ended") {
  Verifier verifier = make();
  write(verifier, 4);
  const std::uint32_t expected = verifier.expected(4);
  CHECK(verifier.judgeable(4, expected));
  verifier.write_begins(4);
  CHECK_FALSE(verifier.judgeable(4, expected));
  verifier.write_ends(4, true);
  CHECK_FALSE(verifier.judgeable(4, expected));
  CHECK_FALSE(verifier.judgeable(5, 0));
}

TEST_CASE("a block whose writes failed may be, piece by piece, of any of them or as it was before, and nothing else") {
  Verifier verifier = make();
  const auto older = write(verifier, 4), before = write(verifier, 4), failed = fail_to_write(verifier, 4),
             failed_too = fail_to_write(verifier, 4);
  const std::uint32_t expected = verifier.expected(4);
  REQUIRE(expected != 0);
  CHECK(verifier.judgeable(4, expected));
  for (const auto* good : {&before, &failed, &failed_too}) CHECK_FALSE(verifier.mismatch(4, expected, *good));
  auto mixed = before;
  std::memcpy(mixed.data() + 512, failed.data() + 512, 1024);
  std::memcpy(mixed.data() + 3584, failed_too.data() + 3584, 512);
  CHECK_FALSE(verifier.mismatch(4, expected, mixed));

  CHECK(holds(verifier.mismatch(4, expected, older), ", or pieces of any generation from 2 on\n"));
  auto torn = before;
  std::memcpy(torn.data() + 512, failed.data() + 512, 100);
  CHECK(verifier.mismatch(4, expected, torn));
  mixed[4000] ^= std::byte{1};
  CHECK(verifier.mismatch(4, expected, mixed));
  CHECK(verifier.mismatch(4, expected, std::vector<std::byte>(kBytes)));
}

TEST_CASE("once such a block is written again it has one content, which is none of those before") {
  Verifier verifier = make();
  const auto before = write(verifier, 4), failed = fail_to_write(verifier, 4);
  const std::uint32_t then = verifier.expected(4);
  const auto after = write(verifier, 4);
  const std::uint32_t expected = verifier.expected(4);
  CHECK_FALSE(verifier.judgeable(4, then));
  CHECK_FALSE(verifier.mismatch(4, expected, after));
  CHECK(verifier.mismatch(4, expected, before));
  CHECK(verifier.mismatch(4, expected, failed));
}

TEST_CASE("a block is not judged whose first write failed, or whose writes failed too often, until it is written") {
  Verifier verifier = make();
  const auto lost = fail_to_write(verifier, 4);
  CHECK(verifier.expected(4) == 0);
  CHECK(verifier.written() == 0);
  CHECK(verifier.next_written(0) == 16);
  const auto data = write(verifier, 4);
  CHECK_FALSE(verifier.mismatch(4, verifier.expected(4), data));
  CHECK(verifier.mismatch(4, verifier.expected(4), lost));

  for (unsigned i = 0; i < Verifier::kMaxFailedWrites; ++i) fail_to_write(verifier, 4);
  CHECK(verifier.expected(4) != 0);
  CHECK(verifier.written() == 1);
  fail_to_write(verifier, 4);
  CHECK(verifier.expected(4) == 0);
  CHECK(verifier.written() == 0);
  write(verifier, 4);
  CHECK(verifier.next_written(0) == 4);
}

TEST_CASE("written blocks are counted and found in order") {
  Verifier verifier = make();
  for (const std::uint64_t block : {2u, 3u, 15u, 3u}) write(verifier, block);
  CHECK(verifier.written() == 3);
  CHECK(verifier.next_written(0) == 2);
  CHECK(verifier.next_written(3) == 3);
  CHECK(verifier.next_written(4) == 15);
  CHECK(verifier.next_written(16) == 16);
}
