// A client that shortens a file whose memory it shared makes whoever touches that memory fault with SIGBUS. Behind such
// a mapping the handler lays empty memory, so that the controller can go on until the client is sent away. The table of
// mappings is fixed in size and read without a lock: a handler may do no more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/vfio/error.hpp"

namespace pollux::softnvme::server::fault_guard {

// Takes SIGBUS for the whole program. What lies in no published mapping ends it, as it would have.
Result<void> install();

inline constexpr std::uint32_t kMaxMappings = 65535;

// Makes a mapping known from before its first use until after its last. At most kMaxMappings at a time; one thread.
std::uint32_t publish(void* address, std::size_t size_bytes);
void retract(std::uint32_t slot);

// Whether a published mapping has faulted since this was asked last. Any thread.
bool take_fault();

}  // namespace pollux::softnvme::server::fault_guard
