// The memory of one queue pair: both rings and a few pages a command for its PRP list, in one buffer that the device
// reaches; and the host's own records. Allocated once, before the queue exists, so that the data path allocates
// nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/dma/space.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/queue/queue_pair.hpp"

namespace pollux::nvme {

class QueueMemory {
 public:
  // `entries`: of either ring. `depth`: commands in flight, below `entries`. `list_pages`: pages a command, at
  // least 1.
  static Result<QueueMemory> allocate(dma::Space& space, std::uint32_t entries, std::uint32_t depth,
                                      std::uint32_t list_pages);

  // A queue pair in its first state, over rings that are zeroed for it. The controller has no queue over this memory at
  // that moment.
  QueuePair make_queue(const Doorbell& submission_doorbell, const Doorbell& completion_doorbell) noexcept;

  // Zeroes both rings, for QueuePair::restart(). The controller has no queue over this memory at that moment.
  void clear_rings() noexcept;

  std::uint32_t entries() const noexcept { return entries_; }
  vfio::Iova submissions_iova() const noexcept { return buffer_.slice().iova; }
  vfio::Iova completions_iova() const noexcept { return buffer_.slice().iova + completions_offset_; }

  // The pages of the command whose record has this index.
  PrpList list(std::uint16_t index) const noexcept {
    const std::uint64_t offset = std::uint64_t{index} * list_bytes_;
    return {reinterpret_cast<std::uint64_t*>(lists_.data + offset), lists_.iova + offset};
  }

 private:
  QueueMemory() = default;

  dma::Slice lists_;
  std::uint32_t list_bytes_ = 0;
  std::uint32_t entries_ = 0;
  std::uint64_t completions_offset_ = 0;
  std::vector<Request> requests_;
  std::vector<std::uint16_t> free_indices_;
  dma::Buffer buffer_;
};

}  // namespace pollux::nvme
