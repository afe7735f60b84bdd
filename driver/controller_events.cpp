// The controller's events: one request waits in the admin queue; what it brings is read with the log page that goes
// with it, which also lets the controller report the next one of that type (NVMe base 2.0c, 5.2), and waits for the
// application.
#include <cstdint>
#include <utility>

#include "pollux/driver/controller.hpp"
#include "pollux/driver/spec/log.hpp"

namespace pollux::nvme {
namespace {

// Bytes of a log page that tell of an event; of an unknown one the least that every page has.
std::size_t log_bytes(LogId id) {
  switch (id) {
    case LogId::error_information:
      return sizeof(ErrorLogEntry);  // the newest
    case LogId::changed_ns_list:
      return kAdminDataBytes;
    default:
      return sizeof(SmartLog);
  }
}

}  // namespace

std::optional<Event> Controller::take_event() {
  if (!opened_here()) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

// At most one a turn: a controller that has always another one gets no more than its share.
void Controller::collect_event() {
  if (state_ != State::up || events_.size() == kMaxEvents) return;
  if (const auto dw0 = admin_->take_event()) {
    Event event{static_cast<AsyncEventType>(async_event::kType.of(*dw0)),
                static_cast<std::uint8_t>(async_event::kInformation.of(*dw0)),
                static_cast<std::uint8_t>(async_event::kLid.of(*dw0)),
                {}};
    std::vector<std::byte> log(log_bytes(static_cast<LogId>(event.log_id)));
    Command command;
    command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::get_log_page);
    command.nsid = kNsidAll;
    command.cdw10 = get_log::kNumdl.put(get_log::kLid.put(0u, event.log_id), log.size() / 4 - 1);  // RAE 0
    const auto result = admin_locked(command, log, DataDirection::from_controller);
    if (result && result->status.ok()) event.log = std::move(log);
    events_.push_back(std::move(event));
    if (!result) return;  // the queue is of no use until the reset
  }
  admin_->listen();
}

}  // namespace pollux::nvme
