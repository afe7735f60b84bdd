// A million random steps against a model too simple to be wrong: a number a page, and a scan from the bottom. Every
// answer must be the model's, to the address; so nothing overlaps, nothing leaks, alignment holds, and freed space
// comes back whole.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <optional>
#include <random>
#include <vector>

#include "pollux/dma/iova_allocator.hpp"

namespace pollux::dma {
namespace {

constexpr std::uint64_t kPage = 0x1000;
constexpr std::size_t kPages = 256;
constexpr unsigned kSteps = 1'000'000;
constexpr unsigned kConfineEvery = 512;  // steps, on average
constexpr unsigned kDrainEvery = 2048;
constexpr unsigned kCompareEvery = 128;

struct PageRange {
  std::size_t first, last;
};

class Model {
 public:
  // False, and no change, where an allocation would lie outside.
  bool confine(const std::vector<PageRange>& ranges) {
    std::array<unsigned char, kPages> next{};
    unsigned char id = 0;
    for (const PageRange& range : ranges) {
      ++id;
      for (std::size_t page = range.first; page <= range.last; ++page) next[page] = id;
    }
    next[0] = 0;
    for (std::size_t page = 0; page < kPages; ++page) {
      if (used_[page] == 0) continue;
      const bool cut = page > 0 && used_[page] == used_[page - 1] && next[page] != next[page - 1];
      if (next[page] == 0 || cut) return false;
    }
    range_of_ = next;
    return true;
  }

  std::optional<std::size_t> allocate(std::size_t pages, std::size_t alignment, std::size_t offset) {
    for (std::size_t first = offset; first + pages <= kPages; first += alignment) {
      std::size_t fitting = 0;
      while (fitting < pages && free_in(first + fitting, range_of_[first])) ++fitting;
      if (fitting < pages) continue;
      std::fill_n(used_.begin() + first, pages, ++last_serial_);
      return first;
    }
    return std::nullopt;
  }

  void free(std::size_t first, std::size_t pages) { std::fill_n(used_.begin() + first, pages, 0); }

  std::vector<IovaRange> free_ranges() const {
    std::vector<IovaRange> pieces;
    for (std::size_t page = 0; page < kPages; ++page) {
      if (!free_in(page, range_of_[page])) continue;
      const std::size_t first = page;
      while (page + 1 < kPages && free_in(page + 1, range_of_[first])) ++page;
      pieces.push_back({first * kPage, (page + 1) * kPage - 1});
    }
    return pieces;
  }

 private:
  bool free_in(std::size_t page, unsigned char range) const {
    return range != 0 && range_of_[page] == range && used_[page] == 0;
  }

  std::array<unsigned char, kPages> range_of_{};  // 0: in none
  std::array<unsigned, kPages> used_{};           // 0: free; else which allocation holds it
  unsigned last_serial_ = 0;
};

std::vector<IovaRange> bytes_of(const std::vector<PageRange>& ranges) {
  std::vector<IovaRange> result;
  for (const PageRange& range : ranges) result.push_back({range.first * kPage, (range.last + 1) * kPage - 1});
  return result;
}

// Below the first page there are 4095 addresses that no page fits in: the model does not know them.
std::vector<IovaRange> whole_pages(std::vector<IovaRange> ranges) {
  if (!ranges.empty() && ranges.front().first == 1) {
    ranges.front().first = kPage;
    if (ranges.front().last < kPage) ranges.erase(ranges.begin());
  }
  return ranges;
}

struct Allocation {
  std::size_t first, pages;
};

class Walk {
 public:
  explicit Walk(unsigned seed) : random_(seed) { confine(kWhole); }

  void step() {
    if (one_in(kDrainEvery)) drain();
    if (one_in(kConfineEvery)) confine(one_in(2) ? kWhole : some_ranges());
    if (live_.empty() || one_in(2)) {
      allocate();
    } else {
      free(below(live_.size()));
    }
    if (one_in(kCompareEvery)) REQUIRE(whole_pages(allocator_.free_ranges()) == model_.free_ranges());
  }

  void finish() {
    drain();
    confine(kWhole);
    CHECK(allocator_.allocations() == 0);
    CHECK(allocator_.allocated_bytes() == 0);
    std::vector<IovaRange> whole = bytes_of(kWhole);
    whole.front().first = 1;
    CHECK(allocator_.free_ranges() == whole);
  }

  unsigned allocated = 0, refused = 0, confined = 0, not_confined = 0;

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }
  bool one_in(std::size_t count) { return below(count) == 0; }

  void allocate() {
    const std::size_t pages = 1 + (one_in(8) ? below(48) : below(6));
    const std::size_t alignment = std::size_t{1} << below(6);
    const std::size_t offset = one_in(2) ? 0 : below(alignment);
    const std::optional<Iova> got = allocator_.allocate(pages * kPage, alignment * kPage, offset * kPage);
    const std::optional<std::size_t> expected = model_.allocate(pages, alignment, offset);
    REQUIRE(got.has_value() == expected.has_value());
    ++(got ? allocated : refused);
    if (!got) return;
    REQUIRE(*got == *expected * kPage);
    live_.push_back({*expected, pages});
  }

  void free(std::size_t index) {
    const Allocation gone = live_[index];
    live_[index] = live_.back();
    live_.pop_back();
    REQUIRE(allocator_.free(gone.first * kPage, gone.pages * kPage));
    model_.free(gone.first, gone.pages);
  }

  void drain() {
    while (!live_.empty()) free(below(live_.size()));
  }

  void confine(const std::vector<PageRange>& ranges) {
    const bool fits = model_.confine(ranges);
    REQUIRE(allocator_.confine(bytes_of(ranges)).has_value() == fits);
    ++(fits ? confined : not_confined);
  }

  // A cut into pieces with holes between some of them, and with neighbours that touch.
  std::vector<PageRange> some_ranges() {
    std::vector<PageRange> ranges;
    for (std::size_t page = below(4); page < kPages;) {
      const std::size_t last = std::min(kPages - 1, page + below(kPages));
      ranges.push_back({page, last});
      page = last + 1 + (one_in(2) ? 0 : below(16));
    }
    return ranges;
  }

  // With a hole, as the window of the MSI addresses is, and a touching pair.
  inline static const std::vector<PageRange> kWhole = {{0, 99}, {116, 199}, {200, kPages - 1}};

  std::mt19937 random_;
  IovaAllocator allocator_;
  Model model_;
  std::vector<Allocation> live_;
};

TEST_CASE("over a million random steps the allocator answers as a bitmap does, and ends as it began") {
  Walk walk(0x1cc1'0021);
  for (unsigned step = 0; step < kSteps; ++step) walk.step();
  walk.finish();

  // The walk went where it was meant to go.
  CHECK(walk.allocated > kSteps / 8);
  CHECK(walk.refused > kSteps / 100);
  CHECK(walk.confined > 50);
  CHECK(walk.not_confined > 50);
}

}  // namespace
}  // namespace pollux::dma
