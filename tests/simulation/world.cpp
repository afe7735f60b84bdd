#include "pollux/tests/simulation/world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace pollux::simulation {
namespace {

constexpr std::size_t kMaxRequests = 512;
constexpr unsigned kSettleSteps = 8000;  // 400 s: more than all the bounds that may follow each other

bool writes(Act act) { return act >= Act::write && act <= Act::deallocate; }
bool moves_data(Act act) { return act == Act::read || act == Act::write || act == Act::write_fua; }

std::uint64_t sum_of(const dma::Slice& slice) {
  std::uint64_t sum = 0xcbf2'9ce4'8422'2325;
  for (std::uint64_t at = 0; at < slice.size_bytes; at += sizeof(std::uint32_t)) {
    std::uint32_t word = 0;
    std::memcpy(&word, slice.data + at, sizeof word);
    sum = (sum ^ word) * 0x100'0000'01b3;
  }
  return sum;
}

}  // namespace

Ground::Ground() {
  auto owned = std::make_unique<SimulatedSpace>();
  io = owned.get();
  space = dma::Space::create(std::move(owned));
  // Nothing can be mapped in a space before its first device.
  Rng rng(0);
  Faults faults(rng);
  Hardware hardware(io->table(), false, faults, rng);
  io->insert(&hardware);
  (void)*space->attach(*vfio::Address::parse("simulation:"));
  buffer = *space->allocate(kMaxRequests * kSlotBytes);
}

World::World(Ground& ground, const Schedule& schedule)
    : ground_(ground),
      schedule_(schedule),
      rng_(schedule.seed),
      faults_(rng_),
      hardware_(ground.io->table(), schedule.shadow_doorbells, faults_, rng_),
      owners_(schedule.channels.size()) {}

Verdict World::run() {
  const auto mappings = ground_.io->mappings_left();
  ground_.io->insert(&hardware_);
  auto drive = Drive::open("simulation:", {.space = ground_.space, .io_queues = 4, .clock = this});
  if (!drive) {
    fail("the drive cannot be opened: " + drive.error().what);
    return verdict_;
  }
  drive_ = std::move(*drive);
  ns_ = *drive_->open_namespace();
  for (unsigned i = 0; i < owners_.size(); ++i) open(i);
  for (const Step& step : schedule_.steps) {
    if (!verdict_.failure.empty()) break;
    rng_ = Rng(step.salt);
    act(step);
  }
  if (verdict_.failure.empty()) settle();
  if (verdict_.failure.empty()) check_events();
  if (verdict_.failure.empty()) check_quiet();
  if (verdict_.failure.empty()) read_everything();
  close();
  if (verdict_.failure.empty() && ground_.io->mappings_left() != mappings) fail("memory is still mapped at the end");

  for (std::size_t i = 0; i < kActs; ++i) verdict_.met[i] += faults_.met(static_cast<Act>(i));
  verdict_.rungs.aborts = faults_.aborts();
  verdict_.rungs.function_resets = hardware_.function_resets();
  verdict_.rungs.given_up = lost_ ? 1 : 0;
  verdict_.requests = requests_.size();
  return verdict_;
}

// The driver waits: the others go on. Where nobody has anything to do time runs faster, so that a bound of 30 s costs
// some hundred pauses, not a million.
void World::pause_ns(std::uint64_t ns) {
  constexpr unsigned kFastest = 11;  // 20 µs become 40 ms
  now_ns_ += ns << std::min(idle_pauses_ / 8, kFastest);
  // Nothing takes this long: every wait of the driver has a bound. It ends where the device is gone.
  constexpr unsigned kMostPauses = 200'000;
  if (++pauses_ == kMostPauses) {
    fail("the driver waits without a bound");
    strike(Act::gone);
  }
  if (later_ && --pauses_left_ == 0) strike(*std::exchange(later_, std::nullopt));
  unsigned done = hardware_.step(now_ns_);
  for (unsigned i = 0; i < owners_.size(); ++i) {
    // A try_lock of the mutex that this thread holds in the call that waits here fails, as on another thread: POSIX
    // says so of pthread_mutex_trylock(), which it is.
    Owner& owner = owners_[i];
    if (owner.channel == nullptr || owner.busy || !rng_.one_in(3)) continue;
    const unsigned before = owner.in_flight;
    poll(i);
    done += before - owner.in_flight;
  }
  idle_pauses_ = done != 0 ? 0 : idle_pauses_ + 1;
}

void World::pass(std::uint64_t ns) {
  constexpr unsigned kParts = 4;
  for (unsigned part = 0; part < kParts; ++part) {
    now_ns_ += ns / kParts + 1;
    while (hardware_.step(now_ns_) != 0) {
    }
  }
}

void World::act(const Step& step) {
  if (step.act < Act::ring) return submit(step.channel, step.act, step.lba, step.blocks, rng_.one_in(8));
  switch (step.act) {
    case Act::ring:
      if (owners_[step.channel].channel) owners_[step.channel].channel->ring();
      return;
    case Act::poll:
      pass(1000);
      return poll(step.channel);
    case Act::drive_poll:
      return poll_drive();
    case Act::pass_time: {
      std::uint64_t ns = 1000;
      for (std::uint64_t decades = rng_.below(7); decades != 0; --decades) ns *= 10;
      return pass(1 + rng_.below(ns));
    }
    case Act::reset:
      return reset(ResetReach::controller);
    case Act::function_reset:
      return reset(ResetReach::function);
    case Act::reopen:
      return reopen(step.channel);
    default:
      break;
  }
  if (step.act < Act::fatal_status) return faults_.arm(step.act);
  constexpr unsigned kLatestPause = 60;
  if (rng_.one_in(2)) return strike(step.act);
  later_ = step.act;
  pauses_left_ = 1 + static_cast<unsigned>(rng_.below(kLatestPause));
}

void World::strike(Act fault) {
  faults_.note(fault);
  switch (fault) {
    case Act::fatal_status:
      return hardware_.become_fatal();
    case Act::never_ready:
      return hardware_.become_never_ready();
    case Act::foreign_reset:
      return hardware_.function_reset();
    case Act::power_loss:
      model_.lose_power();
      return hardware_.lose_power();
    case Act::other_drive:
      return hardware_.change_drive();
    case Act::resize:
      return hardware_.resize(rng_.below(3) * kBlocks / 2);
    default:
      return hardware_.go();
  }
}

void World::submit(unsigned owner, Act act, std::uint64_t lba, std::uint64_t blocks, bool again) {
  Channel* const channel = owners_[owner].channel.get();
  if (channel == nullptr || requests_.size() == kMaxRequests) return;
  const std::uint64_t offset = requests_.size() * kSlotBytes + rng_.below(1024) * 4;
  const dma::Slice slice = ground_.buffer.slice(offset, moves_data(act) ? blocks * kBlockBytes : 0);
  Request& request = requests_.emplace_back(Request{this, owner, act, lba, blocks, 0, slice, 0, now_ns_, again});
  if (act == Act::write || act == Act::write_fua) {
    request.value = requests_.size();
    for (std::uint64_t word = 0; word < slice.size_bytes / sizeof(std::uint64_t); ++word) {
      const std::uint64_t content = word_of(request.value, lba + word / kWordsABlock);
      std::memcpy(slice.data + word * sizeof content, &content, sizeof content);
    }
  } else if (act == Act::read) {
    std::memset(slice.data, 0xee, slice.size_bytes);
  }
  request.begun = writes(act) ? model_.begin_write(lba, blocks, request.value) : model_.begin();
  const Submit submitted = act == Act::read           ? channel->read(lba, slice, on_done, &request)
                           : act == Act::write        ? channel->write(lba, slice, on_done, &request)
                           : act == Act::write_fua    ? channel->write(lba, slice, on_done, &request, true)
                           : act == Act::write_zeroes ? channel->write_zeroes(lba, blocks, on_done, &request)
                           : act == Act::deallocate   ? channel->deallocate(lba, blocks, on_done, &request)
                                                      : channel->flush(on_done, &request);
  if (submitted == Submit::accepted) {
    ++owners_[owner].in_flight;
    return;
  }
  if (submitted == Submit::namespace_changed) {
    owners_[owner].revoked = true;
    if (faults_.met(Act::resize) == 0) fail("a channel was revoked, and nothing has changed its namespace");
  } else if (submitted != Submit::queue_full && submitted != Submit::stopped && submitted != Submit::gone)
    fail(fmt::format("{} of {} blocks at {} is refused ({})", name_of(act), blocks, lba, static_cast<int>(submitted)));
  if (writes(act)) (void)model_.end_write(lba, blocks, request.begun, Outcome::never, false);
  requests_.pop_back();
}

void World::on_done(void* context, nvme::Status status) noexcept {
  Request& request = *static_cast<Request*>(context);
  request.world->done(request, status);
}

void World::done(Request& request, nvme::Status status) {
  if (++request.answers > 1) return fail(fmt::format("a {} was answered twice", name_of(request.act)));
  --owners_[request.channel].in_flight;
  request.status = status;
  // The memory is the application's again, and it uses it.
  if (request.act == Act::write || request.act == Act::write_fua)
    std::memset(request.slice.data, 0xdd, request.slice.size_bytes);
  request.sum = sum_of(request.slice);
  if (writes(request.act)) {
    const Outcome outcome = status.ok()                       ? Outcome::done
                            : status.may_have_reached_media() ? Outcome::unknown
                                                              : Outcome::never;
    if (auto wrong =
            model_.end_write(request.lba, request.blocks, request.begun, outcome, request.act == Act::write_fua))
      fail(std::move(*wrong));
  }
  check_status(request);
  if (request.act == Act::flush && status.ok()) model_.end_flush(request.channel, request.begun);
  if (request.act == Act::flush && tells_of_loss(status)) model_.know_losses(request.channel);
  if (request.act == Act::read && status.ok()) check_data(request);
  if (request.again) submit(request.channel, Act::read, request.lba, request.blocks, false);
}

void World::poll(unsigned owner) {
  Owner& polled = owners_[owner];
  if (polled.channel == nullptr || polled.busy) return;
  polled.busy = true;
  polled.channel->poll(1 + static_cast<unsigned>(rng_.below(8)));
  polled.busy = false;
}

void World::poll_drive() {
  if (lost_) return;
  const std::uint64_t before = epoch();
  const auto polled = drive_->poll();
  take_events();
  verdict_.rungs.controller_resets += epoch() - before;
  if (polled) return;
  lost_ = true;
  if (!may_be_lost()) fail("the drive is lost without a reason: " + polled.error().what);
  if (hardware_.reaches_memory()) fail("the drive is lost, and still reaches memory");
}

void World::take_events() {
  while (const auto event = drive_->take_event()) {
    if (event->type != nvme::AsyncEventType::notice || event->log.size() < sizeof(std::uint32_t)) continue;
    std::uint32_t nsid = 0;
    std::memcpy(&nsid, event->log.data(), sizeof nsid);
    resizes_told_ += nsid == ns_.nsid ? 1 : 0;
  }
}

void World::reset(ResetReach reach) {
  if (lost_) return;
  const std::uint64_t before = epoch();
  const unsigned function_resets = hardware_.function_resets();
  ++resets_asked_;
  (void)drive_->reset(reach);
  if (reach == ResetReach::function && hardware_.function_resets() != function_resets) ++function_resets_asked_;
  verdict_.rungs.controller_resets += epoch() - before;
  poll_drive();  // which tells whether it is lost
}

void World::open(unsigned owner) {
  const ChannelPlan& plan = schedule_.channels[owner];
  auto opened = drive_->open_channel(ns_, {.depth = plan.depth,
                                           .max_transfer_bytes = plan.max_transfer_bytes,
                                           .timeout_ms = plan.timeout_ms,
                                           .reissue_writes = plan.reissue_writes});
  if (opened) owners_[owner].channel = std::move(*opened);
  owners_[owner].revoked = false;
  model_.open(owner);
}

// Its owner drains it before, as the contract asks.
void World::reopen(unsigned owner) {
  Owner& old = owners_[owner];
  if (lost_) return;
  for (unsigned i = 0; i < kSettleSteps && old.in_flight != 0; ++i) {
    pass(kSettleStepNs);
    poll_drive();
    poll(owner);
  }
  if (old.in_flight != 0) return fail("a channel cannot be drained");
  old.busy = true;
  old.channel.reset();
  old.busy = false;
  if (!lost_) open(owner);
}

// No new fault: everything is answered within its bounds.
void World::settle() {
  faults_.disarm();
  later_.reset();
  for (unsigned i = 0; i < kSettleSteps; ++i) {
    const bool idle = std::ranges::all_of(owners_, [](const Owner& owner) { return owner.in_flight == 0; });
    if (idle) return;
    pass(kSettleStepNs);
    poll_drive();
    for (unsigned owner = 0; owner < owners_.size(); ++owner) poll(owner);
  }
  fail("a request is never answered");
}

// What is on the drive in the end; and a drive that is not lost works.
void World::read_everything() {
  constexpr std::uint64_t kChunk = 8;
  poll_drive();
  if (lost_) return;
  for (unsigned owner = 0; owner < owners_.size(); ++owner) {
    submit(owner, Act::flush, 0, 1, false);  // which tells of one that was revoked
    settle();
    if (owners_[owner].revoked) reopen(owner);
  }
  for (unsigned attempt = 0; attempt < 2; ++attempt) {
    for (unsigned owner = 0; owner < owners_.size(); ++owner) poll(owner);
    if (attempt == 0) reset(ResetReach::controller);  // a queue that was refused is made anew
    if (lost_) return;
  }
  for (unsigned owner = 0; owner < owners_.size(); ++owner) {
    if (owners_[owner].channel == nullptr) continue;
    const std::size_t first = requests_.size();
    for (std::uint64_t lba = 0; lba < kBlocks; lba += kChunk) {
      submit(owner, Act::read, lba, kChunk, false);
      settle();
    }
    if (!verdict_.failure.empty() || lost_) return;
    if (requests_.size() - first != kBlocks / kChunk) return fail("a channel takes no request in the end");
    for (std::size_t i = first; i < requests_.size(); ++i) {
      if (!requests_[i].status.ok()) return fail("a read fails in the end: " + requests_[i].status.text());
    }
  }
}

void World::close() {
  closing_ = true;
  if (lost_) {
    for (unsigned owner = 0; owner < owners_.size(); ++owner) {
      poll(owner);  // one that has nothing in flight may not have looked since
      Channel* const channel = owners_[owner].channel.get();
      if (channel == nullptr) continue;
      const Submit submitted = channel->flush([](void*, nvme::Status) noexcept {}, nullptr);
      const bool may_be_revoked = faults_.met(Act::resize) != 0;
      if (submitted != Submit::gone && (submitted != Submit::namespace_changed || !may_be_revoked))
        fail("a channel of a lost drive does not say that it is gone");
    }
  }
  for (Owner& owner : owners_) {
    owner.busy = true;
    owner.channel.reset();
  }
  drive_.reset();
  // Whatever the hardware has kept back would come now.
  faults_.disarm();
  pass(10'000 * kNsPerMs);
  for (const Request& request : requests_) {
    if (request.answers == 1 && sum_of(request.slice) != request.sum)
      fail(fmt::format("the memory of a {} was written after it had been answered", name_of(request.act)));
  }
  check_fetched();
  if (hardware_.other_drive_was_changed()) fail("another drive was written to");
  if (const std::string violation = hardware_.violation(); !violation.empty())
    fail("the driver broke a rule: " + violation);
}

}  // namespace pollux::simulation
