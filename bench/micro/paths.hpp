// The paths that are measured, each as submit() and poll() of a batch beside complete(), which plays the controller and
// is not measured. pollux-micro times them; pollux-count runs them under callgrind, which counts inside the functions
// named measured_* alone. The user's callback is empty: one instruction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "pollux/bench/micro/floor.hpp"
#include "pollux/bench/micro/loopback.hpp"

namespace pollux::micro {

inline constexpr std::uint32_t kEntries = 256;
inline constexpr unsigned kDepth = 128;  // in flight
inline constexpr unsigned kBatch = 32;

class Path {
 public:
  virtual ~Path() = default;
  virtual void submit(unsigned count) = 0;  // and one doorbell
  virtual void complete(unsigned count) = 0;
  virtual unsigned poll(unsigned limit) = 0;
};

struct PathEntry {
  std::string_view name;
  std::unique_ptr<Path> (*make)();
  bool empty = false;  // only poll() is measured, with nothing to find
};

std::span<const PathEntry> paths();

// Keeps kDepth in flight, a batch at a time. Ends the program if the path loses an I/O.
void run(const PathEntry& entry, std::uint64_t batches);

}  // namespace pollux::micro
