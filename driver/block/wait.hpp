// How a channel's owner waits for completions, and the processor's own way of it: sleeping on a cache line.
#pragma once

#include <cstdint>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux {

// Chosen when a channel is made. poll() is the same for all of them; wait() is what differs.
enum class Wait : std::uint8_t {
  poll,       // looks again and again: the least latency, a whole processor
  adaptive,   // looks for kSpinNs, then sleeps until the queue's interrupt
  interrupt,  // sleeps until the queue's interrupt
  monitor,    // sleeps on the cache line of the next completion: WAITPKG (Intel) or MONITORX (AMD)
};

// Error: this processor cannot wait that way.
Result<void> can_wait(Wait wait);

// Waits until the line of `word` is written, or a while has passed. Only where can_wait(Wait::monitor). `value`: what
// the word held when it was looked at last.
void wait_for_write(const std::uint64_t* word, std::uint64_t value) noexcept;

// "poll", "adaptive", "interrupt", "monitor".
std::string_view name_of(Wait wait) noexcept;

}  // namespace pollux
