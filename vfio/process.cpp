#include "pollux/vfio/process.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <optional>

namespace pollux::vfio {
namespace {

constexpr std::size_t kPageBytes = 4096;

// This process's number: larger than its parent's, whose count it has a copy of.
std::uint64_t this_process() noexcept {
  static const std::optional<OwnWord> word = [] {
    auto made = OwnWord::create(0);
    return made ? std::optional(std::move(*made)) : std::nullopt;
  }();
  if (!word) return static_cast<std::uint64_t>(getpid());  // no such memory: a process id, which may be used again
  std::uint64_t number = (**word).load(std::memory_order_relaxed);
  if (number != 0) return number;
  static std::atomic<std::uint64_t> last = 0;
  const std::uint64_t next = last.fetch_add(1, std::memory_order_relaxed) + 1;
  return (**word).compare_exchange_strong(number, next, std::memory_order_relaxed) ? next : number;
}

}  // namespace

Opener::Opener() noexcept : process_(this_process()) {}
bool Opener::is_this_process() const noexcept { return process_ == this_process(); }

std::unexpected<Error> not_the_opener(std::string_view what) {
  return fail(fmt::format("{} was opened by another process, from which this one was forked", what),
              "open what the child uses in the child");
}

Result<OwnWord> OwnWord::create(std::uint64_t value) {
  void* const page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return fail_errno(errno, "no memory for a page");
  if (madvise(page, kPageBytes, MADV_WIPEONFORK) != 0) {
    const int os_error = errno;
    munmap(page, kPageBytes);
    return fail_errno(os_error, "memory cannot be kept from children (MADV_WIPEONFORK)", "this takes Linux 4.14");
  }
  return OwnWord(new (page) std::atomic<std::uint64_t>(value));
}

OwnWord::~OwnWord() {
  if (word_ != nullptr) munmap(static_cast<void*>(word_), kPageBytes);
}

}  // namespace pollux::vfio
