// Why a mapping fails where memory is free: RLIMIT_AS (ulimit -v) bounds the addresses of a process, used or not, and
// mmap(2) then says ENOMEM. Source: setrlimit(2); proc_pid_statm(5).
#pragma once

#include <cstdint>
#include <string>

namespace pollux::vfio {

// Whether `size_bytes` more are beyond that limit: "this process may have 122880000 bytes of addresses (RLIMIT_AS), and
// has 118784000". Empty: they are not, or there is no limit.
std::string beyond_address_limit(std::uint64_t size_bytes);

inline constexpr const char* kRaiseAddressLimit = "ask for less, or raise that limit (ulimit -v)";

}  // namespace pollux::vfio
