#include "pollux/driver/controller/admin_queue.hpp"

#include <cassert>
#include <cstring>
#include <utility>

#include "pollux/driver/spec/command_text.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::nvme {
namespace {

// There are drives that do not bear one question (quirks.hpp); whether this is another one, its owner can try.
std::string advice_if_hung(const Command& command) {
  const bool asks_descriptors = cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(AdminOpcode::identify) &&
                                identify::kCns.of(command.cdw10) == static_cast<unsigned>(Cns::ns_descriptors);
  return fmt::format(
      "the controller hangs: reset it or power it off{}",
      asks_descriptors ? "; if this question alone does it, add ,quirks=no_ns_desc_list to its address" : "");
}

}  // namespace

Result<std::unique_ptr<AdminQueue>> AdminQueue::create(dma::Space& space) {
  auto memory = QueueMemory::allocate(space, kEntries, kDepth, 1);
  if (!memory) return std::unexpected(memory.error());
  return std::unique_ptr<AdminQueue>(new AdminQueue(std::move(*memory)));
}

void AdminQueue::restart(const Doorbell& submission_doorbell, const Doorbell& completion_doorbell) {
  pair_.emplace(memory_.make_queue(submission_doorbell, completion_doorbell));
  abandoned_ = aborting_ = false;
  aborted_.reset();
  listening_ = events_refused_ = false;
  event_.reset();
}

void AdminQueue::start(const Command& command, std::span<const std::byte> data, DataDirection direction,
                       std::uint64_t now_ns, std::uint32_t timeout_ms) {
  assert(usable() && pair_->in_flight() == (listening_ ? 1u : 0u) + (aborting_ ? 1u : 0u));
  assert(data.size() <= kAdminDataBytes);
  if (direction != DataDirection::none) {
    std::uint64_t* const page = data_page().entries;
    std::memset(page, 0, kAdminDataBytes);
    if (direction == DataDirection::to_controller) std::memcpy(page, data.data(), data.size());
  }
  result_.reset();
  command_ = command;
  timeout_ms_ = timeout_ms;
  deadline_ns_ = now_ns + timeout_ms * kNsPerMs;
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
    abandon();
    return fail(fmt::format("{} was not answered within {} ms", admin_command_text(command_), timeout_ms_),
                advice_if_hung(command_));
  }
  return result_;
}

void AdminQueue::abort(std::uint16_t sqid, std::uint16_t cid, std::uint64_t now_ns, std::uint32_t timeout_ms) {
  if (!usable() || aborting_) return;
  aborted_.reset();
  abort_timeout_ms_ = timeout_ms;
  abort_deadline_ns_ = now_ns + timeout_ms * kNsPerMs;
  aborting_ = pair_->submit(on_abort, this, 0, [&](Command& slot, std::uint16_t) {
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(AdminOpcode::abort);
    slot.cdw10 = abort_command::kCid.put(abort_command::kSqid.put(0u, sqid), cid);
  });
  pair_->ring();
}

void AdminQueue::on_abort(void* context, Status status) noexcept {
  auto* const queue = static_cast<AdminQueue*>(context);
  queue->aborting_ = false;
  queue->aborted_ = status.ok() && abort_command::kNotAborted.of(queue->pair_->result_dw0()) == 0;
}

Result<std::optional<bool>> AdminQueue::step_abort(std::uint64_t now_ns) {
  if (usable()) pair_->poll(kDepth);
  if (aborting_ && now_ns >= abort_deadline_ns_) {
    abandon();
    return fail(fmt::format("an Abort was not answered within {} ms", abort_timeout_ms_),
                "the controller hangs: reset it or power it off");
  }
  return std::exchange(aborted_, std::nullopt);
}

void AdminQueue::listen() {
  if (!usable() || listening_ || events_refused_) return;
  listening_ = pair_->submit(on_event, this, 0, [](Command& slot, std::uint16_t) {
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(AdminOpcode::async_event_request);
  });
  pair_->ring();
}

void AdminQueue::on_event(void* context, Status status) noexcept {
  auto* const queue = static_cast<AdminQueue*>(context);
  queue->listening_ = false;
  queue->events_refused_ = !status.ok();
  if (status.ok()) queue->event_ = queue->pair_->result_dw0();
}

std::optional<std::uint32_t> AdminQueue::take_event() {
  if (usable()) pair_->poll(kDepth);
  return std::exchange(event_, std::nullopt);
}

}  // namespace pollux::nvme
