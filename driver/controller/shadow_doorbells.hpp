// The memory of shadow doorbells and event indices: a page each, laid out like the doorbells of BAR0. Zeroed whenever
// the controller is disabled; the controller reads it from Doorbell Buffer Config on. The event indices are its own to
// write, at any time; what it writes when it takes the buffers it need not write again. NVMe base 2.0c, 5.8 and B.5.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "pollux/dma/space.hpp"
#include "pollux/driver/queue/doorbell.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {

class ShadowDoorbells {
 public:
  static Result<ShadowDoorbells> allocate(dma::Space& space) {
    auto buffer = space.allocate(2 * kPageBytes);
    if (!buffer) return std::unexpected(buffer.error());
    return ShadowDoorbells(std::move(*buffer));
  }

  void clear() noexcept { std::memset(buffer_.slice().data, 0, 2 * kPageBytes); }

  // When the controller has taken the buffers: its event indices are what queues begin with.
  void keep_events() noexcept { std::memcpy(first_events_.data(), words() + kWords, kPageBytes); }

  // Before a queue pair is created: what another one of this id left behind goes. An event index of that one could let
  // the controller sleep while this one begins.
  void clear(std::uint16_t qid, unsigned dstrd) noexcept {
    for (const std::uint64_t offset :
         {submission_doorbell_offset(qid, dstrd), completion_doorbell_offset(qid, dstrd)}) {
      const std::uint64_t index = index_of(offset);
      if (index >= kWords) continue;
      words()[index] = 0;
      words()[kWords + index] = first_events_[index];
    }
  }

  vfio::Iova shadows_iova() const noexcept { return buffer_.slice().iova; }
  vfio::Iova events_iova() const noexcept { return buffer_.slice().iova + kPageBytes; }

  // The doorbell at `offset` of BAR0 with its shadow; as it is where the page does not reach that far. The admin
  // queue's keeps its register up to date as well: `always`.
  Doorbell shadow(const Doorbell& doorbell, std::uint64_t offset, bool always = false) const noexcept {
    const std::uint64_t index = index_of(offset);
    if (index >= kWords) return doorbell;
    return doorbell.shadowed_by(words() + index, always ? nullptr : words() + kWords + index);
  }

 private:
  static constexpr std::uint64_t kWords = kPageBytes / sizeof(std::uint32_t);

  static std::uint64_t index_of(std::uint64_t offset) noexcept {
    return (offset - reg::kDoorbells) / sizeof(std::uint32_t);
  }
  std::uint32_t* words() const noexcept { return reinterpret_cast<std::uint32_t*>(buffer_.slice().data); }

  explicit ShadowDoorbells(dma::Buffer buffer) : buffer_(std::move(buffer)), first_events_(kWords) {}

  dma::Buffer buffer_;
  std::vector<std::uint32_t> first_events_;
};

}  // namespace pollux::nvme
