// Hands out I/O virtual addresses within the ranges that the IOMMU translates. Deterministic: the lowest address that
// fits; freed space is joined with its free neighbours, so that it can be handed out whole again. Never hands out IOVA
// 0, which in a PRP reads like "no entry". Not locked (dma::Space does that), and never on the data path: a search
// walks the free pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::dma {

using vfio::Iova;
using vfio::IovaRange;

class IovaAllocator {
 public:
  // What may be handed out from now on: ascending, disjoint ranges, as IoAddressSpace::usable_ranges() gives them. May
  // shrink or grow what was there. Errors, which leave everything as it was: ranges out of order; an allocation that
  // would lie outside.
  Result<void> confine(std::span<const IovaRange> ranges);

  // The lowest free `size_bytes` whose first address equals `offset` modulo `alignment` (a power of two, larger than
  // `offset`). Inside one range always: neighbouring ranges are never joined. Nothing where no free piece holds it, or
  // size_bytes is 0.
  std::optional<Iova> allocate(std::uint64_t size_bytes, std::uint64_t alignment, std::uint64_t offset = 0);

  // Takes back exactly what one allocate() gave; false, and no change, for anything else.
  bool free(Iova iova, std::uint64_t size_bytes);

  std::size_t allocations() const { return allocated_.size(); }
  std::uint64_t allocated_bytes() const { return allocated_bytes_; }

  // What is free, ascending, each piece as large as it can be within its range.
  std::vector<IovaRange> free_ranges() const;

 private:
  bool in_one_range(Iova first, Iova last) const;

  std::vector<IovaRange> ranges_;
  std::map<Iova, Iova> free_;                // first to last address of each piece
  std::map<Iova, std::uint64_t> allocated_;  // address to size
  std::uint64_t allocated_bytes_ = 0;
};

}  // namespace pollux::dma
