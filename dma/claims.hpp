// Which memory of this process the spaces have mapped. Most may map the same. One whose device may be parted from
// memory by other memory at the same address (MemoryDemands::alone) shares none: a device of another space would go on
// with the pages that lay there before, which nobody sees any more. Safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "pollux/dma/slice.hpp"

namespace pollux::dma {

class Claims {
 public:
  static constexpr SpaceId kShared = 0;  // of a space that may map what others map

  // Notes that [first, last] is mapped: by the space `alone`, or by one of those that share. Nothing is noted and the
  // answer is false where part of it is another's. Each add() has its remove() of the same range.
  bool add(std::uintptr_t first, std::uintptr_t last, SpaceId alone);
  void remove(std::uintptr_t first, std::uintptr_t last);

  std::size_t parts() const;

 private:
  struct Part {
    std::uintptr_t last;
    SpaceId alone;
    std::uint64_t mappings;  // that hold all of it
  };
  void split(std::uintptr_t at);
  void join(std::uintptr_t at);

  mutable std::mutex mutex_;  // guards what follows
  // By the first address; disjoint. Two that touch differ.
  std::map<std::uintptr_t, Part> parts_;
};

// Those of all spaces that this process made. A child that was forked begins with none: what it has a copy of is its
// parent's.
Claims& claims();

}  // namespace pollux::dma
