// Host memory on a memfd, in hugepages where the system has them. Freed by scope. Zeroed when made.
// Source: memfd_create(2) with MFD_HUGETLB; one large IOMMU page needs one large, aligned physical page behind it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/vfio/error.hpp"

namespace pollux::dma {

inline constexpr std::uint64_t k4KiB = 1ull << 12;
inline constexpr std::uint64_t k2MiB = 1ull << 21;
inline constexpr std::uint64_t k1GiB = 1ull << 30;

class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  // At least `size_bytes`, rounded up to the page size that was found: from 1 GiB on 1 GiB pages, from 1 MiB on 2 MiB
  // pages, and ordinary pages below or where no hugepage is free. The address is aligned to the largest of these sizes
  // that the memory reaches. Every page is present when this returns: a shortage is an Error here, never a SIGBUS
  // later. Errors: size 0, out of memory (says of whose: the machine's, or a control group's with its limit), no
  // descriptor left, beyond the limit on file sizes (ulimit -f).
  static Result<Memory> allocate(std::uint64_t size_bytes);

  // At least `size_bytes` in one physical piece that stays where it is, for a device without an IOMMU: one hugepage, of
  // 2 MiB up to that size and of 1 GiB above. Ordinary pages will not do: the kernel moves them (compaction even those
  // that are locked), and the device would go on writing to the old place. Errors: size 0 or above 1 GiB, no hugepage
  // free (says what to run).
  static Result<Memory> allocate_hugepage(std::uint64_t size_bytes);

  std::byte* data() const { return data_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint64_t page_size_bytes() const { return page_size_bytes_; }
  int fd() const { return fd_; }  // −1 after close_file()

  // Leaves it where it is, nobody's, as long as the process lives.
  void leave() noexcept {
    data_ = nullptr;
    fd_ = -1;
  }

  // Gives up the file, and the descriptor that it costs: the memory stays as it is.
  void close_file() noexcept;

  // Hugepages were wanted for this size and there were none: programs say so, once.
  bool fell_back() const { return size_bytes_ >= k2MiB / 2 && page_size_bytes_ < k2MiB; }

 private:
  // One attempt with one page size: 0 or an errno, ENOMEM where ordinary pages are fewer; what a failed one leaves is
  // the destructor's.
  int make(std::uint64_t size_bytes, std::uint64_t page_size_bytes, unsigned memfd_flags);

  std::byte* data_ = nullptr;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t page_size_bytes_ = 0;
  int fd_ = -1;
};

}  // namespace pollux::dma
