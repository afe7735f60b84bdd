// Data pointers: every shape that PRPs can take, and those they cannot.
#include <algorithm>
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::IoOpcode;
using nvme::StatusCode;

constexpr std::uint64_t kEntries = kPage / 8;  // of a page of a list

// Scatters a buffer over pages in reverse order, so that nothing is contiguous, and builds the PRPs for it.
struct Scattered {
  std::uint64_t prp1 = 0;
  std::uint64_t prp2 = 0;
  std::vector<std::uint64_t> pages;

  // `offset` in the first page; the list begins at `list_offset` of its page.
  Scattered(RawHost& host, std::uint64_t bytes, std::uint64_t offset, std::uint64_t list_offset = 0) {
    const std::uint64_t count = (offset + bytes + kPage - 1) / kPage;
    const std::uint64_t memory = host.pages(count);
    for (std::uint64_t i = 0; i < count; ++i) pages.push_back(memory + (count - 1 - i) * kPage);
    prp1 = pages[0] + offset;
    if (count == 2) prp2 = pages[1];
    if (count <= 2) return;
    std::uint64_t slot = host.pages(1) + list_offset;
    prp2 = slot;
    for (std::uint64_t i = 1; i < count; ++i) {
      if (slot % kPage == kPage - 8 && i + 1 < count) {
        const std::uint64_t next = host.pages(1);
        host.as<std::uint64_t>(slot) = next;
        slot = next;
      }
      host.as<std::uint64_t>(slot) = pages[i];
      slot += 8;
    }
  }

  // The bytes in the order of the data.
  std::vector<std::byte> gather(RawHost& host, std::uint64_t bytes) const {
    std::vector<std::byte> data;
    std::uint64_t offset = prp1 - pages[0];
    for (const std::uint64_t page : pages) {
      const std::uint64_t length = std::min(kPage - offset, bytes - data.size());
      data.insert(data.end(), host.at(page + offset), host.at(page + offset + length));
      offset = 0;
    }
    return data;
  }
};

TEST_CASE(
    "data of any length at any dword of a page arrives in order, through lists that chain and that begin mid-page") {
  struct Shape {
    std::uint32_t blocks;
    std::uint64_t offset;
    std::uint64_t list_offset;
  };
  const Shape shape =
      GENERATE(Shape{1, 0, 0}, Shape{1, 4, 0}, Shape{1, kPage - 4, 0}, Shape{8, 0, 0}, Shape{8, 512, 0}, Shape{9, 0, 0},
               Shape{16, 0, 0}, Shape{16, 4, 0}, Shape{17, 0, 0}, Shape{24, 0, kPage - 16}, Shape{24, 0, kPage - 8},
               Shape{256, 2048, 8}, Shape{8 * 513, 0, 0}, Shape{8 * 514, 0, 0}, Shape{8 * 1025, 100, kPage - 24});
  CAPTURE(shape.blocks, shape.offset, shape.list_offset);
  RawHost host({.block_count = 8 * 1025, .mdts = 0});
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t bytes = std::uint64_t{shape.blocks} * 512;
  std::vector<std::byte> content(bytes);
  fill_pattern(content, shape.blocks);
  REQUIRE(host.store->write(0, content));

  const Scattered in(host, bytes, shape.offset, shape.list_offset);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, shape.blocks, in.prp1, in.prp2)) == StatusCode::success);
  CHECK(in.gather(host, bytes) == content);

  REQUIRE(host.store->zero(0, bytes));
  CHECK(host.status(queue, io_command(IoOpcode::write, 0, shape.blocks, in.prp1, in.prp2)) == StatusCode::success);
  std::vector<std::byte> stored(bytes);
  REQUIRE(host.store->read(0, stored));
  CHECK(stored == content);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a read touches nothing beside its data") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t pages = host.pages(3);
  std::memset(host.at(pages), 0xee, 3 * kPage);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, pages + kPage + 1024)) == StatusCode::success);
  CHECK(all_zero({host.at(pages + kPage + 1024), 512}));
  CHECK(std::all_of(host.at(pages), host.at(pages + kPage + 1024), [](std::byte b) { return b == std::byte{0xee}; }));
  CHECK(std::all_of(host.at(pages + kPage + 1536), host.at(pages + 3 * kPage),
                    [](std::byte b) { return b == std::byte{0xee}; }));
}

TEST_CASE("a list whose last slot is needed for data is not chained") {
  RawHost host({.mdts = 0});
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  // 513 pages: PRP1 and 512 entries, which fill one page of a list exactly.
  const Scattered data(host, (kEntries + 1) * kPage, 0);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, (kEntries + 1) * 8, data.prp1, data.prp2)) ==
        StatusCode::success);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("an offset where there may be none is refused, and is a violation") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t pages = host.pages(4);
  const std::uint64_t list = host.pages(1);
  nvme::Command command;
  SECTION("PRP1 is no dword") { command = io_command(IoOpcode::read, 0, 1, pages + 1); }
  SECTION("PRP2 has an offset") { command = io_command(IoOpcode::read, 0, 16, pages, pages + kPage + 4); }
  SECTION("the list is at no qword") { command = io_command(IoOpcode::read, 0, 24, pages, list + 4); }
  SECTION("a list entry has an offset") {
    host.as<std::uint64_t>(list) = pages + kPage;
    host.as<std::uint64_t>(list + 8) = pages + 2 * kPage + 512;
    command = io_command(IoOpcode::read, 0, 24, pages, list);
  }
  SECTION("the pointer that chains a list has an offset") {
    host.as<std::uint64_t>(list + kPage - 8) = list + 8;
    command = io_command(IoOpcode::read, 0, 24, pages, list + kPage - 8);
  }
  const nvme::Completion entry = host.execute(queue, command);
  CHECK(status_of(entry).code() == StatusCode::prp_offset_invalid);
  CHECK(status_of(entry).do_not_retry());
  CHECK(host.violated(Rule::prp_offset));
}

TEST_CASE("memory that is not mapped ends in Data Transfer Error, wherever the command names it") {
  const bool null = GENERATE(false, true);
  RawHost host({.null = null});
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t pages = host.pages(2);
  const std::uint64_t list = host.pages(1);
  nvme::Command command;
  SECTION("PRP1") { command = io_command(IoOpcode::write, 0, 1, RawHost::kUnmapped); }
  SECTION("PRP2") { command = io_command(IoOpcode::read, 0, 16, pages, RawHost::kUnmapped); }
  SECTION("the list") { command = io_command(IoOpcode::read, 0, 24, pages, RawHost::kUnmapped); }
  SECTION("a list entry") {
    host.as<std::uint64_t>(list) = pages + kPage;
    host.as<std::uint64_t>(list + 8) = RawHost::kUnmapped;
    command = io_command(IoOpcode::read, 0, 24, pages, list);
  }
  CHECK(host.status(queue, command) == StatusCode::data_transfer_error);
  CHECK(host.violated(Rule::dma_unmapped));
}

TEST_CASE("a PRP2 that the data does not reach is reserved") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, 8, host.pages(1), host.pages(1))) == StatusCode::success);
  CHECK(host.violated(Rule::reserved_field));
}

TEST_CASE("a mapping that is taken away and made anew elsewhere is found there") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  alignas(4096) static std::byte first[kPage];
  alignas(4096) static std::byte second[kPage];
  const vfio::IovaRange everything{0, ~0ull >> 1};
  fill_pattern({first, 512}, 1);
  fill_pattern({second, 512}, 2);
  REQUIRE(host.table.map({first, 0x5000'0000, kPage}, {&everything, 1}));
  CHECK(host.status(queue, io_command(IoOpcode::write, 0, 1, 0x5000'0000)) == StatusCode::success);
  REQUIRE(host.table.unmap(0x5000'0000, kPage));
  REQUIRE(host.table.map({second, 0x5000'0000, kPage}, {&everything, 1}));
  CHECK(host.status(queue, io_command(IoOpcode::write, 0, 1, 0x5000'0000)) == StatusCode::success);
  std::vector<std::byte> stored(512);
  REQUIRE(host.store->read(0, stored));
  CHECK(has_pattern(stored, 2));
  CHECK(host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
