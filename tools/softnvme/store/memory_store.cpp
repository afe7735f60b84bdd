#include "pollux/tools/softnvme/store/memory_store.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "pollux/vfio/address_limit.hpp"

namespace pollux::softnvme {
namespace {
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kGiveBackBytes =
    256 * 1024;  // from here on zeroing gives pages back: one system call beats the stores
}  // namespace

Result<std::unique_ptr<MemoryStore>> MemoryStore::create(std::uint64_t size_bytes) {
  void* const data =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    const int os_error = errno;
    std::string what = fmt::format("soft: no memory for a namespace of {} bytes", size_bytes);
    const std::string beyond = vfio::beyond_address_limit(size_bytes);
    if (!beyond.empty())
      return fail_errno(os_error, what + ": " + beyond,
                        "raise that limit (ulimit -v), or give a smaller size=, or null=1, which needs none");
    return fail_errno(os_error, std::move(what), "give a smaller size=, or null=1, which needs none");
  }
  return std::unique_ptr<MemoryStore>(new MemoryStore(static_cast<std::byte*>(data), size_bytes));
}

MemoryStore::~MemoryStore() { munmap(data_, size_bytes_); }

bool MemoryStore::read(std::uint64_t offset, std::span<std::byte> into) {
  std::memcpy(into.data(), data_ + offset, into.size());
  return true;
}

bool MemoryStore::write(std::uint64_t offset, std::span<const std::byte> from) {
  std::memcpy(data_ + offset, from.data(), from.size());
  return true;
}

bool MemoryStore::zero(std::uint64_t offset, std::uint64_t size_bytes) {
  const std::uint64_t end = offset + size_bytes;
  const std::uint64_t first_page = (offset + kPageBytes - 1) & ~(kPageBytes - 1);
  const std::uint64_t last_page = end & ~(kPageBytes - 1);
  if (size_bytes < kGiveBackBytes || madvise(data_ + first_page, last_page - first_page, MADV_DONTNEED) != 0) {
    std::memset(data_ + offset, 0, size_bytes);
    return true;
  }
  std::memset(data_ + offset, 0, first_page - offset);
  std::memset(data_ + last_page, 0, end - last_page);
  return true;
}

}  // namespace pollux::softnvme
