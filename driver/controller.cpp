#include "pollux/driver/controller.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/driver/transition.hpp"
#include "pollux/vfio/pci_config.hpp"

namespace pollux::nvme {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// An ASCII field, padded with spaces; what a hostile controller puts there instead becomes '?'.
std::string text_of(std::span<const char> field) {
  std::string text(field.begin(), field.end());
  text.resize(text.find_last_not_of(std::string_view(" \0", 2)) + 1);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
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

  if (const auto listening = listen(); !listening) return listening;
  if (const auto disabled = disable(); !disabled) return give_up(disabled.error());
  if (const auto up = bring_up(); !up) return give_up(up.error());
  queue_ids_.resize(io_queue_limit_);
  cache_may_be_lost_ = false;  // nobody has written yet
  publish_up();
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

Result<void> Controller::disable() {
  const std::uint32_t delay_ms = quirks_.has(Quirk::delay_before_chk_rdy) ? kDelayBeforeReadyMs : 0;
  Disable machine(*registers_, delay_ms);
  auto disabled = run_to_end(machine, clock_);
  if (!machine.was_enabled()) cache_may_be_lost_ = true;  // by somebody else, or by a loss of power
  if (!disabled && read_csts(*registers_)) {
    // The last rung that leaves the device usable. One that is gone is not waited for: the kernel would, for a minute.
    if (const auto reset = device_->reset(); !reset) return disabled;
    cache_may_be_lost_ = true;
    Disable again(*registers_, delay_ms);
    disabled = run_to_end(again, clock_);
  }
  if (disabled) state_ = State::down;
  return disabled;
}

Result<void> Controller::bring_up() {
  // Off when VFIO opens the device: the controller would become ready and then never complete a command.
  if (auto mastering = vfio::set_bus_master(*device_, true); !mastering) return mastering;

  BringUp machine(*registers_, *admin_, shadows_ ? &*shadows_ : nullptr, std::max<std::uint16_t>(wants_.io_queues, 1));
  state_ = State::lost;  // until it is known to be up: from here on the controller may reach our memory
  if (auto up = run_to_end(machine, clock_); !up) return up;

  const BringUp::Facts& facts = machine.facts();
  if (!facts.kept_admin_queue) cache_may_be_lost_ = true;
  if ((facts.identity.sqes & 0xf) > 6 || (facts.identity.cqes & 0xf) > 4) {
    return fail(fmt::format("the controller needs queue entries of 2^{} and 2^{} bytes, pollux writes 64 and reads 16",
                            facts.identity.sqes & 0xf, facts.identity.cqes & 0xf),
                "pollux cannot drive this controller");
  }
  if (version_ != 0 && std::memcmp(facts.identity.sn, identity_.sn, sizeof identity_.sn) != 0) {
    return fail(fmt::format("another drive answers after the reset: serial {} instead of {}",
                            text_of(facts.identity.sn), serial()),
                "open it anew");
  }
  if (version_ != 0 && facts.shadow_doorbells != uses_shadows_) {
    return fail("after the reset the controller treats its shadow doorbells otherwise than before", "open it anew");
  }
  uses_shadows_ = facts.shadow_doorbells;
  if (version_ == 0) {
    cap_ = facts.cap;
    version_ = facts.version;
    identity_ = facts.identity;
    io_queue_limit_ = facts.io_queue_pairs;
    queues_refused_ = facts.queues_refused;
  }
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
  const auto finished = run_to_end(machine, clock_);
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

std::string Controller::model() const { return text_of(identity_.mn); }
std::string Controller::serial() const { return text_of(identity_.sn); }
std::string Controller::firmware() const { return text_of(identity_.fr); }

std::uint64_t Controller::max_transfer_bytes() const {
  constexpr unsigned kMaxMdts = 20;  // 4 GiB: more than any request; a wild value must not overflow the shift
  return identity_.mdts == 0 ? 0 : kPageBytes << std::min<unsigned>(identity_.mdts, kMaxMdts);
}

bool Controller::supports(std::uint16_t oncs_bit) const {
  if (oncs_bit == oncs::kWriteZeroes && quirks_.has(Quirk::disable_write_zeroes)) return false;
  return (identity_.oncs & oncs_bit) != 0;
}

bool Controller::knows_command_sets() const { return (cap::kCss.of(cap_) & cap::kCssIoSets) != 0; }

bool Controller::describes_namespaces() const {
  constexpr std::uint32_t kVersion13 = 0x0001'0300;
  return (version_ >= kVersion13 || knows_command_sets()) && !quirks_.has(Quirk::no_ns_desc_list);
}

std::uint32_t Controller::max_queue_entries() const { return static_cast<std::uint32_t>(cap::kMqes.of(cap_)) + 1; }

Result<AdminResult> Controller::admin(const Command& command, std::span<std::byte> data, DataDirection direction) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (const auto room = room_for_setting(command); !room) return error(room.error());
  auto result = admin_locked(command, data, direction);
  if (!result) return error(result.error());
  if (result->status.ok()) remember_setting(command, data, direction);
  return result;
}

Result<AdminResult> Controller::admin_locked(const Command& command, std::span<std::byte> data, DataDirection direction,
                                             std::uint32_t timeout_ms) {
  if (data.size() > kAdminDataBytes) {
    return fail(fmt::format("an admin command with {} bytes of data", data.size()), "at most 4096 are carried");
  }
  if (state_ == State::lost) return lost();
  if (state_ == State::down) return shut_down_before();
  if (state_ != State::up || !admin_->usable()) return fail("the controller is not up", "reset it");
  admin_->start(command, data, direction, clock_.now_ns(), timeout_ms);
  std::optional<AdminResult> result;
  for (unsigned pauses = 0; !result;) {
    constexpr std::uint64_t kPauseNs = 20'000;
    constexpr unsigned kPausesPerLook = 5000;  // a device that is gone is noticed ten times a second
    const auto step = admin_->step(clock_.now_ns());
    if (!step) {
      ask_for_reset(epoch());
      return std::unexpected(step.error());
    }
    result = *step;
    if (result) break;
    clock_.pause_ns(kPauseNs);
    if (++pauses % kPausesPerLook != 0) continue;
    if (const auto alive = read_csts(*registers_); !alive) {
      (void)go_away(alive.error());
      return error(alive.error());
    }
    if (const auto ready = still_ready(*registers_); !ready) {
      admin_->abandon();
      ask_for_reset(epoch());
      return error(ready.error());
    }
  }
  if (direction == DataDirection::from_controller) std::memcpy(data.data(), admin_->data().data(), data.size());
  return *result;
}

Result<std::uint32_t> Controller::read_register32(std::uint32_t offset) {
  if (!opened_here()) return not_ours();
  const std::lock_guard lock(mutex_);
  if (state_ == State::lost) return lost();
  return registers_->read32(offset);
}

}  // namespace pollux::nvme
