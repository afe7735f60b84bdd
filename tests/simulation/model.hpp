// A model of the block device, which judges every read: which writes may be what a block shows, given when each was
// submitted, when and how it ended, what a flush had covered, and when the power was lost.
//
// Moments are counted, not measured: each submission, answer and loss of power is one later than the last.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pollux/tests/simulation/schedule.hpp"

namespace pollux::simulation {

// What a block is filled with: the number of the write, or 0 for zeros.
using Value = std::uint64_t;

enum class Outcome : std::uint8_t { in_flight, done, unknown, never };  // unknown: it may have reached the medium

class Model {
 public:
  using Moment = std::uint64_t;

  Model();

  Moment now() const { return now_; }
  Moment begin() { return ++now_; }  // of a read or a flush

  // A write of `value` to each block.
  Moment begin_write(std::uint64_t lba, std::uint64_t blocks, Value value);
  // `durable`: FUA. An error text if a read has seen what ends as `never`.
  std::optional<std::string> end_write(std::uint64_t lba, std::uint64_t blocks, Moment begun, Outcome outcome,
                                       bool durable);
  // A flush of this channel that began at `begun` has succeeded: what had been answered by then is on the medium.
  void end_flush(unsigned channel, Moment begun);
  // This channel's owner hears that what was answered up to now may be gone.
  void know_losses(unsigned channel) { knows_.at(channel) = told_ = ++now_; }
  // Who opens a channel knows what some channel has told of before, and no more.
  void open(unsigned channel) { knows_.at(channel) = told_; }
  void lose_power() { losses_.push_back(++now_); }

  // A read that began at `begun` and has just ended shows `value`: an error text if it may not.
  std::optional<std::string> judge(std::uint64_t lba, Moment begun, Value value);

 private:
  static constexpr Moment kNever = ~Moment{0};
  struct Write {
    Value value;
    Moment begun;
    Moment ended = kNever;
    Moment durable = kNever;
    Outcome outcome = Outcome::in_flight;
    bool seen = false;
  };
  // What a read has shown: nothing that had ended before it may show again later, but for a loss of power.
  struct Seen {
    Value value;
    Moment begun;
    Moment ended;
  };
  struct Block {
    std::vector<Write> writes;
    std::optional<Seen> seen;
  };
  bool power_lost_between(Moment from, Moment to) const;
  bool is_overwritten(const Block& block, const Write& write, Moment read_begun) const;

  std::vector<Block> blocks_;
  std::vector<Moment> losses_;
  std::array<Moment, kMaxChannels> knows_{};
  Moment told_ = 0;  // the last time that somebody was
  Moment now_ = 0;
};

}  // namespace pollux::simulation
