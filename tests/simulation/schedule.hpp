// What a seed stands for: a drive, its channels, and what happens to them one step after the other. A schedule is data,
// so that it can be printed, run again, and cut down to the steps that a failure needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pollux::simulation {

enum class Act : std::uint8_t {
  // the application's
  read,
  write,
  write_fua,
  write_zeroes,
  deallocate,
  flush,
  ring,
  poll,
  drive_poll,
  pass_time,
  reset,
  function_reset,
  reopen,  // a channel is closed, and another one opened
  // faults, each met by the next command, completion or doorbell that can meet it
  error_status,
  hang,
  drop,
  delay,
  lose_completion,
  double_completion,
  stale_phase,
  wrong_cid,
  wrong_sqid,
  drop_doorbell,
  admin_hang,
  admin_error,
  abort_loses,  // the next Abort comes too late: the controller says so
  // faults of the controller, at once or while the driver waits for something
  fatal_status,
  never_ready,    // until a function reset
  foreign_reset,  // of the function, by somebody else
  power_loss,     // and back; what was not flushed may be gone
  other_drive,    // after a power loss another one comes back
  resize,         // the namespace shrinks, vanishes or has its old size again
  gone,           // registers read as all ones, or as zeros
  count,
};
inline constexpr std::size_t kActs = static_cast<std::size_t>(Act::count);

std::string_view name_of(Act act);
constexpr bool is_fault(Act act) { return act >= Act::error_status; }

struct Step {
  Act act;
  std::uint8_t channel;
  std::uint16_t lba;
  std::uint16_t blocks;
  std::uint64_t salt;  // the seed of whatever else is left to chance while this step runs
};

struct ChannelPlan {
  std::uint16_t depth;
  std::uint32_t timeout_ms;
  std::uint32_t max_transfer_bytes;
  bool reissue_writes;
};

struct Schedule {
  std::uint64_t seed;
  bool shadow_doorbells;
  std::vector<ChannelPlan> channels;
  std::vector<Step> steps;

  static Schedule of(std::uint64_t seed);
  std::string text() const;  // a line a step
};

inline constexpr unsigned kMaxChannels = 3;
inline constexpr std::uint64_t kBlocks = 64;
inline constexpr std::uint32_t kBlockBytes = 512;
inline constexpr std::uint16_t kMaxRequestBlocks = 24;  // 12 KiB: a PRP list

}  // namespace pollux::simulation
