// The application's own memory as a buffer, and memory that comes and goes while the drive stays.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

std::unique_ptr<std::byte, Free> own_memory(std::uint64_t size_bytes) {
  return std::unique_ptr<std::byte, Free>(static_cast<std::byte*>(std::aligned_alloc(kPage, size_bytes)));
}

// A space may demand memory with a file behind it, as one behind a socket does; then it refuses other memory and says
// why.
bool wants_a_file(const Result<dma::Registration>& registered) {
  if (registered) return false;
  INFO(registered.error().message());
  REQUIRE(registered.error().what.find("maps memory by its file") != std::string::npos);
  WARN("this device takes no memory without a file");
  return true;
}

TEST_CASE_METHOD(TestDevice, "memory from malloc, once registered, is written from and read to in place") {
  const auto channel = open_channel({.depth = 4});
  const std::uint64_t size = 16 * unit();
  const auto memory = own_memory(size);
  const auto registered = drive->space()->register_memory(memory.get(), size);
  if (wants_a_file(registered)) return;
  const dma::Slice half = registered->slice(0, size / 2);
  const dma::Slice other = registered->slice(size / 2 + 4, size / 2 - unit());
  CHECK(half.data == memory.get());
  write_pattern(*channel, 2, half, 1);
  CHECK(holds_pattern(*channel, 2, half, 1));
  CHECK(holds_pattern(*channel, 2, other, 1));
}

TEST_CASE_METHOD(TestDevice,
                 "memory that begins at a dword and ends anywhere is read and written, and nothing beside it") {
  const auto channel = open_channel({.depth = 4});
  const std::uint64_t size = 2 * block();
  std::vector<std::byte> memory(size + 2 * kPage, std::byte{0x5a});
  const std::uint64_t begin = kPage - reinterpret_cast<std::uintptr_t>(memory.data()) % kPage + 12;
  const auto registered = drive->space()->register_memory(memory.data() + begin, size + 3);
  if (wants_a_file(registered)) return;
  write_pattern(*channel, 2, registered->slice(0, size), 1);
  CHECK(holds_pattern(*channel, 2, registered->slice(0, size), 1));
  CHECK(memory[begin - 1] == std::byte{0x5a});
  CHECK(memory[begin + size] == std::byte{0x5a});
}

TEST_CASE_METHOD(TestDevice, "memory that begins within a dword is refused") {
  const auto memory = own_memory(kPage);
  CHECK_FALSE(drive->space()->register_memory(memory.get() + 2, 512));
}

// One file, which we write by one mapping and the drive reads by another that may not be written.
TEST_CASE_METHOD(TestDevice, "memory that may only be read is written to the drive, and nothing is read into it") {
  const auto channel = open_channel({.depth = 4});
  const std::uint64_t size = std::max<std::uint64_t>(16 * kPage, 2 * block());
  auto memory = dma::Memory::allocate(size);
  REQUIRE(memory);
  const void* const constant = mmap(nullptr, size, PROT_READ, MAP_SHARED, memory->fd(), 0);
  REQUIRE(constant != MAP_FAILED);
  {
    const auto registered = drive->space()->register_memory(constant, size, memory->fd());
    if (!registered) FAIL(registered.error().message());
    const dma::Slice data = registered->slice(0, 2 * block());
    CHECK(data.data == constant);
    fill({memory->data(), 0, data.size_bytes}, 7, words(5));
    REQUIRE(write(*channel, 5, data).ok());
    const dma::Slice all = registered->slice();  // of several commands, where the drive takes less at once
    REQUIRE(write(*channel, 64, all).ok());
    const dma::Slice pages[] = {registered->slice(0, kPage), registered->slice(8 * kPage, kPage)};
    Request request;
    const bool whole_blocks = kPage % block() == 0;
    if (whole_blocks) {
      CHECK(channel->writev(128, pages, Request::done, &request) == Submit::accepted);
      CHECK(channel->readv(128, pages, Request::done, &request) == Submit::read_only_memory);
    }
    CHECK(channel->read(5, data, Request::done, &request) == Submit::read_only_memory);
    CHECK(channel->read(64, all, Request::done, &request) == Submit::read_only_memory);
    CHECK(drain(*channel));

    const auto back = allocate(data.size_bytes);
    CHECK(holds_pattern(*channel, 5, back.slice(0, data.size_bytes), 7));
  }
  munmap(const_cast<void*>(constant), size);
}

TEST_CASE_METHOD(TestDevice, "memory that this process may not write, or that is not there, is refused, and says so") {
  void* const memory = mmap(nullptr, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  const auto read_only = drive->space()->register_memory(memory, kPage);
  const bool const_is_taken = drive->space()->register_memory(static_cast<const void*>(memory), kPage).has_value();
  munmap(memory, 2 * kPage);
  const auto gone = drive->space()->register_memory(memory, kPage);
  REQUIRE_FALSE(read_only);
  REQUIRE_FALSE(gone);
  const bool by_file = drive->space()->io().demands().file_descriptor;
  CHECK(const_is_taken == !by_file);
  CHECK_THAT(read_only.error().message(),
             Catch::Contains(by_file ? "maps memory by its file" : "may only be read by this process"));
  CHECK_THAT(gone.error().message(), Catch::Contains(by_file ? "maps memory by its file" : "is not there"));
}

TEST_CASE_METHOD(TestDevice, "buffers may come and go between requests, in any order") {
  const auto channel = open_channel({.depth = 4});
  std::vector<dma::Buffer> buffers;
  for (std::uint64_t round = 0; round < 40; ++round) {
    buffers.push_back(allocate(unit() * (1 + round % 3)));
    write_pattern(*channel, round, buffers.back().slice(0, block()), round);
    if (round % 4 == 3) buffers.erase(buffers.begin() + static_cast<std::ptrdiff_t>(round % 3));
    CHECK(holds_pattern(*channel, round, buffers.front().slice(0, block()), round));
  }
}

TEST_CASE_METHOD(TestDevice, "a buffer of hugepage size works over its whole length") {
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(2 << 20);
  const std::uint64_t last = buffer.slice().size_bytes - 4 * unit();
  write_pattern(*channel, 1, buffer.slice(0, 4 * unit()), 1);
  CHECK(holds_pattern(*channel, 1, buffer.slice(last, 4 * unit()), 1));
}

}  // namespace
}  // namespace pollux::conformance
