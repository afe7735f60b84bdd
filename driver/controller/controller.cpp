#include "pollux/driver/controller/controller.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/driver/controller/transition.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/kept.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::nvme {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

Controller::Controller(std::unique_ptr<vfio::Device> device, std::shared_ptr<dma::Space> space, Clock& clock,
                       const Wants& wants, vfio::OwnWord pulse)
    : id_(next_id()),
      space_(std::move(space)),
      device_(std::move(device)),
      clock_(clock),
      wants_(wants),
      pulse_word_(std::move(pulse)) {}

Result<std::unique_ptr<Controller>> Controller::create(std::unique_ptr<vfio::Device> device,
                                                       std::shared_ptr<dma::Space> space, Clock& clock,
                                                       const Wants& wants) {
  auto pulse = vfio::OwnWord::create(Pulse::make(0, Pulse::Phase::down, 0).word);
  if (!pulse) return std::unexpected(pulse.error());
  std::unique_ptr<Controller> controller(
      new Controller(std::move(device), std::move(space), clock, wants, std::move(*pulse)));
  if (const auto started = controller->start(); !started) return controller->error(started.error());
  return controller;
}

Controller::~Controller() {
  // What cannot be disabled is cut off from memory, before the rings and the mappings go.
  if (opened_here() && state_ == State::up) (void)shutdown();
  if (opened_here() && state_ != State::down) (void)part_with_memory();
  if (keeps_device_) vfio::keep_until_the_end(std::move(device_));  // closed, it could be somebody else's
}

Result<void> Controller::start() {
  quirks_ = wants_.quirks;
  if (const auto ids = vfio::read_ids(*device_)) {
    if (const QuirkRow* const row = quirk_row_of(ids->vendor, ids->device)) quirks_ = quirks_ | row->quirks;
  }
  auto registers = Registers::open(*device_);
  if (!registers) return std::unexpected(registers.error());
  registers_ = std::move(*registers);
  auto admin = AdminQueue::create(*space_);
  if (!admin) return std::unexpected(admin.error());
  admin_ = std::move(*admin);
  if (wants_.shadow_doorbells) {
    auto shadows = ShadowDoorbells::allocate(*space_);
    if (!shadows) return std::unexpected(shadows.error());
    shadows_.emplace(std::move(*shadows));
  }

  queue_ids_.reserve(std::max<std::uint16_t>(wants_.io_queues, 1));  // more are never granted: they keep their places
  if (const auto listening = listen(); !listening) return listening;
  if (const auto disabled = disable(); !disabled) return give_up(disabled.error());
  if (const auto up = bring_up(); !up) return give_up(up.error());
  cache_may_be_lost_ = false;  // nobody has written yet
  publish_reset(Pulse::Phase::up);
  return {};
}

// What VFIO has to tell besides completions. A device that has neither is asked in other ways: by its registers.
Result<void> Controller::listen() {
  const auto install = [&](vfio::InterruptIndex index, std::optional<vfio::Eventfd>& listener) -> Result<void> {
    const auto info = device_->interrupt_info(index);
    if (!info) return std::unexpected(info.error());
    if (info->count == 0 || !info->eventfd) return {};
    auto eventfd = vfio::Eventfd::create();
    if (!eventfd) return std::unexpected(eventfd.error());
    const int fds[] = {eventfd->fd()};
    if (auto set = device_->set_interrupts(index, fds); !set) return set;
    listener = std::move(*eventfd);
    return {};
  };
  if (auto done = install(vfio::InterruptIndex::request, wanted_back_); !done) return done;
  return install(vfio::InterruptIndex::error, link_error_);
}

// Time goes on for the owners while a machine runs, so that what waits for it has its bound.
template <typename Machine>
Result<void> Controller::run(Machine& machine) {
  return run_to_end(machine, clock_, [&, looked_ns = clock_.now_ns()](std::uint64_t now_ns) mutable {
    if (now_ns - looked_ns < kLookNs) return;
    looked_ns = now_ns;
    publish(Pulse{pulse_.load(std::memory_order_relaxed)}.phase());
  });
}

Result<void> Controller::disable() {
  const std::uint32_t delay_ms = quirks_.has(Quirk::delay_before_chk_rdy) ? kDelayBeforeReadyMs : 0;
  Disable machine(*registers_, delay_ms);
  auto disabled = run(machine);
  if (!machine.was_well()) cache_may_be_lost_ = true;  // disabled by somebody else or a loss of power, or broken
  if (!disabled && read_csts(*registers_)) {
    // The last rung that leaves the device usable. One that is gone is not waited for: the kernel would, for a minute.
    if (const auto reset = device_->reset(); !reset) return disabled;
    cache_may_be_lost_ = true;
    Disable again(*registers_, delay_ms);
    disabled = run(again);
  }
  if (disabled) state_ = State::down;
  return disabled;
}

Result<void> Controller::bring_up() {
  // Off when VFIO opens the device: the controller would become ready and then never complete a command.
  if (auto mastering = vfio::set_bus_master(*device_, true); !mastering) return mastering;

  BringUp machine(*registers_, *admin_, shadows_ ? &*shadows_ : nullptr, std::max<std::uint16_t>(wants_.io_queues, 1));
  drop_event();
  state_ = State::lost;  // until it is known to be up: from here on the controller may reach our memory
  is_answered_ = false;
  if (auto up = run(machine); !up) return up;
  is_answered_ = true;

  if (auto taken = take_facts(machine.facts()); !taken) return taken;
  state_ = State::up;
  if (auto restored = restore_settings(); !restored) return restored;
  return check_namespaces();
}

Result<void> Controller::shutdown() {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (state_ == State::lost) return lost();
  if (state_ == State::down) return {};
  return shut_down_locked();
}

Result<void> Controller::shut_down_locked() {
  stop_owners();
  for (std::size_t index = 0; index < queue_ids_.size(); ++index) {
    // Best effort: a queue that cannot be deleted does not survive the disabling below.
    if (queue_ids_[index].epoch == epoch()) (void)delete_queue(static_cast<std::uint16_t>(index + 1));
  }
  ShutDown machine(*registers_, identity_.rtd3e);
  const auto finished = run(machine);
  if (const auto disabled = disable(); !disabled) return give_up(disabled.error());
  publish(Pulse::Phase::gone);
  if (!finished) return error(finished.error());
  return {};
}

std::unexpected<Error> Controller::lost() const {
  std::string_view why = lost_because_.what;
  const std::string name = device_->address().text + ": ";
  if (why.starts_with(name)) why.remove_prefix(name.size());
  return error({fmt::format("the controller is lost: {}", why), "close the drive"});
}

std::unexpected<Error> Controller::error(const Error& why) const {
  const std::string& name = device_->address().text;
  if (why.what.starts_with(name)) return std::unexpected(why);
  return std::unexpected(Error{name + ": " + why.what, why.advice, why.os_error});
}

}  // namespace pollux::nvme
