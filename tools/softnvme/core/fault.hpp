// Faults on demand. A hook is asked at three points of a command's life, each in one place of the core: after the
// fetch, when data moves, and when the completion is posted. Without a hook each point is one predictable branch.
// Called by the thread that steps the core, under the adapter's lock: a hook is quick, and calls nothing of the device.
#pragma once

#include <cstdint>

#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"
#include "pollux/driver/spec/status.hpp"

namespace pollux::softnvme {

// What becomes of a command that was just fetched.
struct FetchFault {
  enum class Kind : std::uint8_t {
    none,
    answer,  // with `status`, not executed
    hang,    // not executed, not answered; Abort, queue deletion and reset end it
    drop,    // forgotten: not executed, not answered, and Abort does not find it
    delay,   // executed after `delay_ns`
  };
  Kind kind = Kind::none;
  nvme::Status status{};
  std::uint64_t delay_ns = 0;
};

// The data of a Read or Write that passed all checks.
struct DataTransfer {
  std::uint32_t nsid;
  std::uint64_t slba;
  std::uint32_t blocks;
  bool is_write;
};

// What becomes of the data. The command is answered with success all the same.
struct DataFault {
  enum class Kind : std::uint8_t {
    none,
    drop_write,   // Write: nothing is stored
    stale_read,   // Read: each block as it was before it was last written, as far as the core has seen that since the
                  // hook was set
    swap_blocks,  // Write: afterwards `lba` and `other_lba` have changed places on the medium. Read: they change places
                  // in the data
    flip_bit,     // bit `bit` of `lba`: Write: on the medium; Read: in the data
  };
  Kind kind = Kind::none;
  std::uint64_t lba = 0;        // lies in the transfer
  std::uint64_t other_lba = 0;  // lies in the namespace
  std::uint32_t bit = 0;        // taken modulo the block's bits
};

// What becomes of a completion. The hook may also change the entry that it is given (CID, status, SQ head).
enum class PostFault : std::uint8_t {
  none,
  lose,
  twice,
  stale_phase,  // it takes its place in the ring with the phase tag of the last pass
};

class FaultHook {
 public:
  virtual ~FaultHook() = default;
  virtual FetchFault after_fetch(std::uint16_t /*sqid*/, const nvme::Command&) { return {}; }
  virtual DataFault at_transfer(const DataTransfer&) { return {}; }
  virtual PostFault at_completion(std::uint16_t /*sqid*/, nvme::Completion&) { return PostFault::none; }
};

}  // namespace pollux::softnvme
