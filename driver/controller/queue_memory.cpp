#include "pollux/driver/controller/queue_memory.hpp"

#include <cassert>
#include <cstring>

namespace pollux::nvme {
namespace {

constexpr std::uint64_t round_up_to_page(std::uint64_t bytes) { return (bytes + kPageBytes - 1) & ~(kPageBytes - 1); }

}  // namespace

Result<QueueMemory> QueueMemory::allocate(dma::Space& space, std::uint32_t entries, std::uint32_t depth,
                                          std::uint32_t list_pages) {
  assert(depth < entries && list_pages >= 1);
  QueueMemory memory;
  memory.entries_ = entries;
  memory.completions_offset_ = round_up_to_page(entries * sizeof(Command));
  const std::uint64_t lists_offset = memory.completions_offset_ + round_up_to_page(entries * sizeof(Completion));
  memory.list_bytes_ = list_pages * static_cast<std::uint32_t>(kPageBytes);
  const std::uint64_t lists_bytes = std::uint64_t{depth} * memory.list_bytes_;
  auto buffer = space.allocate(lists_offset + lists_bytes);
  if (!buffer) return std::unexpected(buffer.error());
  memory.buffer_ = std::move(*buffer);
  memory.lists_ = memory.buffer_.slice(lists_offset, lists_bytes);
  memory.requests_.resize(depth);
  memory.free_indices_.resize(depth);
  return memory;
}

QueuePair QueueMemory::make_queue(const Doorbell& submission_doorbell, const Doorbell& completion_doorbell) noexcept {
  clear_rings();
  std::byte* const base = buffer_.slice().data;
  return QueuePair({
      .submissions = {reinterpret_cast<Command*>(base), entries_},
      .completions = {reinterpret_cast<Completion*>(base + completions_offset_), entries_},
      .requests = requests_,
      .free_indices = free_indices_,
      .submission_doorbell = submission_doorbell,
      .completion_doorbell = completion_doorbell,
  });
}

// Phase 0 everywhere: the controller's first pass writes 1.
void QueueMemory::clear_rings() noexcept {
  std::memset(buffer_.slice().data, 0, completions_offset_ + entries_ * sizeof(Completion));
}

}  // namespace pollux::nvme
