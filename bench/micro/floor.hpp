// What an I/O costs at the least: a loop that does nothing but fill the submission entry, keep a callback per command
// and read the completion entry. It trusts the controller blindly, knows neither a full queue nor a deadline, and takes
// commands to complete in order. The queue engine is measured against it, in the same run.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/bench/micro/loopback.hpp"

namespace pollux::micro {

class Floor : public Rings {
 public:
  explicit Floor(std::uint32_t entries) : Rings(entries), callbacks_(entries), mask_(entries - 1) {}

  void read(std::uint64_t lba, std::uint64_t iova, nvme::Callback done, void* context) noexcept {
    nvme::Command& slot = submissions[tail_];
    slot.cdw0 = nvme::cdw0::kCid.put(static_cast<std::uint32_t>(nvme::IoOpcode::read), tail_);
    slot.nsid = 1;
    slot.cdw2 = slot.cdw3 = 0;
    slot.mptr = 0;
    slot.prp1 = iova;
    slot.prp2 = 0;
    slot.cdw10 = static_cast<std::uint32_t>(lba);
    slot.cdw11 = static_cast<std::uint32_t>(lba >> 32);
    slot.cdw12 = 7;
    slot.cdw13 = slot.cdw14 = slot.cdw15 = 0;
    callbacks_[tail_] = {done, context};
    tail_ = (tail_ + 1) & mask_;
  }

  void ring() noexcept { nvme::store_doorbell(&submission_doorbell, tail_); }

  unsigned poll(unsigned limit) noexcept {
    unsigned answered = 0;
    while (answered < limit) {
      const std::uint64_t tail = nvme::load_from_device(&completions[head_].tail);
      if (nvme::cqe::kPhase.of(tail) != phase_) break;
      head_ = (head_ + 1) & mask_;
      phase_ ^= head_ == 0;
      ++answered;
      const Entry& entry = callbacks_[nvme::cqe::kCid.of(tail)];
      entry.done(entry.context, nvme::Status{static_cast<std::uint16_t>(nvme::cqe::kStatus.of(tail))});
    }
    if (answered != 0) nvme::store_doorbell(&completion_doorbell, head_);
    return answered;
  }

 private:
  struct Entry {
    nvme::Callback done;
    void* context;
  };
  std::vector<Entry> callbacks_;
  std::uint32_t mask_;
  std::uint32_t tail_ = 0;
  std::uint32_t head_ = 0;
  std::uint32_t phase_ = 1;
};

}  // namespace pollux::micro
