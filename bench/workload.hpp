// Which block comes next, and whether it is read or written. Deterministic: the same shape and seed give the same
// sequence. As in fio, a sequential mix keeps one position a direction; a random pattern takes each block once a pass,
// unless norandommap.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/bench/job.hpp"
#include "pollux/bench/random.hpp"

namespace pollux::bench {

struct WorkloadShape {
  Pattern pattern = Pattern::read;
  std::uint64_t blocks = 0;  // of the job's range, in units of bs; at least 1
  unsigned rwmixread = 50;   // percent
  bool norandommap = false;
  std::uint64_t seed = 0;
};

struct Pick {
  std::uint64_t block;  // of the job's range
  bool write;
};

class Workload {
 public:
  explicit Workload(const WorkloadShape& shape)
      : shape_(shape),
        random_(shape.seed),
        order_(shape.blocks, random_.next()),
        read_below_((1ull << 32) * shape.rwmixread / 100) {}

  Pick next() noexcept {
    const bool write = picks_write();
    if (!is_random(shape_.pattern)) return {step(next_block_[write]), write};
    if (shape_.norandommap) return {random_.below(shape_.blocks), write};
    if (left_in_pass_ == 0) {
      if (!first_pass_) order_ = Permutation(shape_.blocks, random_.next());
      first_pass_ = false;
      left_in_pass_ = shape_.blocks;
    }
    --left_in_pass_;
    return {order_.next(), write};
  }

 private:
  bool picks_write() noexcept {
    if (!may_write(shape_.pattern)) return false;
    if (!may_read(shape_.pattern)) return true;
    return random_.next() >> 32 >= read_below_;
  }

  std::uint64_t step(std::uint64_t& next_block) noexcept {
    const std::uint64_t block = next_block;
    next_block = block + 1 == shape_.blocks ? 0 : block + 1;
    return block;
  }

  WorkloadShape shape_;
  Random random_;
  Permutation order_;
  std::uint64_t read_below_;  // of 2^32
  std::uint64_t left_in_pass_ = 0;
  bool first_pass_ = true;
  std::array<std::uint64_t, 2> next_block_{};  // of reads, of writes
};

}  // namespace pollux::bench
