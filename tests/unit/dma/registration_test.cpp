// The application's own memory: any size from any dword on, mapped by whole pages, and pages that are mapped are
// shared.
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

struct RegistrationFixture : AttachedFixture {
  static constexpr std::uint64_t kMemoryBytes = 16 * k4KiB;

  std::byte* page(std::uint64_t number) { return memory.data() + number * k4KiB; }

  Registration made(std::byte* data, std::uint64_t size_bytes) {
    auto registered = space->register_memory(data, size_bytes);
    REQUIRE(registered);
    CHECK(registered->slice().data == data);
    CHECK(registered->slice().size_bytes == size_bytes);
    CHECK(reaches(*registered));
    return std::move(*registered);
  }

  // The device finds the first and the last byte at the IOVAs of the slice.
  bool reaches(const Registration& registration) {
    const Slice slice = registration.slice();
    return io->seen_at(slice.iova) == slice.data &&
           io->seen_at(slice.iova + slice.size_bytes - 1) == slice.data + slice.size_bytes - 1;
  }

  Memory memory = std::move(*Memory::allocate(kMemoryBytes));
};

TEST_CASE_METHOD(RegistrationFixture,
                 "memory of any size may begin at any dword; whole pages are mapped, and no more") {
  for (const std::uint64_t offset : {0u, 4u, 508u, 512u, 4092u, 4096u, 5000u}) {
    for (const std::uint64_t size_bytes : {1u, 3u, 512u, 4091u, 4096u, 4097u, 9001u}) {
      {
        const Registration registered = made(memory.data() + offset, size_bytes);
        const std::uint64_t first_page = offset / k4KiB, last_page = (offset + size_bytes - 1) / k4KiB;
        const vfio::DmaMapping mapping = io->mapping(registered.slice().iova - offset % k4KiB);
        CHECK(mapping.address == page(first_page));
        CHECK(mapping.size_bytes == (last_page - first_page + 1) * k4KiB);
      }
      REQUIRE(io->mappings() == 0);
    }
  }
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(RegistrationFixture, "memory that begins within a dword, is empty or has no end is refused") {
  for (const auto& [offset, size_bytes] :
       std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 512}, {2, 512}, {3, 512}, {0, 0}, {4, ~0ull}}) {
    const auto refused = space->register_memory(memory.data() + offset, size_bytes);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("the address must be a multiple of 4") != std::string::npos);
  }
  CHECK(space->register_memory(static_cast<void*>(nullptr), 0).error().message().find("multiple of 4") !=
        std::string::npos);
  CHECK(io->maps_made() == 0);
}

struct Block {
  static constexpr std::uint64_t kPieces = 1000, kPieceBytes = 512;

  std::byte* piece(std::uint64_t number) { return bytes.get() + number * kPieceBytes; }

  std::unique_ptr<std::byte[]> bytes = std::make_unique<std::byte[]>(kPieces * kPieceBytes);
};

TEST_CASE_METHOD(RegistrationFixture, "a thousand pieces of a registered block share its mapping; the last unmaps it") {
  Block block;
  std::vector<Registration> held;
  held.push_back(made(block.piece(0), Block::kPieces * Block::kPieceBytes));
  for (std::uint64_t i = 0; i < Block::kPieces; ++i) held.push_back(made(block.piece(i), Block::kPieceBytes));
  CHECK(io->maps_made() == 1);

  held.erase(held.begin());  // the block's own: its pages stay for the pieces
  while (!held.empty()) {
    REQUIRE(io->mappings() == 1);
    CHECK(reaches(held.back()));
    held.pop_back();
  }
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

// A piece that crosses from one page into the next brings both along.
TEST_CASE_METHOD(RegistrationFixture, "a thousand neighbouring pieces take a mapping a page, not one each") {
  Block block;
  std::vector<Registration> held;
  for (std::uint64_t i = 0; i < Block::kPieces; ++i) held.push_back(made(block.piece(i), Block::kPieceBytes));
  CHECK(io->maps_made() <= Block::kPieces * Block::kPieceBytes / k4KiB + 2);
  held.clear();
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(RegistrationFixture,
                 "memory that a mapping holds in part only is mapped anew, and either may go first") {
  for (const bool first_goes_first : {true, false}) {
    Registration low = made(page(1), 2 * k4KiB);
    Registration high = made(page(2), 2 * k4KiB);
    CHECK(io->mappings() == 2);
    (first_goes_first ? low : high) = Registration();
    REQUIRE(io->mappings() == 1);
    CHECK(reaches(first_goes_first ? high : low));
    low = Registration();
    high = Registration();
    CHECK(io->mappings() == 0);
  }
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(RegistrationFixture,
                 "whatever mapping holds all of the memory is found among those that hold a part") {
  const Registration wide = made(page(0), 10 * k4KiB);
  const Registration late = made(page(4), 8 * k4KiB);
  const Registration later = made(page(5), 11 * k4KiB);
  REQUIRE(io->mappings() == 3);
  const Registration in_wide = made(page(1), 9 * k4KiB);
  const Registration in_late = made(page(4), 5 * k4KiB);
  const Registration in_later = made(page(12), 4 * k4KiB);
  CHECK(io->maps_made() == 3);
}

TEST_CASE_METHOD(RegistrationFixture, "small mappings neither hide the large one around them nor get lost behind it") {
  const Registration begin = made(page(1), k4KiB), middle = made(page(3), k4KiB);
  Registration all = made(page(1), 6 * k4KiB);
  REQUIRE(io->mappings() == 3);
  Registration beside = made(page(4), k4KiB);  // within `all`, which begins before `middle`
  CHECK(io->maps_made() == 3);
  all = Registration();
  beside = Registration();
  REQUIRE(io->mappings() == 2);
  const Registration again = made(page(3) + 512, 512);
  CHECK(io->maps_made() == 3);
  const Registration gone = made(page(4), k4KiB);
  CHECK(io->maps_made() == 4);
}

TEST_CASE_METHOD(RegistrationFixture, "in any order a registration is a new mapping only where none holds its pages") {
  std::mt19937 random(4);
  std::vector<Registration> held;
  for (int step = 0; step < 20'000; ++step) {
    if (held.size() == 12 || (!held.empty() && random() % 2 == 0)) {
      std::swap(held[random() % held.size()], held.back());
      held.pop_back();
    } else {
      const std::uint64_t first = random() % 15, pages = 1 + random() % (15 - first);
      const std::size_t expected = io->maps_made() + (io->holds(page(first), pages * k4KiB) ? 0 : 1);
      held.push_back(made(page(first) + 4 * (random() % 64), pages * k4KiB - 512));
      REQUIRE(io->maps_made() == expected);
    }
    for (const Registration& registration : held) REQUIRE(reaches(registration));
  }
  held.clear();
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(RegistrationFixture, "the file's offset is rounded down with the memory, and must agree with it") {
  const auto registered = space->register_memory(page(2) + 20, 100, memory.fd(), 2 * k4KiB + 20);
  REQUIRE(registered);
  CHECK(io->mapping(registered->slice().iova - 20).fd == memory.fd());
  CHECK(io->mapping(registered->slice().iova - 20).fd_offset == 2 * k4KiB);

  const auto refused = space->register_memory(page(3) + 20, 100, memory.fd(), 3 * k4KiB);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("address and offset must agree modulo 4096 bytes") != std::string::npos);
}

TEST_CASE_METHOD(RegistrationFixture, "a part of mapped memory needs no file, even where mapping would") {
  io->wants.file_descriptor = true;
  const auto block = space->register_memory(page(0), kMemoryBytes, memory.fd());
  REQUIRE(block);
  CHECK(space->register_memory(page(1) + 4, 512));
  CHECK(io->maps_made() == 1);
}

TEST_CASE_METHOD(RegistrationFixture,
                 "const memory is mapped so that the device may only read it, and its slices say so") {
  const std::byte* const constant = page(1);
  const auto registered = space->register_memory(constant, 2 * k4KiB);
  REQUIRE(registered);
  CHECK(reaches(*registered));
  CHECK(registered->slice().space == only_read(space->id()));
  CHECK(registered->slice(4, 8).space == only_read(space->id()));
  const vfio::DmaMapping mapping = io->mapping(registered->slice().iova);
  CHECK(mapping.device_may_read);
  CHECK_FALSE(mapping.device_may_write);
  CHECK(made(page(8), k4KiB).slice().space == space->id());
}

TEST_CASE_METHOD(
    RegistrationFixture,
    "const memory shares a mapping that devices may write, and never lends its own to who lets them write") {
  const std::byte* const constant = page(2);
  {
    const Registration wide = made(page(0), 8 * k4KiB);
    const auto within = space->register_memory(constant, k4KiB);
    REQUIRE(within);
    CHECK(io->maps_made() == 1);
    CHECK(within->slice().space == only_read(space->id()));
  }
  const auto alone = space->register_memory(constant, 4 * k4KiB);
  const auto same = space->register_memory(constant + k4KiB, k4KiB);
  REQUIRE((alone && same));
  CHECK(io->maps_made() == 2);
  {
    const Registration writable = made(page(3), k4KiB);
    CHECK(io->maps_made() == 3);
    CHECK(io->mapping(writable.slice().iova).device_may_write);
    CHECK(space->mappings().size() == 2);
  }
  CHECK(io->mappings() == 1);
  CHECK(reaches(*alone));
  CHECK(reaches(*same));
  CHECK(io->violations().empty());
}

}  // namespace
}  // namespace pollux::dma::test
