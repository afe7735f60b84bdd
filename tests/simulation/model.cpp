#include "pollux/tests/simulation/model.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pollux::simulation {

Model::Model() : blocks_(kBlocks) {
  for (Block& block : blocks_) block.writes.push_back({0, 0, 0, 0, Outcome::done});
}

Model::Moment Model::begin_write(std::uint64_t lba, std::uint64_t blocks, Value value) {
  ++now_;
  for (std::uint64_t i = lba; i < lba + blocks; ++i) blocks_[i].writes.push_back({value, now_});
  return now_;
}

std::optional<std::string> Model::end_write(std::uint64_t lba, std::uint64_t blocks, Moment begun, Outcome outcome,
                                            bool durable) {
  ++now_;
  for (std::uint64_t i = lba; i < lba + blocks; ++i) {
    for (Write& write : blocks_[i].writes) {
      if (write.begun != begun) continue;
      write.ended = now_;
      write.outcome = outcome;
      if (outcome == Outcome::done && durable) write.durable = now_;
      if (outcome == Outcome::never && write.seen)
        return fmt::format("block {} has shown write {}, which ended as one that never reached the media", i,
                           write.value);
    }
  }
  return std::nullopt;
}

// The contract of Channel::flush() knows one exception: a loss of which a flush of this channel has told since, or one
// of another channel before this one was opened.
void Model::end_flush(unsigned channel, Moment begun) {
  ++now_;
  const Moment known = knows_[channel];
  for (Block& block : blocks_) {
    for (Write& write : block.writes) {
      if (write.outcome != Outcome::done || write.ended > begun) continue;
      const bool may_be_gone = write.ended < known && power_lost_between(write.begun, known);
      if (!may_be_gone) write.durable = std::min(write.durable, write.ended);
    }
  }
}

bool Model::power_lost_between(Moment from, Moment to) const {
  return std::any_of(losses_.begin(), losses_.end(), [&](Moment loss) { return from < loss && loss < to; });
}

// By a write that began after this one had ended, and was over before the read began; unless the power was lost while
// that one was not durable.
bool Model::is_overwritten(const Block& block, const Write& write, Moment read_begun) const {
  return std::any_of(block.writes.begin(), block.writes.end(), [&](const Write& later) {
    return later.outcome == Outcome::done && later.begun > write.ended && later.ended < read_begun &&
           !power_lost_between(later.begun, std::min(later.durable, now_));
  });
}

std::optional<std::string> Model::judge(std::uint64_t lba, Moment begun, Value value) {
  Block& block = blocks_[lba];
  ++now_;
  std::vector<Write*> possible;
  for (Write& write : block.writes) {
    if (write.value != value || write.outcome == Outcome::never) continue;
    if (is_overwritten(block, write, begun)) continue;
    const bool superseded = block.seen && block.seen->value != value && block.seen->ended < begun &&
                            write.ended < block.seen->begun && !power_lost_between(block.seen->begun, now_);
    if (superseded) continue;
    possible.push_back(&write);
  }
  if (possible.empty()) {
    std::string known;
    for (const Write& write : block.writes) known += fmt::format("{}{}", known.empty() ? "" : ", ", write.value);
    return fmt::format("block {} shows write {}, which it cannot show now; its writes were {}", lba, value, known);
  }
  // Zeros may have come from one of several.
  if (possible.size() == 1 && possible.front()->outcome == Outcome::in_flight) possible.front()->seen = true;
  if (!block.seen || begun > block.seen->begun) block.seen = {value, begun, now_};
  return std::nullopt;
}

}  // namespace pollux::simulation
