// What becomes of commands that a controller loses, doubles or never answers: the software controller does so on
// demand.
#include <atomic>
#include <catch2/catch.hpp>

#include "pollux/driver/block/block.hpp"
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
    if (!meant || left == 0) return {};
    --left;
    return {kind, {}, 0};
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
    return sqid != 0 && double_completions ? softnvme::PostFault::twice : softnvme::PostFault::none;
  }

  bool admin;
  unsigned opcode;
  softnvme::FetchFault::Kind kind;
  std::atomic<unsigned> left = 1;
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

constexpr auto kRead = static_cast<unsigned>(nvme::IoOpcode::read);

}  // namespace

TEST_CASE("a read that is never answered has the controller reset after its timeout, is answered, and I/O goes on") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 5'000});
  Fault fault(false, kRead, softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  Answer lost;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &lost) == Submit::accepted);
  const std::uint64_t begin_ns = soft.clock.now_ns();
  REQUIRE(wait(soft, *channel, lost));
  CHECK(soft.clock.now_ns() - begin_ns >= 5'000 * kNsPerMs);
  CHECK((lost.times == 1 && lost.status.code() == nvme::StatusCode::aborted_by_host));
  CHECK(reads_again(soft, *channel));
  CHECK(lost.times == 1);
  soft.device().set_fault_hook(nullptr);
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
    CHECK(nvme::Pulse{soft.controller().pulse().load()}.phase() == nvme::Pulse::Phase::down);
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

TEST_CASE("a controller that does not come back is lost: cut off from memory, and its shutdown an error") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::identify), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  CHECK_FALSE(soft.drive->reset());
  CHECK(*vfio::bus_master(soft.device()) == false);
  CHECK_FALSE(soft.drive->poll());
  CHECK_FALSE(soft.drive->shutdown());
  channel->poll();
  Answer answer;
  CHECK(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::stopped);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a function reset behind the driver's back is noticed, and the channel comes back") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  REQUIRE(reads_again(soft, *channel));
  REQUIRE(soft.device().reset());
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, *channel, answer));
  CHECK(answer.status.code() == nvme::StatusCode::aborted_by_host);
  CHECK(reads_again(soft, *channel));
}

}  // namespace pollux
