#include "pollux/driver/admin_queue.hpp"

#include <cassert>
#include <cstring>

#include "pollux/vfio/clock.hpp"

namespace pollux::nvme {

Result<std::unique_ptr<AdminQueue>> AdminQueue::create(dma::Space& space) {
  auto memory = QueueMemory::allocate(space, kEntries, kDepth, 1);
  if (!memory) return std::unexpected(memory.error());
  return std::unique_ptr<AdminQueue>(new AdminQueue(std::move(*memory)));
}

void AdminQueue::restart(const Doorbell& submission_doorbell, const Doorbell& completion_doorbell) {
  pair_.emplace(memory_.make_queue(submission_doorbell, completion_doorbell));
  timed_out_ = false;
}

void AdminQueue::start(const Command& command, std::span<const std::byte> data, DataDirection direction,
                       std::uint64_t now_ns) {
  assert(usable() && pair_->in_flight() == 0 && data.size() <= kAdminDataBytes);
  if (direction != DataDirection::none) {
    std::uint64_t* const page = data_page().entries;
    std::memset(page, 0, kAdminDataBytes);
    if (direction == DataDirection::to_controller) std::memcpy(page, data.data(), data.size());
  }
  result_.reset();
  opcode_ = static_cast<std::uint8_t>(cdw0::kOpcode.of(command.cdw0));
  deadline_ns_ = now_ns + kAdminTimeoutMs * kNsPerMs;
  [[maybe_unused]] const bool taken = pair_->submit(on_done, this, 0, [&](Command& slot, std::uint16_t) {
    slot = command;
    if (direction != DataDirection::none) slot.prp1 = data_page().iova;
  });
  assert(taken);
  pair_->ring();
}

void AdminQueue::on_done(void* context, Status status) noexcept {
  auto* const queue = static_cast<AdminQueue*>(context);
  queue->result_ = AdminResult{status, queue->pair_->result_dw0()};
}

Result<std::optional<AdminResult>> AdminQueue::step(std::uint64_t now_ns) {
  pair_->poll(kDepth);
  if (!result_ && now_ns >= deadline_ns_) {
    timed_out_ = true;
    return fail(fmt::format("admin command {:#04x} was not answered within {} ms", opcode_, kAdminTimeoutMs),
                "the controller hangs: reset it or power it off");
  }
  return result_;
}

}  // namespace pollux::nvme
