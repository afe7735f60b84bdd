// What becomes of commands that a controller loses, doubles or never answers, and of queues that it refuses: each step
// of the ladder.
#include "pollux/tests/unit/driver/recovery_fixture.hpp"

#include <catch2/catch.hpp>
#include <thread>

#include "pollux/driver/controller/identify.hpp"
#include "pollux/driver/controller/queue_memory.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux {

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
  while (aborts.seen == 0) std::this_thread::yield();
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
  CHECK(refused.error().what.find("Create I/O Submission Queue (01h) was not answered") != std::string::npos);
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
  CHECK(channel->read(0, soft.buffer.slice(0, 512), Answer::take, &answer) == Submit::gone);
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
