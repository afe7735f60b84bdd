// Blocks behind a volatile write cache: what is not flushed when the power goes may be there afterwards, or not, block
// by block.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "pollux/tests/simulation/rng.hpp"
#include "pollux/tests/simulation/schedule.hpp"
#include "pollux/tools/softnvme/core/store.hpp"

namespace pollux::simulation {

class Medium final : public softnvme::Store {
 public:
  bool read(std::uint64_t offset, std::span<std::byte> into) override {
    std::copy_n(cached_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return true;
  }
  bool write(std::uint64_t offset, std::span<const std::byte> from) override {
    std::copy(from.begin(), from.end(), cached_.begin() + static_cast<std::ptrdiff_t>(offset));
    ++changes_;
    return true;
  }
  bool zero(std::uint64_t offset, std::uint64_t size_bytes) override {
    std::fill_n(cached_.begin() + static_cast<std::ptrdiff_t>(offset), size_bytes, std::byte{0});
    ++changes_;
    return true;
  }
  bool flush() override {
    durable_ = cached_;
    return true;
  }

  void lose_power(Rng& rng) {
    for (std::size_t at = 0; at < cached_.size(); at += kBlockBytes) {
      if (rng.one_in(2)) std::copy_n(durable_.begin() + at, kBlockBytes, cached_.begin() + at);
    }
    durable_ = cached_;
  }

  unsigned changes() const { return changes_; }

 private:
  std::array<std::byte, kBlocks * kBlockBytes> cached_{};
  std::array<std::byte, kBlocks * kBlockBytes> durable_{};
  unsigned changes_ = 0;
};

}  // namespace pollux::simulation
