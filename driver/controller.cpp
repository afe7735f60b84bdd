#include "pollux/driver/controller.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/driver/transition.hpp"
#include "pollux/vfio/pci_config.hpp"

namespace pollux::nvme {
namespace {

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
                       const Wants& wants)
    : space_(std::move(space)), device_(std::move(device)), clock_(clock), wants_(wants) {}

Result<std::unique_ptr<Controller>> Controller::create(std::unique_ptr<vfio::Device> device,
                                                       std::shared_ptr<dma::Space> space, Clock& clock,
                                                       const Wants& wants) {
  std::unique_ptr<Controller> controller(new Controller(std::move(device), std::move(space), clock, wants));
  if (const auto started = controller->start(); !started) return controller->error(started.error());
  return controller;
}

Controller::~Controller() {
  // What cannot be disabled is cut off from memory, before the rings and the mappings go.
  if (state_ == State::up) (void)shutdown();
}

Result<void> Controller::start() {
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
  publish(Pulse::Phase::up);
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
  Disable machine(*registers_);
  auto disabled = run_to_end(machine, clock_);
  if (!disabled && read_csts(*registers_)) {
    // The last rung that leaves the device usable. One that is gone is not waited for: the kernel would, for a minute.
    if (const auto reset = device_->reset(); !reset) return disabled;
    Disable again(*registers_);
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
  }
  state_ = State::up;
  return check_namespaces();
}

Result<void> Controller::reset(ResetReach reach) {
  const std::lock_guard lock(mutex_);
  auto done = reset_locked(reach);
  if (!done) return error(done.error());
  if (state_ == State::away) return error({"the device is away: " + lost_because_.what, "poll the drive"});
  return done;
}

Result<void> Controller::reset_locked(ResetReach reach) {
  if (state_ == State::lost) return lost();
  if (const auto status = read_csts(*registers_); !status) return go_away(status.error());
  stop_owners();
  Result<void> reached;
  if (reach == ResetReach::function) reached = device_->reset();
  if (reach == ResetReach::bus) reached = device_->hot_reset();
  if (const auto disabled = disable(); !disabled) return drop(disabled.error());
  publish(Pulse::Phase::down);
  if (const auto up = bring_up(); !up) return drop(up.error());
  publish(Pulse::Phase::up);
  return reached;
}

// Before any owner hears that the controller is up again: what is sent again must mean the blocks that it meant before.
Result<void> Controller::check_namespaces() {
  for (auto id = queue_ids_.begin(); id != queue_ids_.end(); ++id) {
    const NamespaceIdentity& ns = id->ns;
    if (ns.nsid == 0) continue;
    if (std::any_of(queue_ids_.begin(), id, [&](const QueueId& earlier) { return earlier.ns == ns; })) continue;
    Command command;
    command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::identify);
    command.nsid = ns.nsid;
    command.cdw10 = identify::kCns.put(0u, static_cast<std::uint64_t>(Cns::ns));
    IdentifyNamespace found{};
    const auto result =
        admin_locked(command, std::as_writable_bytes(std::span(&found, 1)), DataDirection::from_controller);
    if (!result) return std::unexpected(result.error());
    if (!result->status.ok()) {
      return fail(fmt::format("namespace {} cannot be identified after the reset: {}", ns.nsid, result->status.text()),
                  "open the drive anew");
    }
    if (NamespaceIdentity{ns.nsid, format_of(found).lbads, std::to_array(found.nguid), std::to_array(found.eui64)} !=
        ns) {
      return fail(
          fmt::format("namespace {} is another one after the reset: its block size, NGUID or EUI64 differs", ns.nsid),
          "open the drive anew");
    }
  }
  return {};
}

Result<void> Controller::shutdown() {
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

Result<void> Controller::poll() {
  const std::lock_guard lock(mutex_);
  if (wanted_back_ && wanted_back_->drain() != 0) {
    if (state_ == State::lost) {
      device_->release();
      return lost();
    }
    // In good order if there is still somebody to talk to.
    if (state_ == State::up && read_csts(*registers_)) (void)shut_down_locked();
    return give_back({"the machine wants the drive back: it is being unbound or removed", {}});
  }
  if (state_ == State::lost) return lost();
  if (state_ == State::away) return come_back();
  publish(Pulse{pulse_.load(std::memory_order_relaxed)}.phase());  // the same phase, a later time
  if (state_ == State::down) return {};

  const auto status = read_csts(*registers_);
  if (!status) return go_away(status.error());
  const bool has_erred = link_error_ && link_error_->drain() != 0;
  const bool is_broken = csts::kCfs.of(*status) != 0 || csts::kRdy.of(*status) == 0;
  if (has_erred || is_broken || reset_wanted_.load(std::memory_order_relaxed) == epoch()) {
    return reset_locked();
  }
  return {};
}

// The device does not answer. One that may come back is waited for: its owners park, and nothing of theirs is lost.
Result<void> Controller::go_away(const Error& why) {
  if (wants_.away_ms == 0 || !device_->may_come_back()) return give_back(why);
  if (state_ != State::away) {
    away_since_ns_ = clock_.now_ns();
    lost_because_ = why;
  }
  state_ = State::away;
  stop_owners();
  publish(Pulse::Phase::down);
  return {};
}

// The coarse clock stands still meanwhile: what waits for the device grows no older.
Result<void> Controller::come_back() {
  if (const auto back = device_->reconnect(); !back) {
    if (clock_.now_ns() - away_since_ns_ < wants_.away_ms * kNsPerMs) return {};
    return give_back({fmt::format("{}, and it has not come back for {} s ({})", lost_because_.what,
                                  wants_.away_ms / 1000, back.error().what),
                      back.error().advice, back.error().os_error});
  }
  Result<void> up = disable();
  if (up) up = bring_up();
  if (!up) return drop(up.error());
  publish(Pulse::Phase::up);
  return {};
}

// A reset failed: the device has gone meanwhile, or must not reach memory any more.
Result<void> Controller::drop(const Error& why) {
  if (!read_csts(*registers_)) return go_away(why);
  return give_up(why);
}

// Cuts the controller off from memory and tells every owner to stop: nothing of ours can be reached any more.
std::unexpected<Error> Controller::give_up(const Error& why) noexcept {
  if (!read_csts(*registers_)) return give_back(why);
  state_ = State::lost;
  lost_because_ = why;
  if (!vfio::set_bus_master(*device_, false)) (void)device_->reset();
  publish(Pulse::Phase::gone);
  return error(why);
}

// The same where the device itself goes: the owners keep their doorbells, which ring nothing any more, and the machine
// gets its device. Closing it may take the kernel a minute where it is gone already; the owners know by then.
std::unexpected<Error> Controller::give_back(const Error& why) noexcept {
  state_ = State::lost;
  lost_because_ = why;
  const auto command = vfio::read_config16(*device_, vfio::pci::kCommand);
  const bool gone = command && *command == 0xffff;
  if (!gone && !vfio::set_bus_master(*device_, false)) device_->release();  // which cuts it off, if nothing else does
  publish(Pulse::Phase::gone);
  device_->release();
  return error(why);
}

std::unexpected<Error> Controller::lost() const {
  std::string_view why = lost_because_.what;
  const std::string name = device_->address().text + ": ";
  if (why.starts_with(name)) why.remove_prefix(name.size());
  return error({fmt::format("the controller is lost: {}", why), "close the drive"});
}

void Controller::publish(Pulse::Phase phase) noexcept {
  const Pulse last{pulse_.load(std::memory_order_relaxed)};
  const bool is_new_epoch = phase == Pulse::Phase::up && last.phase() != Pulse::Phase::up;
  // Release: an owner that sees "down", "gone" or a new epoch sees a controller that was disabled before it.
  pulse_.store(Pulse::make(last.epoch() + (is_new_epoch ? 1 : 0), phase, clock_.now_ns() / kNsPerMs).word,
               std::memory_order_release);
}

// Tells the owners to keep away from their doorbells and gives those that poll the time to notice. One that does not
// poll is not waited for long: it looks before it rings. One that was suspended just between the two may still ring the
// doorbell of a queue that is gone; the controller reports that and ignores it (NVMe base 2.0c, 5.2.1: invalid
// doorbell).
void Controller::stop_owners() noexcept {
  constexpr std::uint64_t kParkWaitNs = 50 * kNsPerMs, kPauseNs = 20'000;
  publish(Pulse::Phase::stopping);
  const std::uint64_t deadline_ns = clock_.now_ns() + kParkWaitNs;
  while (live_queues_.load(std::memory_order_acquire) != 0 && clock_.now_ns() < deadline_ns) clock_.pause_ns(kPauseNs);
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

std::uint32_t Controller::max_queue_entries() const { return static_cast<std::uint32_t>(cap::kMqes.of(cap_)) + 1; }

Result<AdminResult> Controller::admin(const Command& command, std::span<std::byte> data, DataDirection direction) {
  const std::lock_guard lock(mutex_);
  auto result = admin_locked(command, data, direction);
  if (!result) return error(result.error());
  return result;
}

Result<AdminResult> Controller::admin_locked(const Command& command, std::span<std::byte> data,
                                             DataDirection direction) {
  if (data.size() > kAdminDataBytes) {
    return fail(fmt::format("an admin command with {} bytes of data", data.size()), "at most 4096 are carried");
  }
  if (state_ == State::lost) return lost();
  if (state_ != State::up || !admin_->usable()) return fail("the controller is not up", "reset it");
  admin_->start(command, data, direction, clock_.now_ns());
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
  }
  if (direction == DataDirection::from_controller) std::memcpy(data.data(), admin_->data().data(), data.size());
  return *result;
}

Result<std::uint32_t> Controller::read_register32(std::uint32_t offset) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::lost) return lost();
  return registers_->read32(offset);
}

}  // namespace pollux::nvme
