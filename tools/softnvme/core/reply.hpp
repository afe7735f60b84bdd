// How a command was answered: the 15 status bits and dword 0 of its completion, or not answered yet.
#pragma once

#include <cstdint>

#include "pollux/driver/spec/status.hpp"

namespace pollux::softnvme {

struct Reply {
  std::uint16_t status = 0;  // as nvme::Status::bits
  bool held = false;         // no completion now: somebody keeps the command
  std::uint32_t dw0 = 0;
};

inline Reply success(std::uint32_t dw0 = 0) { return {0, false, dw0}; }

// The same command would fail again: Do Not Retry.
inline Reply refuse(nvme::StatusCode code) { return {nvme::Status::from(code, true).bits, false, 0}; }

// The same command may succeed later.
inline Reply failure(nvme::StatusCode code) { return {nvme::Status::from(code, false).bits, false, 0}; }

inline Reply held() { return {0, true, 0}; }

}  // namespace pollux::softnvme
