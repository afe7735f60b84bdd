// A channel whose queue pair is gone: how it is made again, what is rung meanwhile, and what the owner is told.
#include <catch2/catch.hpp>

#include "pollux/tests/unit/driver/recovery_fixture.hpp"

namespace pollux {
namespace {

constexpr auto kCreateCq = static_cast<unsigned>(nvme::AdminOpcode::create_cq);

}  // namespace

TEST_CASE("a queue that the controller refuses once after a reset is made a little later, and loses nothing") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  put(soft, *channel, 0x5a);
  fill(soft, 0);
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  Fault refusal(true, kCreateCq, softnvme::FetchFault::Kind::answer);
  refusal.status = nvme::Status::from(nvme::StatusCode::internal_error);
  soft.device().set_fault_hook(&refusal);
  REQUIRE(soft.drive->reset());
  channel->poll();
  CHECK(refusal.left == 0);
  CHECK(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::stopped);
  REQUIRE(wait(soft, *channel, answer));
  CHECK((answer.times == 1 && answer.status.ok() && holds(soft, 0x5a)));
  CHECK(soft.epoch() == 2);
  CHECK(refusal.seen == 2);
  soft.device().set_fault_hook(nullptr);
}

TEST_CASE("a queue that is refused until the timeout leaves a channel that is gone, until a reset") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4, .timeout_ms = 1'000});
  Answer answer;
  REQUIRE(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  Fault refusal(true, kCreateCq, softnvme::FetchFault::Kind::answer);
  refusal.status = nvme::Status::from(nvme::StatusCode::internal_error);
  refusal.left = kAlways;
  soft.device().set_fault_hook(&refusal);
  REQUIRE(soft.drive->reset());
  REQUIRE(wait(soft, *channel, answer));
  CHECK(untold(answer));
  CHECK(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::gone);
  const unsigned tries = refusal.seen;
  channel->poll();
  CHECK(refusal.seen == tries);
  soft.device().set_fault_hook(nullptr);
  REQUIRE(soft.drive->reset());
  CHECK(reads_again(soft, *channel));
}

TEST_CASE("a callback that outlasts a reset rings no doorbell of the queue that is gone") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  struct Slow {
    SoftDrive& soft;
    Channel& channel;
    bool done = false;
    Answer next;
    static void take(void* context, nvme::Status) noexcept {
      auto& slow = *static_cast<Slow*>(context);
      std::thread([&] { (void)slow.soft.drive->reset(); }).join();  // waits for this owner in vain
      CHECK(slow.channel.read(0, slow.soft.buffer.slice(0, 512), Answer::take, &slow.next) == Submit::accepted);
      slow.channel.ring();
      slow.done = true;
    }
  } slow{soft, *channel, false, {}};
  REQUIRE(channel->read(0, soft.buffer.slice(0, 512), Slow::take, &slow) == Submit::accepted);
  while (!slow.done) channel->poll();
  CHECK(soft.epoch() == 2);
  REQUIRE(wait(soft, *channel, slow.next));
  CHECK(slow.next.status.ok());
  for (const auto& violation : soft.device().violations()) FAIL_CHECK(violation.text);
}

TEST_CASE("a channel of a drive that was shut down is gone") {
  SoftDrive soft;
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = 4});
  REQUIRE(soft.drive->shutdown());
  channel->poll();
  Answer answer;
  CHECK(channel->flush(Answer::take, &answer) == Submit::gone);
  CHECK(channel->read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::gone);
}

}  // namespace pollux
