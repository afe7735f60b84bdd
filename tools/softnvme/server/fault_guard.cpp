#include "pollux/tools/softnvme/server/fault_guard.hpp"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <csignal>
#include <vector>

namespace pollux::softnvme::server::fault_guard {
namespace {

struct Slot {
  std::atomic<std::uintptr_t> first = 0;
  std::atomic<std::size_t> size_bytes = 0;  // 0: nothing is published here
};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<std::size_t>::is_always_lock_free);

std::array<Slot, kMaxMappings> slots;
std::atomic<std::uint32_t> used = 0;  // slots from here on were never published
std::atomic<bool> faulted = false;
std::vector<std::uint32_t> retracted;  // below `used`, to be published again; the handler does not look here

// Whole mappings, not pages: one of huge pages could not be replaced in part, and its client is to leave anyway.
bool lay_memory_over(std::uintptr_t address) {
  for (std::uint32_t i = 0; i < used.load(std::memory_order_acquire); ++i) {
    // Pairs with publish(). The mapping that faults is in use, so its slot is not changing.
    const std::size_t size_bytes = slots[i].size_bytes.load(std::memory_order_acquire);
    const std::uintptr_t first = slots[i].first.load(std::memory_order_relaxed);
    if (address - first >= size_bytes) continue;
    return mmap(reinterpret_cast<void*>(first), size_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void*) {
  const int os_error = errno;
  if (info->si_code > 0 && lay_memory_over(reinterpret_cast<std::uintptr_t>(info->si_addr))) {
    faulted.store(true, std::memory_order_release);
  } else {
    std::signal(signal, SIG_DFL);
    raise(signal);  // comes through when this handler returns
  }
  errno = os_error;
}

}  // namespace

Result<void> install() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGBUS, &action, nullptr) != 0) return fail_errno(errno, "cannot take SIGBUS");
  return {};
}

std::uint32_t publish(void* address, std::size_t size_bytes) {
  std::uint32_t slot = used.load(std::memory_order_relaxed);
  if (retracted.empty()) {
    assert(slot < kMaxMappings);
    used.store(slot + 1, std::memory_order_release);
  } else {
    slot = retracted.back();
    retracted.pop_back();
  }
  slots[slot].first.store(reinterpret_cast<std::uintptr_t>(address), std::memory_order_relaxed);
  // Pairs with the handler's load: whoever sees the size sees the address.
  slots[slot].size_bytes.store(size_bytes, std::memory_order_release);
  return slot;
}

void retract(std::uint32_t slot) {
  slots[slot].size_bytes.store(0, std::memory_order_release);
  retracted.push_back(slot);
}

bool take_fault() { return faulted.exchange(false, std::memory_order_acq_rel); }

}  // namespace pollux::softnvme::server::fault_guard
