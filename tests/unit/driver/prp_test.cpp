#include <catch2/catch.hpp>
#include <vector>

#include "pollux/driver/queue/prp.hpp"

namespace pollux::nvme {
namespace {

// Walks the PRPs as a controller does (NVMe base 2.0c, 4.1.1) and returns the pieces, merged where they touch.
struct Piece {
  std::uint64_t iova, size_bytes;
  friend bool operator==(const Piece&, const Piece&) = default;
};

std::vector<Piece> walk(const Prps& prps, std::uint64_t bytes, const PrpList& list, std::uint32_t list_pages) {
  std::vector<Piece> pieces;
  const auto add = [&](std::uint64_t iova, std::uint64_t count) {
    if (!pieces.empty() && pieces.back().iova + pieces.back().size_bytes == iova) {
      pieces.back().size_bytes += count;
    } else {
      pieces.push_back({iova, count});
    }
  };
  const std::uint64_t first = std::min(bytes, kPageBytes - prps.prp1 % kPageBytes);
  add(prps.prp1, first);
  bytes -= first;
  if (bytes == 0) return pieces;
  if (bytes <= kPageBytes) {
    REQUIRE(prps.prp2 % kPageBytes == 0);
    add(prps.prp2, bytes);
    return pieces;
  }
  std::uint64_t at = prps.prp2;
  while (bytes != 0) {
    REQUIRE((at >= list.iova && at + 8 <= list.iova + list_pages * kPageBytes));
    std::uint64_t entry = list.entries[(at - list.iova) / 8];
    REQUIRE(entry % kPageBytes == 0);
    if (at % kPageBytes == kPageBytes - 8 && bytes > kPageBytes) {
      at = entry;
      continue;
    }
    const std::uint64_t count = std::min(bytes, kPageBytes);
    add(entry, count);
    bytes -= count;
    at += 8;
  }
  return pieces;
}

}  // namespace

TEST_CASE("PRPs cover exactly the bytes of a transfer, at every offset and around every page and list boundary") {
  constexpr std::uint64_t kData = 0x7000'0000'0000, kList = 0x1234'5000;
  std::vector<std::uint64_t> sizes = {4, 512, 1024, 2048};
  for (std::uint64_t pages : {1, 2, 3, 4, 511, 512, 513, 514, 1022, 1023, 1024, 1025, 1535, 1536, 2048, 8192}) {
    for (const std::int64_t delta : {-512, -4, 0, 4, 512}) sizes.push_back(pages * kPageBytes + delta);
  }
  for (const std::uint64_t bytes : sizes) {
    const std::uint32_t list_pages = prp_list_pages(bytes);
    std::vector<std::uint64_t> memory(list_pages * kPrpsAPage + 1, 0xdead);
    const PrpList list{memory.data(), kList};
    for (const std::uint64_t offset : {0u, 4u, 512u, 2048u, 3584u, 4092u}) {
      CAPTURE(bytes, offset);
      const Prps prps = build_prps(kData + offset, bytes, list);
      REQUIRE(walk(prps, bytes, list, list_pages) == std::vector<Piece>{{kData + offset, bytes}});
      REQUIRE(memory.back() == 0xdead);  // no more list memory used than was promised
    }
  }
}

TEST_CASE("PRPs of several pieces cover each of them in order, around every page and list boundary") {
  constexpr std::uint64_t kList = 0x1234'5000, kApart = 0x10'0000'0000;
  for (const std::uint64_t pages : {2, 3, 4, 5, 511, 512, 513, 514, 1023, 1024, 1025, 1535}) {
    for (const std::uint64_t offset : {0u, 4u, 4092u}) {       // where the first piece begins
      for (const std::uint64_t missing : {0u, 512u, 4092u}) {  // of the last page
        for (const std::uint64_t step : {1, 2, 7, 300}) {      // pages a piece
          std::vector<Piece> pieces;
          for (std::uint64_t page = 0; page < pages; page += step) {
            pieces.push_back({kApart * (pieces.size() + 1), std::min(step, pages - page) * kPageBytes});
          }
          pieces.front().iova += offset;
          pieces.front().size_bytes -= offset;
          pieces.back().size_bytes -= missing;
          if (pieces.size() == 1 && offset + missing >= pages * kPageBytes) continue;
          CAPTURE(pages, offset, missing, step);
          const std::uint64_t bytes = pages * kPageBytes - offset - missing;
          const std::uint32_t list_pages = prp_list_pages(bytes);
          std::vector<std::uint64_t> memory(std::max(1u, list_pages) * kPrpsAPage + 1, 0xdead);
          const PrpList list{memory.data(), kList};
          Prps prps{};
          REQUIRE(build_prps(std::span<const Piece>(pieces), list, prps));
          REQUIRE(walk(prps, bytes, list, list_pages) == pieces);
          REQUIRE(memory.back() == 0xdead);
        }
      }
    }
  }
}

TEST_CASE("pieces that do not meet at pages, begin with nothing, or begin between dwords do not fit PRPs") {
  std::uint64_t memory[kPrpsAPage];
  const auto fits = [&](std::vector<Piece> pieces) {
    Prps prps{};
    return build_prps(std::span<const Piece>(pieces), {memory, 0x8000}, prps);
  };
  CHECK(fits({{0x1200, 0xe00}, {0x5000, 0x1000}, {0x9000, 0x200}}));
  CHECK(fits({{0x1204, 4}}));
  CHECK_FALSE(fits({{0x1000, 0}}));
  CHECK(fits({{0x1000, 0x1000}, {0x3000, 0}, {0x5000, 0x1000}}));  // an empty one in between adds nothing
  CHECK_FALSE(fits({{0x1002, 0x200}}));
  CHECK_FALSE(fits({{0x1000, 0xe00}, {0x5000, 0x1000}}));
  CHECK_FALSE(fits({{0x1000, 0x1000}, {0x5200, 0x1000}}));
  CHECK_FALSE(fits({{0x1000, 0x1000}, {0x5000, 0x200}, {0x9000, 0x1000}}));
}

TEST_CASE("many small pieces write no more of the list than their bytes allow") {
  std::vector<std::uint64_t> memory(kPrpsAPage + 1, 0xdead);
  std::vector<Piece> pieces(8 * kPrpsAPage, Piece{0x5000, 512});
  Prps prps{};
  CHECK_FALSE(build_prps(std::span<const Piece>(pieces), {memory.data(), 0x8000}, prps));
  CHECK(memory.back() == 0xdead);
}

TEST_CASE("a list's last slot holds data when nothing follows, and the chain when something does") {
  std::vector<std::uint64_t> memory(2 * kPrpsAPage);
  const PrpList list{memory.data(), 0x10'0000};
  build_prps(0, (1 + kPrpsAPage) * kPageBytes, list);
  CHECK(memory[kPrpsAPage - 1] == kPrpsAPage * kPageBytes);
  build_prps(0, (2 + kPrpsAPage) * kPageBytes, list);
  CHECK(memory[kPrpsAPage - 1] == list.iova + kPageBytes);
  CHECK(memory[kPrpsAPage] == kPrpsAPage * kPageBytes);
}

TEST_CASE("one page needs no PRP2, two pages need no list") {
  const PrpList none{nullptr, 0};
  CHECK(prp_list_pages(4096) == 0);
  CHECK(build_prps(0x3000, 4096, none).prp2 == 0);
  CHECK(build_prps(0x3e00, 4096, none).prp2 == 0x4000);
  CHECK(build_prps(0x3000, 8192, none).prp2 == 0x4000);
}

}  // namespace pollux::nvme
