// Completion queue entry. NVMe base 2.0c, 3.3.3.2.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/driver/spec/field.hpp"
#include "pollux/driver/spec/status.hpp"

namespace pollux::nvme {

struct alignas(16) Completion {
  std::uint32_t dw0 = 0;  // command specific
  std::uint32_t dw1 = 0;
  std::uint64_t tail =
      0;  // SQ head, SQ id, CID, phase and status: written last by the controller, read once by the host
};
static_assert(sizeof(Completion) == 16 && offsetof(Completion, tail) == 8);

// Fields of Completion::tail.
namespace cqe {
inline constexpr Field kSqhd{0, 16};
inline constexpr Field kSqid{16, 16};
inline constexpr Field kCid{32, 16};
inline constexpr Field kPhase{48, 1};
inline constexpr Field kStatus{49, 15};
}  // namespace cqe

}  // namespace pollux::nvme
