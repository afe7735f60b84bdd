// Ranges are closed, [first, last]: the end of a range that reaches the top of the address space would not fit 64 bits.
#include "pollux/dma/iova_allocator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <iterator>
#include <limits>
#include <utility>

namespace pollux::dma {
namespace {

// The lowest address from `first` on that equals `offset` modulo `alignment`; nothing if it would not fit 64 bits.
std::optional<Iova> align_up(Iova first, std::uint64_t alignment, std::uint64_t offset) {
  const std::uint64_t step = (offset - first) & (alignment - 1);
  if (step > std::numeric_limits<Iova>::max() - first) return std::nullopt;
  return first + step;
}

}  // namespace

Result<void> IovaAllocator::confine(std::span<const IovaRange> ranges) {
  std::vector<IovaRange> confined;
  for (IovaRange range : ranges) {
    if (range.first > range.last || (!confined.empty() && range.first <= confined.back().last)) {
      return fail(fmt::format("the IOVA range {:#x}-{:#x} is empty or out of order", range.first, range.last));
    }
    if (range.first == 0 && range.last == 0) continue;
    if (range.first == 0) range.first = 1;
    confined.push_back(range);
  }

  std::vector<IovaRange> previous = std::exchange(ranges_, std::move(confined));
  for (const auto& [iova, size_bytes] : allocated_) {
    if (in_one_range(iova, iova + (size_bytes - 1))) continue;
    ranges_ = std::move(previous);
    return fail(fmt::format("the mapping {:#x}-{:#x} lies outside what the IOMMU translates with this device", iova,
                            iova + (size_bytes - 1)),
                "open this device first, or give it an address space of its own");
  }

  free_.clear();
  auto allocated = allocated_.begin();
  for (const IovaRange& range : ranges_) {
    Iova begin = range.first;
    bool full = false;
    for (; allocated != allocated_.end() && allocated->first <= range.last; ++allocated) {
      const auto [iova, size_bytes] = *allocated;
      if (iova > begin) free_.emplace(begin, iova - 1);
      full = iova + (size_bytes - 1) == range.last;
      begin = iova + size_bytes;
    }
    if (!full) free_.emplace(begin, range.last);
  }
  return {};
}

std::optional<Iova> IovaAllocator::allocate(std::uint64_t size_bytes, std::uint64_t alignment, std::uint64_t offset) {
  assert(std::has_single_bit(alignment) && offset < alignment);
  if (size_bytes == 0) return std::nullopt;

  for (const auto& [first, last] : free_) {
    const std::optional<Iova> iova = align_up(first, alignment, offset);
    if (!iova || *iova > last || last - *iova < size_bytes - 1) continue;

    const IovaRange piece{first, last};
    const Iova end = *iova + (size_bytes - 1);
    free_.erase(piece.first);
    if (*iova > piece.first) free_.emplace(piece.first, *iova - 1);
    if (end < piece.last) free_.emplace(end + 1, piece.last);
    allocated_.emplace(*iova, size_bytes);
    allocated_bytes_ += size_bytes;
    return iova;
  }
  return std::nullopt;
}

bool IovaAllocator::free(Iova iova, std::uint64_t size_bytes) {
  const auto allocated = allocated_.find(iova);
  if (allocated == allocated_.end() || allocated->second != size_bytes) return false;
  allocated_.erase(allocated);
  allocated_bytes_ -= size_bytes;

  IovaRange piece{iova, iova + (size_bytes - 1)};
  auto next = free_.lower_bound(iova);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->second + 1 == piece.first && in_one_range(before->first, piece.last)) {
      piece.first = before->first;
      free_.erase(before);
    }
  }
  if (next != free_.end() && next->first - 1 == piece.last && in_one_range(piece.first, next->second)) {
    piece.last = next->second;
    free_.erase(next);
  }
  free_.emplace(piece.first, piece.last);
  return true;
}

std::vector<IovaRange> IovaAllocator::free_ranges() const {
  std::vector<IovaRange> ranges;
  ranges.reserve(free_.size());
  for (const auto& [first, last] : free_) ranges.push_back({first, last});
  return ranges;
}

bool IovaAllocator::in_one_range(Iova first, Iova last) const {
  const auto after = std::ranges::upper_bound(ranges_, first, {}, &IovaRange::first);
  return after != ranges_.begin() && last <= std::prev(after)->last;
}

}  // namespace pollux::dma
