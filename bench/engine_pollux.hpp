// pollux under the job loop: one Channel, and a buffer cut into a piece for each request.
#pragma once

#include <bit>
#include <memory>
#include <string>
#include <utility>

#include "pollux/bench/engine.hpp"
#include "pollux/driver/block/channel.hpp"

namespace pollux::bench {

class PolluxEngine {
 public:
  // `memory` holds depth times `block_bytes` and outlives the engine, and the device's last use of it.
  PolluxEngine(std::unique_ptr<Channel> channel, const dma::Slice& memory, std::uint64_t block_bytes,
               bool waits = false)
      : channel_(std::move(channel)),
        memory_(memory),
        block_bytes_(block_bytes),
        lba_shift_(static_cast<unsigned>(std::countr_zero(channel_->ns().block_size_bytes))),
        waits_(waits) {}

  unsigned depth() const { return channel_->depth(); }

  std::span<std::byte> memory(std::uint32_t index) { return {memory_.data + index * block_bytes_, block_bytes_}; }

  template <Completed completed>
  Submitted submit(Request& request) noexcept {
    constexpr Callback kDone = [](void* context, nvme::Status status) noexcept {
      completed(*static_cast<Request*>(context), status.ok() ? 0 : status.bits);
    };
    const dma::Slice slice = memory_.part(request.index * block_bytes_, block_bytes_);
    const std::uint64_t lba = request.offset_bytes >> lba_shift_;
    const Submit answer =
        request.write ? channel_->write(lba, slice, kDone, &request) : channel_->read(lba, slice, kDone, &request);
    if (answer == Submit::accepted) [[likely]]
      return Submitted::accepted;
    // Stopped: a reset is under way. Gone: whoever polls the drive says why. Polling answers what is outstanding, and
    // the loop bounds the rest.
    if (answer == Submit::queue_full || answer == Submit::stopped || answer == Submit::gone) return Submitted::full;
    refusal_ = answer;
    return Submitted::refused;
  }

  void ring() noexcept { channel_->ring(); }
  unsigned poll() noexcept {
    return waits_ ? channel_->wait(Channel::kLongestSleepMs, kPollLimit) : channel_->poll(kPollLimit);
  }

  std::string describe(std::uint32_t code) const { return nvme::Status{static_cast<std::uint16_t>(code)}.text(); }

  std::string last_refusal() const {
    switch (refusal_) {
      case Submit::out_of_range:
        return "the range lies past the end of the namespace";
      case Submit::bad_size:
        return "the size is not a multiple of the namespace's block size";
      case Submit::misaligned:
        return "the buffer is misaligned";
      case Submit::unsupported:
        return "the controller lacks the command";
      case Submit::foreign_memory:
        return "the buffer is not of the drive's space";
      case Submit::read_only_memory:
      case Submit::no_callback:
      case Submit::accepted:
      case Submit::queue_full:
      case Submit::stopped:
      case Submit::gone:
        break;
      case Submit::namespace_changed:
        return "the namespace was formatted, or is another one now";
    }
    return "not refused";
  }

 private:
  static constexpr unsigned kPollLimit = 64;

  std::unique_ptr<Channel> channel_;
  dma::Slice memory_;
  std::uint64_t block_bytes_;
  unsigned lba_shift_;  // the block size is 2^n: no division on the path
  bool waits_;
  Submit refusal_ = Submit::accepted;
};

}  // namespace pollux::bench
