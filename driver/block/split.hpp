// A request that is larger than one command: cut into pieces, each a command of its own, answered once when the last
// piece is. Pieces leave other requests a share of the queue; each that completes lets the next one go. The
// records are allocated with the channel.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/dma/slice.hpp"
#include "pollux/driver/queue/queue_pair.hpp"

namespace pollux {

class Channel;

// What a command does, and CDW12 without the number of blocks.
struct Operation {
  nvme::IoOpcode opcode;
  std::uint32_t flags;
};

struct Split {
  Channel* channel;
  nvme::Callback done;
  void* context;
  std::uint64_t lba;          // of the next piece
  std::uint64_t blocks_left;  // not yet sent
  dma::Slice data;            // of the pieces not yet sent; empty for commands without data
  Operation operation;
  std::uint32_t in_flight;  // pieces
  bool reached;             // a piece that has ended may have changed the medium
  nvme::Status status;      // the first that is not success
};

// The channel's Splits. One thread.
class SplitPool {
 public:
  explicit SplitPool(std::size_t count) : splits_(count) {
    free_.reserve(count);
    for (Split& split : splits_) free_.push_back(&split);
  }

  // nullptr: all are in use.
  Split* take() noexcept {
    if (free_.empty()) return nullptr;
    Split* const split = free_.back();
    free_.pop_back();
    return split;
  }

  void give_back(Split* split) noexcept { free_.push_back(split); }  // within the reserved capacity

  // Calls `each(Split&)` for those of which a piece is in flight.
  template <typename Each>
  void for_each_in_flight(Each&& each) noexcept {
    for (Split& split : splits_) {
      if (split.in_flight != 0) each(split);
    }
  }

 private:
  std::vector<Split> splits_;
  std::vector<Split*> free_;
};

}  // namespace pollux
