// The controller's events: one request waits in the admin queue; what it brings is read with the log page that goes
// with it, which also lets the controller report the next one of that type (NVMe base 2.0c, 5.2), and waits for the
// application.
#include <cstdint>
#include <utility>

#include "pollux/driver/controller/controller.hpp"
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
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

// At most one a turn: a controller that has always another one gets no more than its share. Waits for nothing: the log
// page is there in one of the next turns.
void Controller::collect_event() {
  if (state_ != State::up || !admin_->usable()) return;
  if (event_to_read_) {
    const auto step = admin_->step(clock_.now_ns());
    if (!step) ask_for_reset(epoch());
    if (!step || *step) finish_event(step ? Result<AdminResult>(**step) : std::unexpected(step.error()));
    return;
  }
  if (const auto dw0 = admin_->take_event()) {
    event_to_read_ = Event{static_cast<AsyncEventType>(async_event::kType.of(*dw0)),
                           static_cast<std::uint8_t>(async_event::kInformation.of(*dw0)),
                           static_cast<std::uint8_t>(async_event::kLid.of(*dw0)),
                           {}};
    Command command;
    command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::get_log_page);
    command.nsid = kNsidAll;
    command.cdw10 = get_log::kNumdl.put(get_log::kLid.put(0u, event_to_read_->log_id),
                                        log_bytes(static_cast<LogId>(event_to_read_->log_id)) / 4 - 1);  // RAE 0
    return admin_->start(command, {}, DataDirection::from_controller, clock_.now_ns());
  }
  admin_->listen();
}

// `log`: how reading its log page has ended.
void Controller::finish_event(const Result<AdminResult>& log) {
  Event& event = *event_to_read_;
  if (log && log->status.ok()) {
    const auto page = admin_->data().first(log_bytes(static_cast<LogId>(event.log_id)));
    event.log.assign(page.begin(), page.end());
  }
  if (event.type == AsyncEventType::notice &&
      event.information == static_cast<std::uint8_t>(Notice::namespace_attribute_changed))
    namespaces_may_differ_ = true;
  drop_event();
  if (log) admin_->listen();
}

// Without a log page, if it has none yet: a reset took that.
void Controller::drop_event() {
  if (!event_to_read_) return;
  if (events_.size() == kMaxEvents) events_.pop_front();
  events_.push_back(*std::exchange(event_to_read_, std::nullopt));
}

}  // namespace pollux::nvme
