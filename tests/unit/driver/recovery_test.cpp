// What becomes of commands that a controller loses, doubles or never answers, and what of them over a reset: the
// software controller does so on demand.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <thread>

#include "pollux/driver/block/block.hpp"
#include "pollux/driver/identify.hpp"
#include "pollux/driver/queue_memory.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"
#include "pollux/vfio/pci_config.hpp"

namespace pollux {
namespace {

// Time that runs faster than the wall's, so that a bound of 30 s takes half a second.
class FastClock final : public Clock {
 public:
  std::uint64_t now_ns() override { return steady_clock().now_ns() * kFactor; }
  void pause_ns(std::uint64_t ns) override { steady_clock().pause_ns(ns / kFactor); }

 private:
  static constexpr std::uint64_t kFactor = 50;
};

// Does one thing to commands with one opcode, on the admin queue or on the others, as often as it is told.
struct Fault final : softnvme::FaultHook {
  Fault(bool on_admin_queue, unsigned the_opcode, softnvme::FetchFault::Kind what)
      : admin(on_admin_queue), opcode(the_opcode), kind(what) {}

  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    const bool meant = (sqid == 0) == admin && nvme::cdw0::kOpcode.of(command.cdw0) == opcode;
    if (meant) ++seen;
    if (!meant || left == 0) return {};
    --left;
    return {kind, status, 0};
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
    return sqid != 0 && double_completions ? softnvme::PostFault::twice : softnvme::PostFault::none;
  }

  bool admin;
  unsigned opcode;
  softnvme::FetchFault::Kind kind;
  nvme::Status status{};  // of Kind::answer
  std::atomic<unsigned> left = 1;
  std::atomic<unsigned> seen = 0;  // such commands, whatever became of them
  std::atomic<bool> double_completions = false;
};

struct SoftDrive {
  FastClock clock;
  vfio::Scheme scheme = softnvme::scheme();
  std::unique_ptr<Drive> drive = *Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}, .clock = &clock});
  Namespace ns = *drive->open_namespace();
  dma::Buffer buffer = *drive->allocate(4096);

  nvme::Controller& controller() { return drive->controller(); }
  std::uint64_t epoch() { return nvme::Pulse{controller().pulse().load()}.epoch(); }
  softnvme::SoftDevice& device() { return *softnvme::soft_device(drive->controller().device()); }
};

struct Answer {
  int times = 0;
  nvme::Status status;
  static void take(void* context, nvme::Status status) noexcept {
    auto* const answer = static_cast<Answer*>(context);
    ++answer->times;
    answer->status = status;
  }
};

// Polls both, as an application does, until the request is answered. False: not within a bound far beyond all others.
bool wait(SoftDrive& soft, Channel& channel, const Answer& answer) {
  const std::uint64_t end_ns = steady_clock().now_ns() + 20'000'000'000;
  while (answer.times == 0) {
    channel.poll();
    (void)soft.drive->poll();
    if (steady_clock().now_ns() > end_ns) return false;
  }
  return true;
}

// After a poll, which is what makes an owner notice a reset.
bool reads_again(SoftDrive& soft, Channel& channel) {
  channel.poll();
  Answer answer;
  const std::uint64_t end_ns = steady_clock().now_ns() + 20'000'000'000;
  while (channel.read(0, soft.buffer.slice(0, 512), Answer::take, &answer) != Submit::accepted) {
    channel.poll();
    if (steady_clock().now_ns() > end_ns) return false;
  }
  return wait(soft, channel, answer) && answer.status.ok();
}

bool aborted(const Answer& answer) {
  return answer.times == 1 && answer.status.code() == nvme::StatusCode::aborted_by_host;
}

bool untold(const Answer& answer) {
  return answer.times == 1 && answer.status.code() == nvme::StatusCode::host_pathing_error;
}

void fill(SoftDrive& soft, int byte) { std::memset(soft.buffer.slice().data, byte, 4096); }

bool holds(SoftDrive& soft, int byte) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(soft.buffer.slice().data);
  return std::all_of(bytes, bytes + 4096, [&](unsigned char each) { return each == byte; });
}

// The first page of the drive.
void put(SoftDrive& soft, Channel& channel, int byte) {
  fill(soft, byte);
  Answer answer;
  REQUIRE(channel.write(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, channel, answer));
  REQUIRE(answer.status.ok());
}

bool drive_holds(SoftDrive& soft, Channel& channel, int byte) {
  fill(soft, ~byte);
  Answer answer;
  REQUIRE(channel.read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, channel, answer));
  return answer.status.ok() && holds(soft, byte);
}

constexpr auto kRead = static_cast<unsigned>(nvme::IoOpcode::read);
constexpr unsigned kAlways = 1'000'000;

}  // namespace

TEST_CASE("a command that hangs is aborted after its timeout, and nothing is reset") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 8, .timeout_ms = 5'000});
  Fault fault(false, kRead, softnvme::FetchFault::Kind::hang);
  const unsigned hung = GENERATE(1u, 3u);
  fault.left = hung;
  soft.device().set_fault_hook(&fault);
  Answer answers[3], other;
  const std::uint64_t begin_ns = soft.clock.now_ns();
  for (unsigned i = 0; i < hung; ++i)
    REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answers[i]) == Submit::accepted);
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &other) == Submit::accepted);
  REQUIRE(wait(soft, *channel, other));
  CHECK(other.status.ok());
  for (unsigned i = 0; i < hung; ++i) {
    REQUIRE(wait(soft, *channel, answers[i]));
    CHECK((answers[i].times == 1 && answers[i].status.code() == nvme::StatusCode::abort_requested));
  }
  CHECK(soft.clock.now_ns() - begin_ns >= 5'000 * kNsPerMs);
  CHECK(soft.epoch() == 1);
  CHECK(reads_again(soft, *channel));
  soft.device().set_fault_hook(nullptr);
  CHECK(soft.device().violation_count() == 0);
}

TEST_CASE("an Abort that is not answered has the controller reset at once") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 1'000});
  struct Mute final : softnvme::FaultHook {
    softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
      const auto opcode = nvme::cdw0::kOpcode.of(command.cdw0);
      if (sqid == 0 && opcode == static_cast<unsigned>(nvme::AdminOpcode::abort)) ++aborts;
      const bool meant = sqid == 0 ? opcode == static_cast<unsigned>(nvme::AdminOpcode::abort) : aborts == 0;
      return {meant ? softnvme::FetchFault::Kind::hang : softnvme::FetchFault::Kind::none, {}, 0};
    }
    std::atomic<int> aborts = 0;
  } mute;
  soft.device().set_fault_hook(&mute);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, *channel, answer));
  CHECK((answer.times == 1 && answer.status.ok()));
  CHECK(mute.aborts == 1);
  CHECK(soft.epoch() == 2);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a command that was answered before its Abort had a turn is not aborted in another epoch") {
  SoftDrive soft;
  Fault aborts(true, static_cast<unsigned>(nvme::AdminOpcode::abort), softnvme::FetchFault::Kind::none);
  soft.device().set_fault_hook(&aborts);
  CHECK(soft.controller().ask_for_abort(soft.epoch(), 1, 0));
  CHECK_FALSE(soft.controller().ask_for_abort(soft.epoch(), 1, 1));
  REQUIRE(soft.drive->reset());
  REQUIRE(soft.drive->poll());
  CHECK(aborts.seen == 0);
  CHECK(soft.controller().ask_for_abort(soft.epoch(), 1, 1));
  REQUIRE(soft.drive->poll());
  CHECK(aborts.seen == 1);
  CHECK(soft.epoch() == 2);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a controller that a reset does not bring up comes up after a reset of its function, and loses nothing") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  fill(soft, 0);
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::identify), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(soft.drive->reset());
  REQUIRE(wait(soft, *channel, answer));
  CHECK((answer.times == 1 && answer.status.ok() && holds(soft, 0x5a)));
  CHECK(soft.epoch() == 2);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a write that the controller was never told of is sent after a reset, whatever its channel chose") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  fill(soft, 0x5a);
  Answer answer;
  REQUIRE(channel->write(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  SECTION("the controller comes back") {
    REQUIRE(soft.drive->reset());
    REQUIRE(wait(soft, *channel, answer));
    CHECK((answer.times == 1 && answer.status.ok()));
    CHECK(drive_holds(soft, *channel, 0x5a));
  }
  SECTION("the drive is shut down: the answer says that it did not reach the media") {
    REQUIRE(soft.drive->shutdown());
    channel->poll();
    CHECK(answer.times == 1);
    CHECK(answer.status.code() == nvme::StatusCode::host_pathing_error);
    CHECK_FALSE(answer.status.may_have_reached_media());
  }
}

TEST_CASE("features that the application has set are set again after a reset, and a refusal then loses the drive") {
  SoftDrive soft;
  const auto feature = [&](nvme::AdminOpcode opcode, nvme::FeatureId id, std::uint32_t value) {
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(opcode);
    command.cdw10 = nvme::features::kFid.put(0u, static_cast<std::uint64_t>(id));
    command.cdw11 = value;
    return soft.controller().admin(command)->dw0;
  };
  using nvme::AdminOpcode, nvme::FeatureId;
  const std::uint32_t lower = 1u << 20;  // THSEL: under-temperature
  feature(AdminOpcode::set_features, FeatureId::volatile_write_cache, 1);
  feature(AdminOpcode::set_features, FeatureId::volatile_write_cache, 0);
  feature(AdminOpcode::set_features, FeatureId::temperature_threshold, 350);
  feature(AdminOpcode::set_features, FeatureId::temperature_threshold, lower | 280);
  SECTION("they are as before") {
    REQUIRE(soft.drive->reset(GENERATE(ResetReach::controller, ResetReach::function)));
    CHECK(feature(AdminOpcode::get_features, FeatureId::volatile_write_cache, 0) == 0);
    CHECK(feature(AdminOpcode::get_features, FeatureId::temperature_threshold, 0) == 350);
    CHECK(feature(AdminOpcode::get_features, FeatureId::temperature_threshold, lower) == 280);
  }
  SECTION("one is refused") {
    struct Refusal final : softnvme::FaultHook {
      softnvme::FetchFault after_fetch(std::uint16_t, const nvme::Command& command) override {
        const bool meant =
            nvme::cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(nvme::AdminOpcode::set_features) &&
            nvme::features::kFid.of(command.cdw10) == static_cast<unsigned>(FeatureId::volatile_write_cache);
        if (!meant) return {};
        return {softnvme::FetchFault::Kind::answer, nvme::Status::from(nvme::StatusCode::invalid_field), 0};
      }
    } refusal;
    soft.device().set_fault_hook(&refusal);
    const auto reset = soft.drive->reset();
    REQUIRE_FALSE(reset);
    CHECK(reset.error().what.find("feature 06h") != std::string::npos);
    soft.device().set_fault_hook(nullptr);
  }
}

TEST_CASE("events are collected with their log page, and the next one is reported after it, over a reset too") {
  SoftDrive soft;
  CHECK_FALSE(soft.drive->take_event());
  REQUIRE(soft.drive->poll());  // arms
  for (int round = 0; round < 3; ++round) {
    // Above 310 kelvin, which is what the drive tells.
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::set_features);
    command.cdw10 = nvme::features::kFid.put(0u, static_cast<std::uint64_t>(nvme::FeatureId::temperature_threshold));
    command.cdw11 = 300;
    REQUIRE(soft.controller().admin(command)->status.ok());
    std::optional<Event> event;
    const std::uint64_t end_ns = steady_clock().now_ns() + 5'000 * kNsPerMs;
    while (!event && steady_clock().now_ns() < end_ns) {
      REQUIRE(soft.drive->poll());
      event = soft.drive->take_event();
    }
    REQUIRE(event);
    CHECK(event->type == nvme::AsyncEventType::health);
    CHECK(event->text() == "health: temperature threshold (log page 02h)");
    REQUIRE(event->log.size() == sizeof(nvme::SmartLog));
    CHECK((std::to_integer<unsigned>(event->log[0]) & 2) == 2);  // critical warning: temperature
    if (round == 1) REQUIRE(soft.drive->reset());
  }
}

TEST_CASE("a controller that takes no event request is driven without events") {
  SoftDrive soft;
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::async_event_request), softnvme::FetchFault::Kind::answer);
  fault.status = nvme::Status::from(nvme::StatusCode::invalid_opcode);
  fault.left = kAlways;
  soft.device().set_fault_hook(&fault);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(soft.drive->poll());
    steady_clock().pause_ns(kNsPerMs);
  }
  CHECK(fault.seen == 1);
  CHECK_FALSE(soft.drive->take_event());
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a read that is lost has the controller reset after its timeout and its Abort, and brings its data then") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 5'000});
  put(soft, *channel, 0x5a);
  fill(soft, 0);
  const unsigned times_lost = GENERATE(1u, 2u);  // the second time it has a deadline of its own
  Fault fault(false, kRead, softnvme::FetchFault::Kind::drop);
  fault.left = times_lost;
  soft.device().set_fault_hook(&fault);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  const std::uint64_t begin_ns = soft.clock.now_ns();
  REQUIRE(wait(soft, *channel, answer));
  CHECK(soft.clock.now_ns() - begin_ns >= times_lost * (5'000 + Channel::kAbortGraceMs) * kNsPerMs);
  CHECK((answer.times == 1 && answer.status.ok()));
  CHECK(holds(soft, 0x5a));
  CHECK(soft.epoch() == 1 + times_lost);
  CHECK(fault.seen == 1 + times_lost);
  CHECK(reads_again(soft, *channel));
  CHECK(answer.times == 1);
  soft.device().set_fault_hook(nullptr);
  CHECK(soft.device().violation_count() == 0);
}

TEST_CASE("a read that is lost again each time is answered after the third reissue, and I/O goes on") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 1'000});
  Fault fault(false, kRead, softnvme::FetchFault::Kind::drop);
  fault.left = kAlways;
  soft.device().set_fault_hook(&fault);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, *channel, answer));
  CHECK(aborted(answer));
  CHECK(fault.seen == 1 + Channel::kMaxReissues);
  CHECK(soft.epoch() == 2 + Channel::kMaxReissues);
  soft.device().set_fault_hook(nullptr);
  CHECK(reads_again(soft, *channel));
  CHECK(answer.times == 1);
}

TEST_CASE("what became of one request does not count against the next in its place") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 1});
  for (int i = 0; i <= Channel::kMaxReissues; ++i) {
    Answer answer;
    REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
    REQUIRE(soft.drive->reset());
    REQUIRE(wait(soft, *channel, answer));
    CHECK((answer.times == 1 && answer.status.ok()));
  }
}

TEST_CASE("a flush is sent again after a reset, what writes only where its channel was opened so") {
  using nvme::IoOpcode;
  SoftDrive soft;
  const auto opcode = GENERATE(IoOpcode::flush, IoOpcode::write, IoOpcode::write_zeroes, IoOpcode::dataset_management);
  const bool chosen = GENERATE(false, true);
  CAPTURE(static_cast<int>(opcode), chosen);
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 1'000, .reissue_writes = chosen});
  put(soft, *channel, 0x5a);
  fill(soft, 0);
  Fault fault(false, static_cast<unsigned>(opcode), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  Answer answer;
  const std::uint64_t blocks = 4096 / soft.ns.block_size_bytes;
  const Submit submitted = opcode == IoOpcode::flush   ? channel->flush(Answer::take, &answer)
                           : opcode == IoOpcode::write ? channel->write(0, soft.buffer.slice(), Answer::take, &answer)
                           : opcode == IoOpcode::write_zeroes ? channel->write_zeroes(0, blocks, Answer::take, &answer)
                                                              : channel->deallocate(0, blocks, Answer::take, &answer);
  REQUIRE(submitted == Submit::accepted);
  REQUIRE(wait(soft, *channel, answer));
  const bool again = chosen || opcode == IoOpcode::flush;
  CHECK(answer.times == 1);
  CHECK((again ? answer.status.ok() : aborted(answer)));
  CHECK(reads_again(soft, *channel));
  CHECK(fault.seen == (again ? 2 : 1));
  soft.device().set_fault_hook(nullptr);
  CHECK(drive_holds(soft, *channel, again && opcode != IoOpcode::flush ? 0 : 0x5a));
  CHECK(soft.device().violation_count() == 0);
}

TEST_CASE("a write that may not be sent again is answered while the controller is still down") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Answer written, read;
  Fault lost(false, static_cast<unsigned>(nvme::IoOpcode::write), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&lost);
  REQUIRE(channel->write(0, soft.buffer.slice(0, 512), Answer::take, &written) == Submit::accepted);
  channel->ring();
  while (lost.seen == 0) std::this_thread::yield();
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &read) == Submit::accepted);
  // Does not let the controller come up before the owner has polled.
  struct Owner final : softnvme::FaultHook {
    softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command&) override {
      while (sqid == 0 && !polled) std::this_thread::yield();
      return {};
    }
    std::atomic<bool> polled = false;
  } owner;
  soft.device().set_fault_hook(&owner);
  std::thread administrator([&] { (void)soft.drive->reset(); });
  // Not earlier, or the two are told to the controller and answered.
  while (nvme::Pulse{soft.controller().pulse().load()}.phase() == nvme::Pulse::Phase::up) std::this_thread::yield();
  const std::uint64_t end_ns = steady_clock().now_ns() + 2'000 * kNsPerMs;
  while (written.times == 0 && steady_clock().now_ns() < end_ns) channel->poll();
  CHECK(aborted(written));
  CHECK((read.times == 0 && channel->in_flight() == 1));
  CHECK(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &read) == Submit::stopped);
  owner.polled = true;
  administrator.join();
  CHECK(wait(soft, *channel, read));
  CHECK((read.times == 1 && read.status.ok()));
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("resets that the owner has not seen cost no reissue") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  fill(soft, 0);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  for (int i = 0; i <= Channel::kMaxReissues; ++i) REQUIRE(soft.drive->reset());
  REQUIRE(wait(soft, *channel, answer));
  CHECK((answer.times == 1 && answer.status.ok() && holds(soft, 0x5a)));
}

TEST_CASE(
    "where a controller that was reset refuses the queue, what waited for it is answered, and I/O may go on later") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::create_cq), softnvme::FetchFault::Kind::answer);
  fault.status = nvme::Status::from(nvme::StatusCode::internal_error);
  soft.device().set_fault_hook(&fault);
  REQUIRE(soft.drive->reset());
  CHECK(channel->poll() == 1);
  CHECK(untold(answer));
  CHECK(channel->in_flight() == 0);
  CHECK(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::stopped);
  soft.device().set_fault_hook(nullptr);
  REQUIRE(soft.drive->reset());
  CHECK(reads_again(soft, *channel));
  CHECK(answer.times == 1);
}

// One that resets all the time, and is never seen without the controller's lock.
TEST_CASE("what waits for a queue that others leave no moment to make is answered after its timeout") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 1'000});
  struct Holder final : softnvme::FaultHook {
    softnvme::FetchFault after_fetch(std::uint16_t, const nvme::Command& command) override {
      const auto meant = static_cast<unsigned>(nvme::AdminOpcode::get_log_page);
      if (nvme::cdw0::kOpcode.of(command.cdw0) != meant) return {};
      holds = true;
      while (holds) std::this_thread::yield();
      return {};
    }
    std::atomic<bool> holds = false;
  } holder;
  soft.device().set_fault_hook(&holder);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
  unsigned rounds = 0;
  for (; rounds < 10 && answer.times == 0; ++rounds) {
    steady_clock().pause_ns(25 * kNsPerMs);  // more than the step of the channel's clock
    REQUIRE(soft.drive->reset());
    std::thread other([&] { (void)nvme::smart_log(soft.controller()); });
    while (!holder.holds) std::this_thread::yield();
    channel->poll();
    holder.holds = false;
    other.join();
  }
  CHECK(rounds > 1);
  CHECK(untold(answer));
  soft.device().set_fault_hook(nullptr);
  CHECK(reads_again(soft, *channel));
}

TEST_CASE("if another namespace answers after a reset the drive is lost, and nothing is sent to it") {
  SoftDrive soft;
  Namespace other = soft.ns;  // what the channel is told is what the drive will not show
  SECTION("NGUID") { other.nguid[15] ^= 1; }
  SECTION("EUI64") { other.eui64[0] ^= 1; }
  SECTION("block size") { other.block_size_bytes *= 8; }
  auto right = *soft.drive->open_channel(soft.ns, {.depth = 4});
  auto channel = *soft.drive->open_channel(other, {.depth = 4});
  Fault reads(false, kRead, softnvme::FetchFault::Kind::none);
  soft.device().set_fault_hook(&reads);
  Answer answers[2];
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answers[0]) == Submit::accepted);
  REQUIRE(right->read(0, soft.buffer.slice(), Answer::take, &answers[1]) == Submit::accepted);
  const auto reset = soft.drive->reset();
  REQUIRE_FALSE(reset);
  CHECK(reset.error().what.find("namespace 1 is another one after the reset") != std::string::npos);
  CHECK(*vfio::bus_master(soft.device()) == false);
  channel->poll();
  right->poll();
  CHECK((untold(answers[0]) && untold(answers[1])));
  CHECK(reads.seen == 0);
  CHECK_FALSE(soft.drive->poll());
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("the namespace of a channel that is gone is not looked for after a reset") {
  SoftDrive soft;
  Namespace other = soft.ns;
  other.nguid[0] ^= 1;
  REQUIRE(soft.drive->open_channel(other, {.depth = 4}));
  CHECK(soft.drive->reset());
}

TEST_CASE("completions that come twice answer each request once") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Fault fault(false, kRead, softnvme::FetchFault::Kind::none);
  fault.double_completions = true;
  soft.device().set_fault_hook(&fault);
  for (int i = 0; i < 100; ++i) {
    Answer answer;
    REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
    REQUIRE(wait(soft, *channel, answer));
    for (int more = 0; more < 4; ++more) channel->poll();
    REQUIRE((answer.times == 1 && answer.status.ok()));
  }
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a queue that cannot be created is an error within the bound, and one can be created afterwards") {
  SoftDrive soft;
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::create_sq), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  const auto refused = soft.drive->open_channel(soft.ns, {.depth = 4});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().what.find("0x01") != std::string::npos);
  CHECK(soft.epoch() == 2);  // reset before the queue's memory went: who knows whether the controller has it
  REQUIRE(soft.drive->poll());
  CHECK(soft.epoch() == 2);
  const auto channel = soft.drive->open_channel(soft.ns, {.depth = 4});
  REQUIRE(channel);
  CHECK(reads_again(soft, **channel));
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a queue that cannot be deleted has the controller reset before its memory goes, and others go on") {
  SoftDrive soft;
  auto other = *soft.drive->open_channel(soft.ns, {.depth = 4});
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::delete_sq), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  channel.reset();
  CHECK(reads_again(soft, *other));
  soft.device().set_fault_hook(nullptr);
  CHECK(soft.device().violation_count() == 0);
}

TEST_CASE("a queue that a reset has taken is released without another reset, and after a shutdown nothing comes up") {
  SoftDrive soft;
  auto memory = *nvme::QueueMemory::allocate(*soft.drive->space(), 4, 3, 1);
  const std::uint16_t qid = *soft.controller().take_queue_id();
  const nvme::IoQueue queue{qid, 4, memory.submissions_iova(), memory.completions_iova()};
  REQUIRE(soft.controller().create_queue(queue));
  SECTION("a reset") {
    REQUIRE(soft.drive->reset());
    soft.controller().release_queue(qid);
    CHECK(soft.epoch() == 2);
  }
  SECTION("a shutdown") {
    REQUIRE(soft.drive->shutdown());
    soft.controller().release_queue(qid);
    CHECK(nvme::Pulse{soft.controller().pulse().load()}.phase() == nvme::Pulse::Phase::gone);
  }
  CHECK(soft.device().violation_count() == 0);
}

TEST_CASE("a reset that was asked for before another one is not made once more") {
  SoftDrive soft;
  soft.controller().ask_for_reset(soft.epoch());
  REQUIRE(soft.drive->reset());
  REQUIRE(soft.drive->poll());
  CHECK(soft.epoch() == 2);
  soft.controller().ask_for_reset(soft.epoch());
  REQUIRE(soft.drive->poll());
  CHECK(soft.epoch() == 3);
}

TEST_CASE(
    "a controller that does not come back is lost: cut off from memory, everything answered, its shutdown an error") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Answer in_flight;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &in_flight) == Submit::accepted);
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::identify), softnvme::FetchFault::Kind::drop);
  fault.left = kAlways;
  soft.device().set_fault_hook(&fault);
  CHECK_FALSE(soft.drive->reset());
  CHECK(*vfio::bus_master(soft.device()) == false);
  CHECK_FALSE(soft.drive->poll());
  CHECK_FALSE(soft.drive->shutdown());
  channel->poll();
  CHECK(untold(in_flight));
  Answer answer;
  CHECK(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::stopped);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a shutdown answers what is in flight, whether or not the owner had seen a reset before") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
  SECTION("not") {}
  SECTION("it had not polled since the reset") { REQUIRE(soft.drive->reset()); }
  REQUIRE(soft.drive->shutdown());
  channel->poll();
  CHECK(untold(answer));
  CHECK(channel->in_flight() == 0);
}

TEST_CASE("a function reset behind the driver's back is noticed, and the channel comes back with what it had to do") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  REQUIRE(reads_again(soft, *channel));
  REQUIRE(soft.device().reset());
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, *channel, answer));
  CHECK((answer.times == 1 && answer.status.ok()));
  CHECK(soft.epoch() == 2);
  CHECK(reads_again(soft, *channel));
}

}  // namespace pollux
