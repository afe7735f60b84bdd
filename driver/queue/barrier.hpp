// The orders that a driver needs against a device, by name. Everything else in the queue engine is plain loads and
// stores of one thread.
//
// x86 keeps stores in order and loads in order, so the atomics below only hold the compiler. arm64 does neither, and
// C++'s acquire and release promise something to other threads only, which share the processors' inner domain. A device
// stands in the outer one: hence `dmb osh…`, as the kernel has it around its register accesses. The atomics stay beside
// them, for the compiler and for a controller made of software.
#pragma once

#include <cstdint>

namespace pollux::nvme {

// Reads a word that the device writes last. Nothing of the entry is read before it.
// Pairs with: the controller's write of a completion entry, phase last.
inline std::uint64_t load_from_device(const std::uint64_t* word) {
  const std::uint64_t value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#endif
  return value;
}

// Writes a doorbell, or its shadow: every store before it, the ring's entries first of all, is visible to the device
// before the doorbell is; so is every load before it done, or the device could overwrite a completion that is still
// being read.
// Pairs with: the controller's read of the doorbell, before it fetches or posts.
inline void store_doorbell(volatile std::uint32_t* doorbell, std::uint32_t value) {
#if defined(__aarch64__)
  asm volatile("dmb osh" ::: "memory");  // oshst is for stores before stores; the loads want more
#endif
  __atomic_store_n(doorbell, value, __ATOMIC_RELEASE);
}

// Every store before it is visible before any load after it is done: the one order that x86 does not keep by itself.
// A locked instruction on the stack and not mfence, which takes three to ten times as long: the house rule against
// locked instructions is about words that threads share, and this one is nobody else's. It lies below the red zone, so
// that nothing waits for what was stored there last.
// Pairs with: its like in the device, which stores what is loaded here and loads what was stored.
inline void store_load_barrier() {
#if defined(__x86_64__)
  asm volatile("lock orl $0, -128(%%rsp)" ::: "memory", "cc");
#elif defined(__aarch64__)
  asm volatile("dmb osh" ::: "memory");
#else
#error "a full barrier of this processor"
#endif
}

}  // namespace pollux::nvme
