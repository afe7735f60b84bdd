// The admin queue as the controller's owner uses it: one command at a time, with one page of data, and beside it one
// Abort and one Asynchronous Event Request. A machine: start(), then step() until it answers. Its memory lives as long
// as this object, so that a command that never completes can do no harm later. NVMe base 2.0c, 3.3.1, 5, 5.1, 5.2.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "pollux/dma/space.hpp"
#include "pollux/driver/controller/queue_memory.hpp"

namespace pollux::nvme {

inline constexpr std::uint32_t kAdminTimeoutMs = 30'000;
inline constexpr std::uint32_t kAdminDataBytes = 4096;

struct AdminResult {
  Status status;
  std::uint32_t dw0;  // command specific
};

enum class DataDirection : std::uint8_t { none, from_controller, to_controller };

class AdminQueue {
 public:
  static constexpr std::uint32_t kEntries = 32;

  static Result<std::unique_ptr<AdminQueue>> create(dma::Space& space);

  // For ASQ and ACQ.
  vfio::Iova submissions_iova() const { return memory_.submissions_iova(); }
  vfio::Iova completions_iova() const { return memory_.completions_iova(); }

  // Empties both rings for a controller that is disabled; the doorbells are those of queue 0.
  void restart(const Doorbell& submission_doorbell, const Doorbell& completion_doorbell);

  // Sends one command; none but the event request and an Abort may be in flight. The command's PRP1 becomes the data
  // page if there is data: at most kAdminDataBytes, copied from `data` when it goes to the controller.
  void start(const Command& command, std::span<const std::byte> data, DataDirection direction, std::uint64_t now_ns,
             std::uint32_t timeout_ms = kAdminTimeoutMs);

  // The answer, once there is one. Error: none within the timeout; from then on the queue is of no use until restart().
  Result<std::optional<AdminResult>> step(std::uint64_t now_ns);

  // Sends an Abort of an I/O command, unless one is in flight.
  void abort(std::uint16_t sqid, std::uint16_t cid, std::uint64_t now_ns, std::uint32_t timeout_ms);
  bool is_aborting() const { return aborting_; }

  // Whether the controller has aborted the command, once, when it has answered the Abort. Error: no answer within the
  // timeout; from then on the queue is of no use until restart().
  Result<std::optional<bool>> step_abort(std::uint64_t now_ns);

  // The controller processes no commands for a while (CSTS.PP): every deadline is that much later.
  void postpone(std::uint64_t ns) {
    deadline_ns_ += ns;
    abort_deadline_ns_ += ns;
  }

  // Sends the event request, which has no timeout, unless one is in flight or the controller has refused one since
  // restart().
  void listen();

  // Dword 0 of the event request's completion, once.
  std::optional<std::uint32_t> take_event();

  // What the controller returned, valid until the next start().
  std::span<const std::byte, kAdminDataBytes> data() const {
    return std::as_bytes(std::span<const std::uint64_t, kAdminDataBytes / 8>(data_page().entries, kAdminDataBytes / 8));
  }

  // Nobody waits for the answer any more: the queue is of no use until restart().
  void abandon() { abandoned_ = true; }
  bool usable() const { return pair_.has_value() && !abandoned_; }

 private:
  static constexpr std::uint32_t kDepth = kEntries - 1;

  explicit AdminQueue(QueueMemory memory) : memory_(std::move(memory)) {}
  static void on_done(void* context, Status status) noexcept;
  static void on_abort(void* context, Status status) noexcept;
  static void on_event(void* context, Status status) noexcept;
  PrpList data_page() const { return memory_.list(0); }

  QueueMemory memory_;
  std::optional<QueuePair> pair_;
  std::optional<AdminResult> result_;
  Command command_;  // the last one, for messages
  std::uint32_t timeout_ms_ = 0;
  std::uint64_t deadline_ns_ = 0;
  bool abandoned_ = false;
  bool aborting_ = false;
  std::uint32_t abort_timeout_ms_ = 0;
  std::uint64_t abort_deadline_ns_ = 0;
  std::optional<bool> aborted_;
  bool listening_ = false;
  bool events_refused_ = false;
  std::optional<std::uint32_t> event_;
};

}  // namespace pollux::nvme
