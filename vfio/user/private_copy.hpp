// Memory that is shared with another process by its file becomes this process's alone, where it lies, while its threads
// go on using it: what stands in it stays, and what the other one does to the file shows here no more. Source: mmap(2)
// and mremap(2), MAP_PRIVATE; madvise(2), MADV_POPULATE_WRITE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio::user {

// Ranges of addresses, disjoint.
class AddressSet {
 public:
  void add(std::uintptr_t begin, std::uintptr_t end);

  // Calls `each(begin, end)` for every part of the range that is not in the set.
  template <typename Each>
  void for_each_gap(std::uintptr_t begin, std::uintptr_t end, Each&& each) const {
    auto range = ranges_.upper_bound(begin);
    if (range != ranges_.begin()) --range;
    for (; range != ranges_.end() && range->first < end && begin < end; ++range) {
      if (begin < range->first) each(begin, range->first);
      if (begin < range->second) begin = range->second;
    }
    if (begin < end) each(begin, end);
  }

 private:
  std::map<std::uintptr_t, std::uintptr_t> ranges_;  // begin to end
};

// `address`: a shared mapping of the file from `offset` on; both and the size are multiples of page_size_of() it. No
// store of another thread is lost, unless the file's hugepages are used up: then ordinary ones take their place, and
// what is stored while they are filled is lost. Errors: no memory; then the mapping is shared as before, or in part.
Result<void> make_private(std::byte* address, std::uint64_t size_bytes, int fd, std::uint64_t offset);

// Whether part of the memory is mapped privately, so that no other process sees it or changes it. Where /proc does not
// tell, it is not.
bool is_private(const void* address, std::uint64_t size_bytes);

}  // namespace pollux::vfio::user
