// What is sent again after a reset and what is not, how often, and to which drive.
#include "pollux/tests/unit/driver/recovery_fixture.hpp"

#include <catch2/catch.hpp>
#include <thread>

#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux {

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

TEST_CASE("what the controller had completed before a reset is answered so, and not carried out again") {
  SoftDrive soft;
  constexpr unsigned kWrites = 64;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = kWrites, .reissue_writes = GENERATE(false, true)});
  struct Completed final : softnvme::FaultHook {
    softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command&) override {
      if (sqid != 0) ++fetched;
      return {};
    }
    softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
      if (sqid != 0) ++posted;
      return softnvme::PostFault::none;
    }
    std::atomic<unsigned> fetched = 0, posted = 0;
  } hook;
  soft.device().set_fault_hook(&hook);
  Answer answers[kWrites];
  for (unsigned i = 0; i < kWrites; ++i)
    REQUIRE(channel->write(i, soft.buffer.slice(0, 512), Answer::take, &answers[i]) == Submit::accepted);
  channel->ring();
  while (hook.posted < kWrites) std::this_thread::yield();
  REQUIRE(soft.drive->reset());
  channel->poll();
  for (const Answer& answer : answers) CHECK((answer.times == 1 && answer.status.ok()));
  CHECK(reads_again(soft, *channel));
  CHECK(hook.fetched == kWrites + 1);
  soft.device().set_fault_hook(nullptr);
  CHECK(soft.device().violation_count() == 0);
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

}  // namespace pollux
