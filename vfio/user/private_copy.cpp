#include "pollux/vfio/user/private_copy.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>

namespace pollux::vfio::user {
namespace {

constexpr std::uint64_t kPageBytes = 4096;

// Every page is written to, in place, so that it is a copy of our own from now on.
int populate(std::byte* address, std::uint64_t size_bytes) {
  for (;;) {
    if (madvise(address, size_bytes, MADV_POPULATE_WRITE) == 0) return 0;
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    break;  // a kernel before 5.14
  }
  // What another thread stores there at the same time must stay.
  for (std::uint64_t done = 0; done < size_bytes; done += kPageBytes)
    __atomic_fetch_or(reinterpret_cast<unsigned char*>(address + done), 0, __ATOMIC_RELAXED);
  return 0;
}

std::unexpected<Error> cannot(std::uint64_t size_bytes, int os_error) {
  return fail_errno(os_error, fmt::format("cannot take back {} bytes of shared memory", size_bytes));
}

}  // namespace

void AddressSet::add(std::uintptr_t begin, std::uintptr_t end) {
  auto range = ranges_.upper_bound(begin);
  if (range != ranges_.begin() && std::prev(range)->second >= begin) --range;
  while (range != ranges_.end() && range->first <= end) {
    begin = std::min(begin, range->first);
    end = std::max(end, range->second);
    range = ranges_.erase(range);
  }
  ranges_.emplace(begin, end);
}

Result<void> make_private(std::byte* address, std::uint64_t size_bytes, int fd, std::uint64_t offset) {
  // Made elsewhere and moved, since a MAP_FIXED that fails may leave a hole. Until a page is written to it is the
  // file's: so what a thread stores before, during or after the move is in it.
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  void* copy = mmap(nullptr, size_bytes, kProtection, MAP_PRIVATE, fd, static_cast<off_t>(offset));
  if (copy == MAP_FAILED) {
    copy = mmap(nullptr, size_bytes, kProtection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return cannot(size_bytes, errno);
    if (const int os_error = populate(static_cast<std::byte*>(copy), size_bytes); os_error != 0) {
      munmap(copy, size_bytes);
      return cannot(size_bytes, os_error);
    }
    std::memcpy(copy, address, size_bytes);
  }
  if (mremap(copy, size_bytes, size_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, address) == MAP_FAILED) {
    const int os_error = errno;
    munmap(copy, size_bytes);
    return cannot(size_bytes, os_error);
  }
  if (const int os_error = populate(address, size_bytes); os_error != 0) return cannot(size_bytes, os_error);
  return {};
}

bool is_private(const void* address, std::uint64_t size_bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address), end = begin + size_bytes;
  const std::unique_ptr<FILE, int (*)(FILE*)> maps(std::fopen("/proc/self/maps", "re"), std::fclose);
  char line[4352];  // a path is the longest part
  while (maps != nullptr && std::fgets(line, sizeof line, maps.get()) != nullptr) {
    std::uintptr_t first = 0, last = 0;
    char access[5] = {};
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &first, &last, access) != 3) continue;
    if (first < end && begin < last && access[3] == 'p') return true;
  }
  return false;
}

}  // namespace pollux::vfio::user
