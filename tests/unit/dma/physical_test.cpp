// A space without an IOMMU: memory is where it lies. The fake tells where; that a buffer is a hugepage is real, and the
// log tells whether this machine had one.
#include <sys/mman.h>

#include <catch2/catch.hpp>
#include <string>
#include <utility>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

struct PhysicalFixture : SpaceFixture {
  PhysicalFixture() {
    io->wants.physical_addresses = true;
    io->ranges_after_attach = {};
    attach();
  }

  Memory memory = std::move(*Memory::allocate(2 * k2MiB));
};

TEST_CASE_METHOD(PhysicalFixture, "memory is mapped at its physical address, by whole pages") {
  const auto registered = space->register_memory(memory.data() + 516, 4000);
  REQUIRE(registered);
  CHECK(registered->slice().iova == io->physical(reinterpret_cast<std::uintptr_t>(memory.data())) + 516);
  CHECK(io->seen_at(registered->slice().iova) == memory.data() + 516);
  CHECK(io->mapping(registered->slice().iova - 516).size_bytes == 2 * k4KiB);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(PhysicalFixture, "memory in more than one physical piece is refused in the space's words") {
  const auto refused = space->register_memory(memory.data() + k2MiB - 4, 8);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() == "the memory is in two physical pieces");
  CHECK(io->maps_made() == 0);
}

TEST_CASE_METHOD(PhysicalFixture, "mappings may meet at physical pages, are shared as ever, and go in any order") {
  auto low = space->register_memory(memory.data(), 2 * k4KiB);
  auto high = space->register_memory(memory.data() + k4KiB, 2 * k4KiB);
  auto within = space->register_memory(memory.data() + k4KiB + 4, 512);
  REQUIRE((low && high && within));
  CHECK(io->mappings() == 2);
  CHECK(high->slice().iova == low->slice().iova + k4KiB);
  CHECK(within->slice().iova == high->slice().iova + 4);
  *high = Registration();
  CHECK(io->mappings() == 2);
  *low = Registration();
  *within = Registration();
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(PhysicalFixture, "a page that is mapped twice in the process has one IOVA, until both are gone") {
  const auto first = reinterpret_cast<std::uintptr_t>(memory.data());
  void* const twin = mmap(nullptr, k4KiB, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd(), 0);
  REQUIRE(twin != MAP_FAILED);
  io->physical = [=](std::uintptr_t address) {
    return address - (address >= first && address < first + k2MiB ? first : reinterpret_cast<std::uintptr_t>(twin)) +
           k1GiB;
  };
  {
    auto one = space->register_memory(memory.data(), k4KiB);
    auto other = space->register_memory(twin, k4KiB);
    REQUIRE((one && other));
    CHECK(one->slice().iova == other->slice().iova);
    *one = Registration();
    CHECK(io->seen_at(other->slice().iova) == static_cast<std::byte*>(twin));
  }
  CHECK(io->mappings() == 0);
  CHECK(io->violations().empty());
  munmap(twin, k4KiB);
}

TEST_CASE_METHOD(PhysicalFixture,
                 "a buffer is one hugepage at its physical address, or an error that says what to run") {
  const auto buffer = space->allocate(10'000);
  if (buffer) {
    WARN("a hugepage is free here: a buffer in one is tested");
    CHECK(buffer->memory().page_size_bytes() == k2MiB);
    CHECK(buffer->slice().size_bytes == k2MiB);
    CHECK(buffer->slice().iova == io->physical(reinterpret_cast<std::uintptr_t>(buffer->slice().data)));
    CHECK(io->mappings() == 1);
  } else {
    WARN("no hugepage is free here: the error is tested, and tests/guest/hugepages shows the buffer");
    CHECK(buffer.error().message().find("no hugepage of 2 MiB is free") == 0);
    CHECK(buffer.error().message().find("nr_hugepages\" as root") != std::string::npos);
    CHECK(io->maps_made() == 0);
  }
  CHECK(io->violations().empty());
}

TEST_CASE_METHOD(PhysicalFixture, "a buffer larger than a hugepage is refused") {
  const auto refused = space->allocate(k1GiB + 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("no buffer may be larger than a hugepage") != std::string::npos);
}

}  // namespace
}  // namespace pollux::dma::test
