// What an owner is told where a reset may have taken the volatile write cache: Channel::flush().
#include <catch2/catch.hpp>

#include "pollux/tests/unit/driver/recovery_fixture.hpp"

namespace pollux {
namespace {

bool tells_of_loss(const Answer& answer) {
  return answer.times == 1 && answer.status.code() == nvme::StatusCode::write_fault && answer.status.do_not_retry();
}

// What the driver sees of it: a controller that is disabled, and registers that are as after power-on.
void lose_power(SoftDrive& soft) { REQUIRE(soft.controller().device().reset()); }

Answer flush(SoftDrive& soft, Channel& channel) {
  Answer answer;
  REQUIRE(reads_again(soft, channel));
  REQUIRE(channel.flush(Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, channel, answer));
  return answer;
}

// Answers nothing to the command with this number, from 1, of those with this opcode.
struct HangOne final : softnvme::FaultHook {
  HangOne(nvme::IoOpcode what, unsigned which) : opcode(what), number(which) {}
  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    if (sqid == 0 || nvme::cdw0::kOpcode.of(command.cdw0) != static_cast<unsigned>(opcode)) return {};
    if (++seen != number) return {};
    return {softnvme::FetchFault::Kind::hang, {}, 0};
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
    if (sqid != 0) ++completed;
    return softnvme::PostFault::none;
  }
  nvme::IoOpcode opcode;
  unsigned number;
  std::atomic<unsigned> seen = 0;
  std::atomic<unsigned> completed = 0;
};

}  // namespace

TEST_CASE("a flush that was in flight when the power went says that writes may be gone, and the next one succeeds") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  Fault hang(false, static_cast<unsigned>(nvme::IoOpcode::flush), softnvme::FetchFault::Kind::hang);
  soft.device().set_fault_hook(&hang);
  Answer answer;
  REQUIRE(channel->flush(Answer::take, &answer) == Submit::accepted);
  channel->poll();
  while (hang.seen == 0) std::this_thread::yield();
  lose_power(soft);
  REQUIRE(wait(soft, *channel, answer));
  CHECK(tells_of_loss(answer));
  CHECK(hang.seen == 1);
  CHECK(flush(soft, *channel).status.ok());
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("after a loss the next flush of each channel that was open says so, once") {
  SoftDrive soft;
  auto writer = *soft.drive->open_channel(soft.ns, {.depth = 4});
  auto flusher = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *writer, 0x5a);
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  CHECK(tells_of_loss(flush(soft, *flusher)));
  CHECK(flush(soft, *flusher).status.ok());
  CHECK(tells_of_loss(flush(soft, *writer)));
  CHECK(flush(soft, *writer).status.ok());
}

TEST_CASE("a loss that no flush has told of yet is told of by the next channel, and by none after that") {
  SoftDrive soft;
  auto writer = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *writer, 0x5a);
  const bool is_closed_before = GENERATE(true, false);
  if (is_closed_before) writer.reset();
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  writer.reset();
  auto next = *soft.drive->open_channel(soft.ns, {.depth = 4});
  CHECK(tells_of_loss(flush(soft, *next)));
  CHECK(flush(soft, *next).status.ok());
  auto later = *soft.drive->open_channel(soft.ns, {.depth = 4});
  CHECK(flush(soft, *later).status.ok());
}

TEST_CASE("a loss before the first channel is nobody's") {
  SoftDrive soft;
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  CHECK(flush(soft, *channel).status.ok());
}

TEST_CASE("every flush that is submitted before the first has told of the loss tells of it") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  REQUIRE(reads_again(soft, *channel));
  Answer answers[2];
  for (Answer& answer : answers) REQUIRE(channel->flush(Answer::take, &answer) == Submit::accepted);
  for (Answer& answer : answers) {
    REQUIRE(wait(soft, *channel, answer));
    CHECK(tells_of_loss(answer));
  }
}

TEST_CASE(
    "a reset that is asked for keeps the cache, whatever its reach; one that follows a reset which failed may not") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  REQUIRE(soft.drive->reset());
  CHECK(flush(soft, *channel).status.ok());
  REQUIRE(soft.drive->reset(ResetReach::function));
  CHECK(flush(soft, *channel).status.ok());
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::identify), softnvme::FetchFault::Kind::drop);
  soft.device().set_fault_hook(&fault);
  REQUIRE(soft.drive->reset());
  CHECK(tells_of_loss(flush(soft, *channel)));
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a write that lay in the ring during a callback in which the cache was lost is not said to have succeeded") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  HangOne none(nvme::IoOpcode::write, ~0u);
  soft.device().set_fault_hook(&none);
  struct Slow {
    SoftDrive& soft;
    static void take(void* context, nvme::Status status) noexcept {
      CHECK(status.ok());
      SoftDrive& soft = static_cast<Slow*>(context)->soft;
      lose_power(soft);
      REQUIRE(soft.drive->poll());
    }
  } slow{soft};
  Answer second;
  REQUIRE(channel->write(0, soft.buffer.slice(0, 512), Slow::take, &slow) == Submit::accepted);
  REQUIRE(channel->write(1, soft.buffer.slice(0, 512), Answer::take, &second) == Submit::accepted);
  channel->ring();
  while (none.completed != 2) std::this_thread::yield();
  soft.device().set_fault_hook(nullptr);  // waits until the completions are posted
  REQUIRE(wait(soft, *channel, second));
  CHECK(aborted(second));
}

TEST_CASE("without a volatile write cache nothing can be lost with it") {
  SoftDrive soft("soft:size=1MiB,vwc=0");
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  CHECK(flush(soft, *channel).status.ok());
}

TEST_CASE(
    "a split write of which a piece was in the cache that was lost has failed, though the rest can be sent again") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(
      soft.ns, {.depth = 8, .max_transfer_bytes = soft.ns.block_size_bytes, .reissue_writes = true});
  const std::uint64_t pieces = 4096 / soft.ns.block_size_bytes;
  REQUIRE(pieces > 1);
  HangOne last(nvme::IoOpcode::write, static_cast<unsigned>(pieces));
  soft.device().set_fault_hook(&last);
  Answer answer;
  const bool fua = GENERATE(false, true);
  REQUIRE(channel->write(0, soft.buffer.slice(), Answer::take, &answer, fua) == Submit::accepted);
  while (last.seen < pieces || channel->in_flight() != 1) channel->poll();
  lose_power(soft);
  REQUIRE(wait(soft, *channel, answer));
  CHECK((fua ? answer.status.ok() : aborted(answer) && answer.status.may_have_reached_media()));
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE(
    "a write that was completed unseen is not called done when the cache is known to be lost, unless it was FUA") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  HangOne none(nvme::IoOpcode::write, 0);
  soft.device().set_fault_hook(&none);
  Answer cached, durable;
  REQUIRE(channel->write(0, soft.buffer.slice(), Answer::take, &cached) == Submit::accepted);
  REQUIRE(channel->write(0, soft.buffer.slice(), Answer::take, &durable, true) == Submit::accepted);
  channel->ring();
  while (none.completed < 2) std::this_thread::yield();
  lose_power(soft);
  REQUIRE(soft.drive->poll());
  REQUIRE(wait(soft, *channel, cached));
  REQUIRE(wait(soft, *channel, durable));
  CHECK((aborted(cached) && cached.status.may_have_reached_media()));
  CHECK(durable.status.ok());
  soft.device().set_fault_hook(nullptr);
}

}  // namespace pollux
