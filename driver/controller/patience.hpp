// Commands that are sent again because what they were answered with may pass: a namespace that is not ready right after
// a reset, a controller that is busy with something of its own.
#pragma once

#include <cstdint>

#include "pollux/driver/spec/status.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::nvme {

inline constexpr std::uint32_t kPatienceMs = 2'000;

// A failure that says neither "do not retry" nor that the command or the namespace is wrong.
constexpr bool may_pass(Status status) {
  switch (status.code()) {
    case StatusCode::success:
    case StatusCode::invalid_opcode:
    case StatusCode::invalid_field:
    case StatusCode::invalid_namespace_or_format:
      return false;
    default:
      return !status.do_not_retry();
  }
}

// What `ask()` is answered with, asked again for kPatienceMs while that may pass. Error: as of ask().
template <typename Ask>
Result<Status> ask_patiently(Clock& clock, Ask&& ask) {
  constexpr std::uint64_t kPauseNs = 20 * kNsPerMs;
  const std::uint64_t deadline_ns = clock.now_ns() + kPatienceMs * kNsPerMs;
  for (;;) {
    const Result<Status> status = ask();
    if (!status || !may_pass(*status) || clock.now_ns() >= deadline_ns) return status;
    clock.pause_ns(kPauseNs);
  }
}

}  // namespace pollux::nvme
