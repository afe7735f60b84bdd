// Memory that several spaces map: which may, and which is kept to itself.
#include "pollux/dma/claims.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "space_fixture.hpp"

namespace pollux::dma::test {
namespace {

struct TwoSpaces {
  SpaceFixture one, other;
  Memory memory = *Memory::allocate(8 * k4KiB);
  TwoSpaces() {
    one.attach();
    other.attach();
  }
  Result<Registration> map(SpaceFixture& in, std::uint64_t page, std::uint64_t pages) {
    return in.space->register_memory(memory.data() + page * k4KiB, pages * k4KiB, memory.fd(), page * k4KiB);
  }
};

}  // namespace

TEST_CASE_METHOD(TwoSpaces, "a space that keeps its memory to itself shares none, whoever comes first") {
  const bool is_first = GENERATE(true, false);
  (is_first ? one : other).io->wants.alone = true;
  {
    const auto held = map(one, 2, 2);
    REQUIRE(held);
    const auto refused = map(other, 3, 2);  // a page of it
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("is mapped in another address space") != std::string::npos);
    CHECK(other.io->maps_made() == 0);
    CHECK(map(other, 0, 2));
    CHECK(map(other, 4, 4));
  }
  CHECK(map(other, 2, 3));  // it is free again
  CHECK(other.io->violations().empty());
}

TEST_CASE_METHOD(TwoSpaces,
                 "such a space maps its own memory as often as it likes, and what it refused it may map later") {
  one.io->wants.alone = true;
  auto low = map(one, 0, 3), high = map(one, 2, 3), all = map(one, 0, 8);
  REQUIRE((low && high && all));
  low = {};
  all = {};
  CHECK_FALSE(map(other, 4, 1));
  CHECK(map(other, 0, 2));
  one.io->entry_limit = 1;
  CHECK_FALSE(map(one, 6, 2));  // of which nothing stays
  CHECK(map(other, 6, 2));
}

TEST_CASE_METHOD(TwoSpaces, "spaces that keep nothing to themselves map the same memory") {
  const auto here = map(one, 0, 4), there = map(other, 2, 4);
  CHECK((here && there));
}

TEST_CASE_METHOD(TwoSpaces, "a buffer of one drive is refused by another that keeps memory to itself") {
  other.io->wants.alone = true;
  const auto buffer = one.space->allocate(k4KiB);
  REQUIRE(buffer);
  CHECK_FALSE(other.space->register_memory(buffer->slice().data, k4KiB));
}

TEST_CASE("where memory lies in hugepages, whole ones are kept") {
  auto memory = Memory::allocate(k2MiB);
  REQUIRE(memory);
  if (memory->page_size_bytes() != k2MiB) {
    WARN("this machine has no free hugepages");
    return;
  }
  SpaceFixture one, other;
  one.attach();
  other.attach();
  one.io->wants.alone = true;
  const auto held = one.space->register_memory(memory->data(), k4KiB, memory->fd());
  REQUIRE(held);
  CHECK_FALSE(other.space->register_memory(memory->data() + k2MiB - k4KiB, k4KiB));
}

TEST_CASE_METHOD(TwoSpaces, "a child that was forked keeps nothing of what its parent's spaces hold") {
  one.io->wants.alone = true;
  const auto held = map(one, 0, 8);
  REQUIRE(held);
  const pid_t child = fork();
  if (child == 0) {
    SpaceFixture its_own;
    its_own.attach();
    const bool right = map(its_own, 0, 8).has_value() && !map(other, 0, 1).has_value();
    _exit(right ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK_FALSE(map(other, 0, 8));
}

TEST_CASE("claims are what a table of each page would say, and leave nothing behind") {
  constexpr std::uintptr_t kPages = 40, kBase = 1000;
  struct Page {
    SpaceId alone = 0;
    unsigned mappings = 0;
  };
  struct Held {
    std::uintptr_t first, last;
  };
  Claims claims;
  std::array<Page, kPages> pages{};
  std::vector<Held> all;
  std::mt19937 random(1);
  const auto below = [&](std::uintptr_t bound) { return random() % bound; };
  std::size_t taken = 0, refused = 0, wrong = 0;
  for (int step = 0; step < 100'000; ++step) {
    if (all.size() > 6 || (!all.empty() && below(2) == 0)) {
      std::swap(all[below(all.size())], all.back());
      const Held gone = all.back();
      all.pop_back();
      claims.remove(kBase + gone.first, kBase + gone.last);
      for (std::uintptr_t page = gone.first; page <= gone.last; ++page) --pages[page].mappings;
      continue;
    }
    const std::uintptr_t first = below(kPages), last = std::min(kPages - 1, first + below(8));
    const SpaceId alone = 2 * below(3);
    bool may = true;
    for (std::uintptr_t page = first; page <= last; ++page)
      may = may && (pages[page].mappings == 0 || pages[page].alone == alone);
    wrong += claims.add(kBase + first, kBase + last, alone) != may;
    ++(may ? taken : refused);
    if (!may) continue;
    all.push_back({first, last});
    for (std::uintptr_t page = first; page <= last; ++page) pages[page] = {alone, pages[page].mappings + 1};
  }
  CHECK(wrong == 0);
  CHECK((taken > 1000 && refused > 1000));
  for (const Held& one : all) claims.remove(kBase + one.first, kBase + one.last);
  CHECK(claims.parts() == 0);
}

TEST_CASE("small pieces that touch cost the table one part") {
  Claims claims;
  for (std::uintptr_t piece = 0; piece < 1000; ++piece) CHECK(claims.add(piece * 8, piece * 8 + 7, Claims::kShared));
  CHECK(claims.parts() == 1);
  for (std::uintptr_t piece = 0; piece < 1000; ++piece) claims.remove(piece * 8, piece * 8 + 7);
  CHECK(claims.parts() == 0);
}

TEST_CASE("of two spaces that want the same memory at the same moment one gets it") {
  TwoSpaces two;
  two.one.io->wants.alone = two.other.io->wants.alone = true;
  std::atomic<int> holders = 0, both = 0, had[2] = {};
  const auto want = [&](int which) {
    for (int round = 0; round < 20'000 && (round < 2'000 || had[which] == 0); ++round) {
      const auto held = two.map(which == 0 ? two.one : two.other, 0, 4);
      if (!held) continue;
      ++had[which];
      if (++holders == 2) ++both;
      --holders;
    }
  };
  std::thread thread(want, 1);
  want(0);
  thread.join();
  CHECK(both == 0);
  CHECK((had[0] > 0 && had[1] > 0));
}

}  // namespace pollux::dma::test
