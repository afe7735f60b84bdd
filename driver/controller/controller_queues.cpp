// The numbers, doorbells and interrupts of the I/O queues, and the admin commands that make and delete them.
#include <algorithm>
#include <cstdint>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {

Result<std::uint16_t> Controller::take_queue_id() {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (state_ == State::lost) return lost();
  if (state_ == State::down) return shut_down_before();
  const auto granted = std::span(queue_ids_).first(io_queue_limit_);
  const auto free = std::ranges::find_if(granted, [](const QueueId& id) { return !id.taken; });
  if (io_queue_limit_ == 0) {
    const std::string why = queues_refused_.ok() ? "it has no I/O command set (CAP.CSS)" : queues_refused_.text();
    return error({"the controller grants no I/O queue: " + why,
                  "Identify, logs and other admin commands work; if it needs a firmware or a format, give it that"});
  }
  if (free == granted.end()) {
    const bool granted_all = io_queue_limit_ >= wants_.io_queues;
    return error({fmt::format("no I/O queue pair is left of {} that the controller granted", io_queue_limit_),
                  granted_all ? fmt::format("open the drive with more (OpenOptions::io_queues is {})", wants_.io_queues)
                              : "it grants no more: close a channel, or let jobs share one"});
  }
  free->taken = true;
  return static_cast<std::uint16_t>(free - granted.begin() + 1);
}

bool Controller::uses_shadow_doorbells() {
  if (!opened_here()) return false;
  const std::lock_guard lock(mutex_);
  return uses_shadows_;
}

Result<Doorbells> Controller::doorbells(std::uint16_t qid) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  const auto dstrd = static_cast<unsigned>(cap::kDstrd.of(cap_));
  const auto find = [&](std::uint64_t offset) -> Result<Doorbell> {
    const auto doorbell = registers_->doorbell(offset);
    if (!doorbell) return error(doorbell.error());
    return uses_shadows_ ? shadows_->shadow(*doorbell, offset) : *doorbell;
  };
  const auto submission = find(submission_doorbell_offset(qid, dstrd));
  if (!submission) return std::unexpected(submission.error());
  const auto completion = find(completion_doorbell_offset(qid, dstrd));
  if (!completion) return std::unexpected(completion.error());
  return Doorbells{*submission, *completion};
}

Result<QueueInterrupt> Controller::interrupt(std::uint16_t qid) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (const auto on = turn_interrupts_on(); !on) return error(on.error());
  // The admin queue is polled, and needs its vector 0 least: it is shared only where there is no other.
  const auto vectors = static_cast<unsigned>(eventfds_.size());
  const unsigned first = vectors == 1 ? 0 : 1;
  const unsigned vector = first + (qid - 1u) % (vectors - first);
  if (io_queue_limit_ <= vectors - first) return QueueInterrupt{static_cast<std::uint16_t>(vector), &eventfds_[vector]};
  if (listeners_.size() < io_queue_limit_) listeners_.resize(io_queue_limit_);  // a reset may have brought more
  std::optional<vfio::Eventfd>& listener = listeners_.at(qid - 1u);
  if (!listener) {
    auto made = eventfds_[vector].listener();
    if (!made) return error(made.error());
    listener = std::move(*made);
  }
  return QueueInterrupt{static_cast<std::uint16_t>(vector), &*listener};
}

// A vector for the admin queue and one for each I/O queue, or as many as there are.
Result<void> Controller::turn_interrupts_on() {
  if (!eventfds_.empty()) return {};
  const auto info = device_->interrupt_info(vfio::InterruptIndex::msix);
  if (!info) return std::unexpected(info.error());
  if (info->count == 0 || !info->eventfd) return fail("the device has no MSI-X that signals eventfds", "poll it");
  std::vector<vfio::Eventfd> eventfds;
  std::vector<int> fds;
  const std::uint32_t vectors = std::min<std::uint32_t>(info->count, io_queue_limit_ + 1u);
  for (std::uint32_t vector = 0; vector < vectors; ++vector) {
    auto eventfd = vfio::Eventfd::create();
    if (!eventfd) return std::unexpected(eventfd.error());
    fds.push_back(eventfd->fd());
    eventfds.push_back(std::move(*eventfd));
  }
  if (const auto set = device_->set_interrupts(vfio::InterruptIndex::msix, fds); !set) return set;
  eventfds_ = std::move(eventfds);
  return {};
}

Result<std::uint64_t> Controller::create_queue(const IoQueue& queue) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (auto told = still_as_told(queue); !told) return error(told.error());
  return create_queue_locked(queue);
}

std::optional<Result<std::uint64_t>> Controller::try_create_queue(const IoQueue& queue) {
  if (!opened_here()) return std::nullopt;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return std::nullopt;
  return create_queue_locked(queue);
}

Result<std::uint64_t> Controller::create_queue_locked(const IoQueue& queue) {
  const auto refused = [&](const char* what, Status status) {
    return error({fmt::format("{} {} with {} entries failed: {}", what, queue.qid, queue.entries, status.text()), {}});
  };
  // Between the owner's look and this call.
  if (queue.revocation != nullptr && queue.revocation->load(std::memory_order_acquire) != Revocation::none)
    return error({"the namespace has changed", "open it anew, and the channel"});
  if (uses_shadows_) shadows_->clear(queue.qid, static_cast<unsigned>(cap::kDstrd.of(cap_)));
  QueueId& id = queue_ids_.at(queue.qid - 1u);
  id.ns = queue.ns;
  id.entries = queue.entries;
  id.max_transfer_bytes = queue.max_transfer_bytes;
  id.revocation = queue.revocation;
  std::uint64_t& known_in = id.epoch;
  known_in = epoch();  // and stays so where an answer is missing

  Command command;
  command.cdw10 = create_queue::kQsize.put(create_queue::kQid.put(0u, queue.qid), queue.entries - 1);
  const std::uint32_t contiguous = create_queue::kPc.put(0u, 1);
  command.cdw11 = contiguous;
  if (queue.interrupt_vector)
    command.cdw11 = create_queue::kIv.put(create_queue::kIen.put(contiguous, 1), *queue.interrupt_vector);
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::create_cq);
  command.prp1 = queue.completions_iova;
  const auto completions = admin_locked(command, {}, DataDirection::none);
  if (!completions) return error(completions.error());
  if (!completions->status.ok()) {
    known_in = 0;
    return refused("Create I/O Completion Queue", completions->status);
  }

  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::create_sq);
  command.prp1 = queue.submissions_iova;
  command.cdw11 = create_queue::kCqid.put(contiguous, queue.qid);
  const auto submissions = admin_locked(command, {}, DataDirection::none);
  if (!submissions) return error(submissions.error());
  if (!submissions->status.ok()) {
    if (delete_ring(AdminOpcode::delete_cq, queue.qid)) known_in = 0;
    return refused("Create I/O Submission Queue", submissions->status);
  }
  if (quirks_.has(Quirk::delay_after_queue_alloc)) clock_.pause_ns(kDelayAfterQueueNs);
  has_had_queues_ = true;
  live_queues_.fetch_add(1, std::memory_order_relaxed);
  return epoch();
}

void Controller::release_queue(std::uint16_t qid) noexcept {
  if (!opened_here()) return;
  const std::lock_guard lock(mutex_);
  QueueId& id = queue_ids_.at(qid - 1u);
  const bool may_exist = state_ == State::up && id.epoch == epoch();
  if (may_exist && !delete_queue(qid)) (void)reset_locked();
  // A server that is silent, and waited for: whether it comes back or not, this memory must be quiet now.
  const bool may_be_written = state_ == State::away && id.epoch == epoch() && device_->may_reach_memory();
  if (may_be_written) (void)give_back({"a channel was closed while its server was silent", "open the drive anew"});
  id = {};
}

Result<void> Controller::delete_queue(std::uint16_t qid) {
  if (auto deleted = delete_ring(AdminOpcode::delete_sq, qid); !deleted) return deleted;
  return delete_ring(AdminOpcode::delete_cq, qid);
}

Result<void> Controller::delete_ring(AdminOpcode opcode, std::uint16_t qid) {
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(opcode);
  command.cdw10 = qid;
  const auto result = admin_locked(command, {}, DataDirection::none);
  if (!result) return error(result.error());
  if (result->status.ok()) return {};
  return error({fmt::format("deleting I/O queue {} failed: {}", qid, result->status.text()), {}});
}

}  // namespace pollux::nvme
