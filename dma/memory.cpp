// One attempt a page size, the largest first. fallocate makes every page present while an error can still be returned;
// a hugepage that is missing at the first touch would be a SIGBUS.
#include "pollux/dma/memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "pollux/dma/available.hpp"
#include "pollux/vfio/address_limit.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::dma {
namespace {

constexpr std::uint64_t kMaxMemoryBytes = 1ull << 46;  // an x86-64 process addresses 47 bits
constexpr unsigned kMaxInterruptedPages = 10'000;      // in a row, in which a signal left no time for a single page

struct PageKind {
  std::uint64_t size_bytes;
  std::uint64_t wanted_from_bytes;  // smaller memory does without
  unsigned memfd_flags;
};

constexpr PageKind kPageKinds[] = {
    {k1GiB, k1GiB, MFD_HUGETLB | MFD_HUGE_1GB},
    {k2MiB, k2MiB / 2, MFD_HUGETLB | MFD_HUGE_2MB},
    {k4KiB, 0, 0},
};

std::uint64_t round_up(std::uint64_t size_bytes, std::uint64_t unit) { return (size_bytes + unit - 1) & ~(unit - 1); }

// The alignment of a mapping, by which the kernel can use large pages for it.
std::uint64_t alignment_of(std::uint64_t size_bytes) {
  return size_bytes >= k1GiB ? k1GiB : size_bytes >= k2MiB ? k2MiB : k4KiB;
}

// Beyond it the kernel refuses with a signal that kills (SIGXFSZ).
std::uint64_t file_size_limit_bytes() {
  rlimit limit{};
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : kMaxMemoryBytes;
}

Error explain_shortage(int os_error, std::uint64_t size_bytes) {
  std::string what = fmt::format("no {} bytes of memory", size_bytes);
  if (os_error == EFBIG) {
    what += fmt::format(": files may have {} bytes (RLIMIT_FSIZE), and it is one", file_size_limit_bytes());
    return fail_errno(os_error, std::move(what), "ask for less, or raise that limit (ulimit -f)").error();
  }
  if (os_error == EMFILE || os_error == ENFILE)
    return fail_errno(os_error, fmt::format("no file can be made for {} bytes of memory", size_bytes)).error();
  const std::string beyond = vfio::beyond_address_limit(size_bytes + alignment_of(size_bytes));
  if (os_error == ENOMEM && !beyond.empty())
    return fail_errno(os_error, what + ": " + beyond, vfio::kRaiseAddressLimit).error();
  const Available available = available_memory();
  if (available.bytes) what += fmt::format(", {} are available", *available.bytes);
  if (available.bound.empty())
    return fail_errno(os_error, std::move(what), "ask for less, or set hugepages aside (sysctl vm.nr_hugepages)")
        .error();
  return fail_errno(os_error, what + ": " + available.bound,
                    "ask for less, raise that limit, or set hugepages aside (sysctl vm.nr_hugepages)")
      .error();
}

// 0, or an errno. A signal that has a handler ends fallocate early, and tmpfs gives back what it had of that call (the
// kernel's shmem_fallocate, hugetlbfs_fallocate): so each time half as much is asked for, down to a page, and in the
// end every call gets its pages between two signals.
int make_present(int fd, std::uint64_t size_bytes, std::uint64_t page_size_bytes) {
  if (vfio::uninterrupted([&] { return ftruncate(fd, static_cast<off_t>(size_bytes)); }) != 0) return errno;
  std::uint64_t step_bytes = size_bytes;
  unsigned interrupted_pages = 0;
  for (std::uint64_t present_bytes = 0; present_bytes < size_bytes;) {
    step_bytes = std::min(step_bytes, size_bytes - present_bytes);
    if (fallocate(fd, 0, static_cast<off_t>(present_bytes), static_cast<off_t>(step_bytes)) == 0) {
      present_bytes += step_bytes;
      interrupted_pages = 0;
    } else if (errno != EINTR) {
      return errno;
    } else if (step_bytes > page_size_bytes) {
      step_bytes = round_up(step_bytes / 2, page_size_bytes);
    } else if (++interrupted_pages == kMaxInterruptedPages) {
      return EINTR;
    }
  }
  return 0;
}

// Maps the whole file at a multiple of `alignment`: reserves that much more address space, and gives back what lies
// around.
void* map_aligned(int fd, std::uint64_t size_bytes, std::uint64_t alignment) {
  const std::uint64_t reserved_bytes = size_bytes + alignment;
  void* reserved = mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;

  std::byte* begin = static_cast<std::byte*>(reserved);
  const std::uint64_t head_bytes = -reinterpret_cast<std::uintptr_t>(begin) & (alignment - 1);
  void* data =
      mmap(begin + head_bytes, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);
  if (data == MAP_FAILED) {
    const int os_error = errno;
    munmap(reserved, reserved_bytes);
    errno = os_error;
    return MAP_FAILED;
  }
  if (head_bytes != 0) munmap(begin, head_bytes);
  munmap(begin + head_bytes + size_bytes, alignment - head_bytes);
  return data;
}

}  // namespace

Result<Memory> Memory::allocate(std::uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes > kMaxMemoryBytes) {
    return fail(fmt::format("memory of {} bytes was asked for", size_bytes),
                fmt::format("1 to {} bytes are possible", kMaxMemoryBytes));
  }

  int os_error = 0;
  for (const PageKind& kind : kPageKinds) {
    if (size_bytes < kind.wanted_from_bytes) continue;
    Memory memory;
    os_error = memory.make(round_up(size_bytes, kind.size_bytes), kind.size_bytes, kind.memfd_flags);
    if (os_error == 0) return memory;
  }
  return std::unexpected(explain_shortage(os_error, size_bytes));
}

Result<Memory> Memory::allocate_hugepage(std::uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes > k1GiB) {
    return fail(fmt::format("memory of {} bytes was asked for, in one hugepage", size_bytes),
                fmt::format("no buffer may be larger than a hugepage: 1 to {} bytes are possible", k1GiB));
  }

  const bool small = size_bytes <= k2MiB;
  const PageKind& kind = kPageKinds[small ? 1 : 0];
  Memory memory;
  const int os_error = memory.make(kind.size_bytes, kind.size_bytes, kind.memfd_flags);
  if (os_error == 0) return memory;
  const bool by_limit = os_error == EFBIG || os_error == EMFILE || os_error == ENFILE;
  const std::uint64_t addresses_bytes = kind.size_bytes + alignment_of(kind.size_bytes);
  if (by_limit || (os_error == ENOMEM && !vfio::beyond_address_limit(addresses_bytes).empty()))
    return std::unexpected(explain_shortage(os_error, kind.size_bytes));
  return fail_errno(os_error, fmt::format("no hugepage of {} MiB is free", kind.size_bytes >> 20),
                    fmt::format("set some aside: \"echo {} > /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages\" as "
                                "root, or more",
                                small ? 64 : 1, kind.size_bytes >> 10));
}

int Memory::make(std::uint64_t size_bytes, std::uint64_t page_size_bytes, unsigned memfd_flags) {
  // Asking for more would wake an OOM killer instead of failing. It counts page tables and the file's tree of pages
  // too, which are less than a hundredth.
  const std::uint64_t wanted_bytes = size_bytes + size_bytes / 100;
  if (page_size_bytes == k4KiB && wanted_bytes > available_memory().bytes.value_or(kMaxMemoryBytes)) return ENOMEM;
  if (size_bytes > file_size_limit_bytes()) return EFBIG;
  fd_ = memfd_create("pollux", MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags);
  if (fd_ < 0) return errno;
  if (const int os_error = make_present(fd_, size_bytes, page_size_bytes); os_error != 0) return os_error;
  // A vfio-user server is given the file: if it could shorten it, our next access would be a SIGBUS.
  if (fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return errno;

  void* data = map_aligned(fd_, size_bytes, alignment_of(size_bytes));
  if (data == MAP_FAILED) return errno;
  data_ = static_cast<std::byte*>(data);
  size_bytes_ = size_bytes;
  page_size_bytes_ = page_size_bytes;
  return 0;
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      page_size_bytes_(std::exchange(other.page_size_bytes_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  Memory taken(std::move(other));  // what this held goes with `taken`, now and not when `other` ends
  std::swap(data_, taken.data_);
  std::swap(size_bytes_, taken.size_bytes_);
  std::swap(page_size_bytes_, taken.page_size_bytes_);
  std::swap(fd_, taken.fd_);
  return *this;
}

void Memory::close_file() noexcept {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
  close_file();
}

}  // namespace pollux::dma
