// The seam between the job loop and whatever carries its requests out: pollux today, io_uring on a kernel device later.
// An engine is one job's way to one namespace, used by that job's thread alone. The loop is a template over it, so
// nothing here is virtual.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace pollux::bench {

// One of the job's requests: as many as its depth, made once, used over and over.
struct Request {
  std::uint32_t index = 0;  // 0 to depth - 1; names its memory in the engine
  bool write = false;
  std::uint64_t offset_bytes = 0;  // on the namespace
  std::uint64_t block = 0;         // of the job's range
  std::uint64_t begun_ns = 0;      // before the submission call
  std::uint64_t issued_ns = 0;     // after it
  std::uint32_t generation = 0;    // of the content that a read has to find; 0: not judged
  bool outstanding = false;        // accepted, and not completed
  std::uint32_t code = 0;          // the engine's result; 0: success
  void* owner = nullptr;           // the job loop
};

enum class Submitted : std::uint8_t {
  accepted,  // completed(request, code) follows, out of poll()
  full,      // poll, then try again
  refused,   // never: last_refusal() tells why
};

// What poll() calls for each accepted request, once.
using Completed = void (*)(Request& request, std::uint32_t code) noexcept;

// For the concept only.
inline void never_completed(Request&, std::uint32_t) noexcept {}

template <typename E>
concept Engine = requires(E engine, const E& fixed, Request& request, std::uint32_t code) {
  // Requests that may be outstanding.
  { fixed.depth() } -> std::convertible_to<unsigned>;
  // Memory of request `index`: bs bytes, the engine's.
  { engine.memory(code) } -> std::same_as<std::span<std::byte>>;
  // Reads into, or writes from, the request's memory. The completion is a template argument, so that no pointer is
  // followed twice.
  { engine.template submit<never_completed>(request) } noexcept -> std::same_as<Submitted>;
  // Everything submitted is on its way after this.
  { engine.ring() } noexcept;
  // Completes what is done and returns how many requests or commands that were; 0: nothing. Blocks only where the job
  // chose to wait so, and a fraction of a second at most.
  { engine.poll() } noexcept -> std::convertible_to<unsigned>;
  // For people: a completion's code, and the last refusal.
  { fixed.describe(code) } -> std::same_as<std::string>;
  { fixed.last_refusal() } -> std::same_as<std::string>;
};

}  // namespace pollux::bench
