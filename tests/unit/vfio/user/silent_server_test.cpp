// A server that does not answer has not let go of the memory that it was given: what becomes of that memory.
#include <sys/mman.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "pollux/dma/space.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/user/client_space.hpp"
#include "scripted_server.hpp"

using namespace pollux;
using namespace pollux::vfio;
using namespace pollux::vfio::user;

namespace {

constexpr std::uint64_t kPage = 4096;

// Memory as somebody else sees it who has its file.
struct View {
  std::byte* data;
  std::uint64_t size_bytes;
  View(int fd, std::uint64_t bytes) : size_bytes(bytes) {
    data = static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    REQUIRE(data != MAP_FAILED);
  }
  View(const View&) = delete;
  ~View() { munmap(data, size_bytes); }
  std::byte& operator[](std::size_t at) const { return data[at]; }
};

struct Silent {
  static constexpr std::uint64_t kReplyNs = 1'000 * kNsPerMs;  // enough for a machine that has others to serve
  ScriptedServer server;
  std::shared_ptr<dma::Space> space = dma::Space::create(std::make_unique<ClientSpace>(kReplyNs));
  std::unique_ptr<Device> device;

  Silent() {
    auto attached = space->attach(*Address::parse(server.address()));
    REQUIRE(attached);
    device = std::move(*attached);
  }
  // From now on it answers nothing.
  void fall_silent() {
    server.closes = false;
    for (const Command command : {Command::region_read, Command::dma_unmap}) server.on(command, [](const Message&) {});
    std::array<std::byte, 4> word{};
    CHECK_FALSE(device->read(RegionIndex::bar0, 0, word));
  }
  // What the server got with its last DMA_MAP.
  std::unique_ptr<View> view(std::uint64_t bytes) {
    auto maps = server.take(Command::dma_map);
    REQUIRE(!maps.empty());
    return std::make_unique<View>(maps.back().fds.at(0).get(), bytes);
  }
};

}  // namespace

TEST_CASE_METHOD(Silent, "what a silent server holds is the application's when the device is released, as it stood",
                 "[private]") {
  const auto buffer = space->allocate(4 * kPage);
  REQUIRE(buffer);
  std::byte* const ours = buffer->slice().data;
  const auto theirs = view(4 * kPage);
  for (std::size_t i = 0; i < 4; ++i) ours[i * kPage] = static_cast<std::byte>(i + 1);
  fall_silent();
  CHECK(device->may_reach_memory());
  CHECK_FALSE(device->reconnect());  // it could not be told from the one before
  device->release();
  CHECK_FALSE(device->may_reach_memory());
  for (std::size_t i = 0; i < 4; ++i) CHECK(ours[i * kPage] == static_cast<std::byte>(i + 1));
  (*theirs)[0] = (*theirs)[2 * kPage] = std::byte{0xee};
  CHECK((ours[0] == std::byte{1} && ours[2 * kPage] == std::byte{3}));
  ours[kPage] = std::byte{0x77};
  CHECK((*theirs)[kPage] == std::byte{2});  // and the other way round: it does not see what is done from now on
}

TEST_CASE_METHOD(Silent, "a server that is dead, or has let go, keeps nothing, and nothing is copied") {
  const auto buffer = space->allocate(kPage);
  REQUIRE(buffer);
  SECTION("it closed") {
    server.hang_up();
    std::array<std::byte, 4> word{};
    CHECK_FALSE(device->read(RegionIndex::bar0, 0, word));
  }
  SECTION("it closed when it found that the device was closed") {}
  SECTION("it was silent, and closed then") {
    fall_silent();
    server.hang_up();
    std::uint64_t end_ns = steady_clock().now_ns() + 10'000 * kNsPerMs;
    while (device->may_reach_memory() && steady_clock().now_ns() < end_ns) steady_clock().pause_ns(kNsPerMs);
    CHECK_FALSE(device->may_reach_memory());
  }
  device->release();
  CHECK_FALSE(is_private(buffer->slice().data, kPage));
}

TEST_CASE_METHOD(
    Silent, "memory of the application's that is taken from a silent server is its own at once, and no more than that",
    "[private]") {
  const FileDescriptor file(memfd_create("application", MFD_CLOEXEC));
  REQUIRE(ftruncate(file.get(), 4 * kPage) == 0);
  const View ours(file.get(), 4 * kPage);
  // Two that share the page in the middle, as far as a server is concerned.
  auto first = space->register_memory(ours.data, kPage + 512, file.get(), 0);
  const auto second = space->register_memory(ours.data + kPage + 512, kPage, file.get(), kPage + 512);
  REQUIRE((first && second));
  ours[0] = std::byte{1};
  const auto theirs = view(4 * kPage);
  fall_silent();
  first = {};
  (*theirs)[0] = (*theirs)[kPage] = std::byte{0xee};
  CHECK(ours[0] == std::byte{1});
  CHECK(ours[kPage] == std::byte{0xee});  // still the other's
  device->release();
  (*theirs)[kPage] = (*theirs)[3 * kPage] = std::byte{0xdd};
  CHECK(ours[0] == std::byte{1});
  CHECK(ours[kPage] == std::byte{0xee});
  CHECK(ours[3 * kPage] == std::byte{0xdd});  // which never was registered

  // The file has another life now: whoever would use it again is told.
  ScriptedServer next;
  auto again = dma::Space::create(std::make_unique<ClientSpace>());
  const auto reopened = again->attach(*Address::parse(next.address()));
  REQUIRE(reopened);
  const auto refused = again->register_memory(ours.data, kPage, file.get(), 0);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("MAP_SHARED") != std::string::npos);
}

TEST_CASE_METHOD(Silent, "memory that a server was given and did not answer for is the application's all the same",
                 "[private]") {
  const FileDescriptor file(memfd_create("application", MFD_CLOEXEC));
  REQUIRE(ftruncate(file.get(), kPage) == 0);
  const View ours(file.get(), kPage);
  ours[0] = std::byte{1};
  server.closes = false;
  server.on(Command::dma_map, [](const Message&) {});
  CHECK_FALSE(space->register_memory(ours.data, kPage, file.get(), 0));
  const auto theirs = view(kPage);
  (*theirs)[0] = std::byte{0xee};
  CHECK(ours[0] == std::byte{1});
}

TEST_CASE_METHOD(Silent, "memory that may be taken back from a server no other drive is given, as long as it has it") {
  const FileDescriptor file(memfd_create("application", MFD_CLOEXEC));
  REQUIRE(ftruncate(file.get(), 2 * kPage) == 0);
  const View ours(file.get(), 2 * kPage);
  const auto map = [&](const std::shared_ptr<dma::Space>& in) {
    return in->register_memory(ours.data, 2 * kPage, file.get(), 0);
  };
  Silent other;
  auto held = map(space);
  REQUIRE(held);
  const auto refused = map(other.space);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("vfio-user server's, which shares memory with none") != std::string::npos);
  CHECK(other.server.count(Command::dma_map) == 0);
  held = {};
  CHECK(map(other.space));
  const auto buffer = other.space->allocate(kPage);
  REQUIRE(buffer);
  CHECK_FALSE(space->register_memory(buffer->slice().data, kPage, file.get(), 0));
}

TEST_CASE_METHOD(Silent, "no store of another thread is lost while memory is taken back", "[private]") {
  constexpr std::size_t kPages = 2048;
  const auto buffer = space->allocate(kPages * kPage);
  REQUIRE(buffer);
  fall_silent();
  std::atomic<bool> stop = false;
  std::vector<std::uint32_t> told(kPages);
  std::thread writer([&] {
    for (std::uint32_t round = 1; !stop.load(std::memory_order_relaxed); ++round) {
      for (std::size_t page = 0; page < kPages; ++page) {
        auto* const word = reinterpret_cast<std::uint32_t*>(buffer->slice().data + page * kPage);
        __atomic_store_n(word, round, __ATOMIC_RELAXED);
        if (__atomic_load_n(word, __ATOMIC_RELAXED) != round) told[page] = ~0u;
        if (told[page] != ~0u) told[page] = round;
      }
    }
  });
  steady_clock().pause_ns(20 * kNsPerMs);
  device->release();
  stop.store(true, std::memory_order_relaxed);
  writer.join();
  std::size_t lost = 0;
  for (std::size_t page = 0; page < kPages; ++page)
    lost += *reinterpret_cast<std::uint32_t*>(buffer->slice().data + page * kPage) != told[page];
  CHECK(lost == 0);
}

TEST_CASE("a set of addresses tells what is not in it") {
  AddressSet set;
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> gaps;
  const auto look = [&](std::uintptr_t begin, std::uintptr_t end) {
    gaps.clear();
    set.for_each_gap(begin, end, [&](std::uintptr_t from, std::uintptr_t to) { gaps.emplace_back(from, to); });
    return gaps;
  };
  using Gaps = decltype(gaps);
  CHECK(look(1, 9) == Gaps{{1, 9}});
  set.add(2, 3);
  set.add(5, 7);
  CHECK(look(1, 9) == Gaps{{1, 2}, {3, 5}, {7, 9}});
  CHECK(look(2, 6) == Gaps{{3, 5}});
  CHECK(look(5, 7).empty());
  CHECK(look(6, 8) == Gaps{{7, 8}});
  set.add(3, 5);  // joins the two
  CHECK(look(1, 9) == Gaps{{1, 2}, {7, 9}});
  set.add(0, 20);
  CHECK(look(1, 20).empty());
}
