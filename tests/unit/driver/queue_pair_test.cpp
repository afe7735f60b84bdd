#include <catch2/catch.hpp>
#include <cstring>
#include <set>

#include "raw_queue.hpp"

namespace pollux::nvme {
namespace {

bool has_late(QueuePair& pair, std::uint32_t now) {
  bool found = false;
  pair.for_each_late(now, [&](Request&) { found = true; });
  return found;
}

}  // namespace

TEST_CASE("a command is invisible until the doorbell rings, and one doorbell tells of a whole batch") {
  RawQueue queue(8, 7);
  Answer answers[3];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  CHECK(queue.submission_doorbell == 0);
  queue.pair().ring();
  CHECK(queue.submission_doorbell == 3);
}

TEST_CASE("each command is answered once, with its own status, in whatever order the completions come") {
  RawQueue queue(8, 7);
  Answer answers[3];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  std::vector<std::uint16_t> cids;
  while (const auto command = queue.fetch()) cids.push_back(RawQueue::cid_of(*command));
  REQUIRE(cids.size() == 3);
  queue.post(cids[2], 0x280);
  queue.post(cids[0]);
  queue.post(cids[1], 0x80);
  CHECK(queue.pair().poll(64) == 3);
  CHECK((answers[0].times == 1 && answers[0].status.ok()));
  CHECK((answers[1].times == 1 && answers[1].status.code() == StatusCode::lba_out_of_range));
  CHECK((answers[2].times == 1 && answers[2].status.code() == StatusCode::write_fault));
  CHECK(queue.completion_doorbell == 3);
}

TEST_CASE("behind shadows a controller that asked for the head is woken by the poll that passes it, once") {
  constexpr std::uint32_t kNever = 0xffff;
  RawQueue queue(8, 7, true);
  queue.events[0] = kNever;
  queue.events[1] = 1;  // the head that is to wake it is 2
  Answer answers[4];
  const auto carry_out = [&](Answer& answer) {
    const std::uint32_t head = queue.shadows[1];
    REQUIRE(submit(queue.pair(), answer));
    queue.pair().ring();
    CHECK((queue.submission_doorbell == 0 && queue.shadows[0] == head + 1));
    queue.post(RawQueue::cid_of(queue.slot(head)));
    REQUIRE(queue.pair().poll(64) == 1);
    CHECK(queue.shadows[1] == head + 1);
  };
  carry_out(answers[0]);
  CHECK(queue.completion_doorbell == 0);
  carry_out(answers[1]);
  CHECK(queue.completion_doorbell == 2);
  CHECK(queue.pair().poll(64) == 0);
  carry_out(answers[2]);
  carry_out(answers[3]);
  CHECK(queue.completion_doorbell == 2);  // passed once, woken once
}

TEST_CASE("behind shadows a controller that asked for the head is woken with the commands that a callback submitted") {
  constexpr std::uint32_t kNever = 0xffff;
  RawQueue queue(8, 7, true);
  queue.events[0] = kNever;
  queue.events[1] = 0;
  struct Again {
    QueuePair& pair;
    Answer next;
    static void take(void* context, Status) noexcept {
      auto& again = *static_cast<Again*>(context);
      CHECK(submit(again.pair, again.next));
    }
  } again{queue.pair(), {}};
  REQUIRE(queue.pair().submit(Again::take, &again, 0, [](Command& slot, std::uint16_t) { slot = {}; }));
  queue.pair().ring();
  queue.post(RawQueue::cid_of(queue.slot(0)));
  REQUIRE(queue.pair().poll(64) == 1);
  CHECK((queue.shadows[1] == 1 && queue.completion_doorbell == 0));
  queue.pair().ring();
  CHECK(queue.completion_doorbell == 1);
}

TEST_CASE("the whole queue is usable, and full is an answer of its own") {
  RawQueue queue(8, 7);
  Answer answers[8];
  for (int i = 0; i < 7; ++i) REQUIRE(submit(queue.pair(), answers[i]));
  CHECK_FALSE(submit(queue.pair(), answers[7]));
  CHECK(queue.pair().in_flight() == 7);
  queue.pair().ring();
  queue.post(RawQueue::cid_of(*queue.fetch()));
  CHECK(queue.pair().poll(64) == 1);
  CHECK(submit(queue.pair(), answers[7]));
}

TEST_CASE("a thousand passes over a small ring keep phase, slots and identifiers apart") {
  RawQueue queue(4, 3);
  for (int pass = 0; pass < 4000; ++pass) {
    Answer answers[3];
    const int batch = pass % 3 + 1;
    for (int i = 0; i < batch; ++i) REQUIRE(submit(queue.pair(), answers[i]));
    queue.pair().ring();
    std::set<std::uint16_t> cids;
    while (const auto command = queue.fetch()) {
      cids.insert(RawQueue::cid_of(*command));
      queue.post(RawQueue::cid_of(*command));
    }
    REQUIRE(cids.size() == static_cast<std::size_t>(batch));
    REQUIRE(cids.count(kCidReserved) == 0);
    REQUIRE(queue.pair().poll(64) == static_cast<unsigned>(batch));
    for (int i = 0; i < batch; ++i) REQUIRE(answers[i].times == 1);
  }
  CHECK(queue.pair().strays() == 0);
}

TEST_CASE("an identifier is not the slot's number: it is unique among the commands in flight") {
  RawQueue queue(4, 3);
  Answer slow;
  REQUIRE(submit(queue.pair(), slow));
  queue.pair().ring();
  const std::uint16_t slow_cid = RawQueue::cid_of(*queue.fetch());
  for (int i = 0; i < 64; ++i) {  // the slots wrap many times around the one that is still in flight
    Answer quick;
    REQUIRE(submit(queue.pair(), quick));
    queue.pair().ring();
    const std::uint16_t cid = RawQueue::cid_of(*queue.fetch());
    REQUIRE((cid & 0xfff) != (slow_cid & 0xfff));
    queue.post(cid);
    REQUIRE(queue.pair().poll(64) == 1);
    REQUIRE((quick.times == 1 && slow.times == 0));
  }
}

TEST_CASE("a completion that comes twice, too late, or out of range answers nothing and is counted") {
  RawQueue queue(8, 5);
  Answer first, second;
  REQUIRE(submit(queue.pair(), first));
  queue.pair().ring();
  const std::uint16_t cid = RawQueue::cid_of(*queue.fetch());
  queue.post(cid);
  queue.post(cid);     // doubled
  queue.post(5);       // beyond the records
  queue.post(0xffff);  // reserved
  CHECK(queue.pair().poll(64) == 4);
  CHECK(first.times == 1);
  CHECK(queue.pair().strays() == 3);

  REQUIRE(submit(queue.pair(), second));  // the same record, another generation
  queue.pair().ring();
  const std::uint16_t reused = RawQueue::cid_of(*queue.fetch());
  REQUIRE((reused & 0xfff) == (cid & 0xfff));
  queue.post(cid);  // stale
  CHECK(queue.pair().poll(64) == 1);
  CHECK((second.times == 0 && queue.pair().strays() == 4));
  queue.post(reused);
  CHECK(queue.pair().poll(64) == 1);
  CHECK(second.times == 1);
}

TEST_CASE("poll stops at its limit and acknowledges with one doorbell, an empty poll with none") {
  RawQueue queue(8, 7);
  Answer answers[5];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  while (const auto command = queue.fetch()) queue.post(RawQueue::cid_of(*command));
  CHECK(queue.pair().poll(2) == 2);
  CHECK(queue.completion_doorbell == 2);
  queue.completion_doorbell = 99;  // an untouched doorbell stays so
  CHECK(queue.pair().poll(0) == 0);
  CHECK(queue.completion_doorbell == 99);
  CHECK(queue.pair().poll(64) == 3);
  CHECK(queue.completion_doorbell == 5);
}

struct Resubmitter {
  RawQueue* queue;
  int left;
  std::uint32_t acknowledged_when_rung = 99;
  static void again(void* context, Status) noexcept {
    auto* const self = static_cast<Resubmitter*>(context);
    if (self->left-- == 0) return;
    (void)self->queue->pair().submit(again, self, 0, [](Command& slot, std::uint16_t) { slot = {}; });
    self->queue->pair().ring();
    self->acknowledged_when_rung = self->queue->completion_doorbell;
  }
};

TEST_CASE("what a callback submits and rings is told after the completions before it were given back") {
  RawQueue queue(2, 1);  // room for one completion: a new command before the acknowledgement would overrun it
  Resubmitter self{&queue, 5};
  REQUIRE(queue.pair().submit(Resubmitter::again, &self, 0, [](Command& slot, std::uint16_t) { slot = {}; }));
  queue.pair().ring();
  for (std::uint32_t round = 1; round <= 5; ++round) {
    queue.post(RawQueue::cid_of(*queue.fetch()));
    REQUIRE(queue.pair().poll(1) == 1);
    REQUIRE(self.acknowledged_when_rung == round % 2);
  }
}

TEST_CASE("fail_all answers everything in flight once, and a completion that comes afterwards is a stray") {
  RawQueue queue(8, 7);
  Answer answers[3];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  const std::uint16_t cid = RawQueue::cid_of(*queue.fetch());
  queue.pair().fail_all();
  for (const Answer& answer : answers) {
    CHECK((answer.times == 1 && answer.status.code() == StatusCode::aborted_by_host));
  }
  CHECK(queue.pair().in_flight() == 0);
  queue.post(cid);
  CHECK(queue.pair().poll(64) == 1);
  CHECK((answers[0].times == 1 && queue.pair().strays() == 1));
}

TEST_CASE("what the controller was never told of ends otherwise than what it may have begun") {
  RawQueue queue(8, 7);
  Answer told, untold, again;
  REQUIRE(submit(queue.pair(), told));
  queue.pair().ring();
  REQUIRE(submit(queue.pair(), untold));
  queue.pair().note_unrung();
  SECTION("it ends at once") {}
  SECTION("it was sent again, which the controller was not told of either") {
    queue.restart();
    queue.pair().reissue(1, 0);
    queue.pair().note_unrung();
  }
  queue.pair().fail_all();
  CHECK((told.times == 1 && told.status.code() == StatusCode::aborted_by_host));
  CHECK((untold.times == 1 && untold.status.code() == StatusCode::host_pathing_error));
  CHECK((told.status.may_have_reached_media() && !untold.status.may_have_reached_media()));
  // The record's next command starts afresh.
  REQUIRE(submit(queue.pair(), again));
  queue.pair().fail_all();
  CHECK(again.status.code() == StatusCode::aborted_by_host);
}

TEST_CASE("a write that was sent again and refused then may have reached the media the time before") {
  RawQueue queue(8, 7);
  Answer read, write;
  const auto send = [&](IoOpcode opcode, Answer& answer) {
    return queue.pair().submit(Answer::take, &answer, 0, [&](Command& slot, std::uint16_t) {
      slot = {};
      slot.cdw0 = static_cast<std::uint32_t>(opcode);
    });
  };
  REQUIRE((send(IoOpcode::read, read) && send(IoOpcode::write, write)));
  bool was_told_before = false;
  SECTION("told the first time") {
    queue.pair().ring();
    was_told_before = true;
  }
  SECTION("never told the first time") { queue.pair().note_unrung(); }
  queue.restart();
  queue.pair().reissue(1, 0);
  queue.pair().ring();
  const auto refused = static_cast<std::uint16_t>(StatusCode::namespace_not_ready);
  while (const auto command = queue.fetch()) queue.post(RawQueue::cid_of(*command), refused);
  CHECK(queue.pair().poll(64) == 2);
  CHECK((read.times == 1 && read.status.code() == StatusCode::namespace_not_ready));
  CHECK((write.times == 1 && write.status.may_have_reached_media() == was_told_before));
}

TEST_CASE("a ring that the device has written to marks no other command as never told, and none outside the records") {
  RawQueue queue(8, 7);
  Answer told, untold;
  REQUIRE(submit(queue.pair(), told));
  queue.pair().ring();
  const std::uint16_t cid = RawQueue::cid_of(*queue.fetch());
  REQUIRE(submit(queue.pair(), untold));
  Command& slot = queue.slot(1);
  slot.cdw0 = cdw0::kCid.put(slot.cdw0, GENERATE_COPY(std::uint64_t{0xfff}, std::uint64_t{cid} ^ 0x1000));
  queue.pair().note_unrung();
  queue.pair().fail_all();
  CHECK(told.status.code() == StatusCode::aborted_by_host);
  CHECK(untold.status.code() == StatusCode::aborted_by_host);
}

TEST_CASE("fail_unless leaves in flight what is to be kept") {
  RawQueue queue(8, 7);
  Answer answers[3];
  for (std::uint32_t i = 0; i < 3; ++i) REQUIRE(submit(queue.pair(), answers[i], i));
  queue.pair().fail_unless([](const Request& r) { return r.deadline == 1; });
  CHECK((answers[0].times == 1 && answers[1].times == 0 && answers[2].times == 1));
  CHECK(queue.pair().in_flight() == 1);
}

TEST_CASE("what is kept over a reset is sent again: the same command at the same index, under another identifier") {
  RawQueue queue(4, 3);
  Answer first, second;
  for (int i = 0; i < 2; ++i) {  // so that the rings do not begin where they will again
    Answer before;
    REQUIRE(submit(queue.pair(), before));
    queue.pair().ring();
    queue.post(RawQueue::cid_of(*queue.fetch()));
    REQUIRE(queue.pair().poll(64) == 1);
  }
  const auto fill = [](Command& slot, std::uint16_t) {
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(IoOpcode::write);
    slot.nsid = 7;
    slot.prp1 = 0x1111'2222'3333'4444;
    slot.prp2 = 0x5555'6666'7777'8000;
    slot.cdw10 = 10;
    slot.cdw11 = 11;
    slot.cdw12 = 0x4000'0012;
  };
  REQUIRE(queue.pair().submit(Answer::take, &first, 5, fill));
  queue.pair().ring();
  const Command sent = *queue.fetch();
  REQUIRE(queue.pair().submit(Answer::take, &second, 5, fill));  // not told yet

  std::uint16_t last[2] = {RawQueue::cid_of(sent), 0xffff};
  for (unsigned reset = 1; reset <= 20; ++reset) {
    queue.restart();
    CHECK(queue.pair().in_flight() == 2);
    CHECK_FALSE(queue.fetch());
    queue.pair().reissue(7, 100);
    CHECK_FALSE(has_late(queue.pair(), 99));
    CHECK(has_late(queue.pair(), 100));
    queue.pair().ring();
    CHECK(queue.submission_doorbell == 2);
    std::set<unsigned> indices;
    for (std::uint16_t& cid : last) {
      Command again = *queue.fetch();
      CHECK(RawQueue::cid_of(again) != cid);
      cid = RawQueue::cid_of(again);
      indices.insert(cid & 0xfff);
      again.cdw0 = cdw0::kCid.put(again.cdw0, RawQueue::cid_of(sent));
      CHECK(std::memcmp(&again, &sent, sizeof sent) == 0);
    }
    CHECK(indices.size() == 2);
    CHECK(indices.count(RawQueue::cid_of(sent) & 0xfff) == 1);
  }
  CHECK((first.times == 0 && second.times == 0));
}

TEST_CASE("a completion of what a command was before a reset, or a second one of what it is now, is a stray") {
  const int others = GENERATE(range(0, 16));  // that take the generation to any that there is
  RawQueue queue(4, 2);
  Answer answer, next;
  REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  const std::uint16_t before = RawQueue::cid_of(*queue.fetch());
  for (int i = 0; i < others; ++i) {
    Answer other;
    REQUIRE(submit(queue.pair(), other));
    queue.pair().ring();
    queue.post(RawQueue::cid_of(*queue.fetch()));
    REQUIRE(queue.pair().poll(64) == 1);
  }
  queue.restart();
  queue.pair().reissue(1, 0);
  queue.pair().ring();
  const std::uint16_t now = RawQueue::cid_of(*queue.fetch());
  CHECK((now & 0xfff) == (before & 0xfff));
  queue.post(before);
  CHECK(queue.pair().poll(64) == 1);
  CHECK((answer.times == 0 && queue.pair().strays() == 1));
  queue.post(now);
  CHECK(queue.pair().poll(64) == 1);
  CHECK((answer.times == 1 && answer.status.ok()));
  REQUIRE(submit(queue.pair(), next));
  queue.post(now);
  CHECK(queue.pair().poll(64) == 1);
  CHECK((answer.times == 1 && next.times == 0 && queue.pair().strays() == 2));
}

TEST_CASE("a deadline is found when it has come, across the wrap of the clock too, and not after the answer") {
  RawQueue queue(8, 7);
  Answer answer;
  const std::uint32_t now = 0xffff'fff0;
  CHECK_FALSE(has_late(queue.pair(), now));
  REQUIRE(submit(queue.pair(), answer, now + 32));
  CHECK_FALSE(has_late(queue.pair(), now));
  CHECK_FALSE(has_late(queue.pair(), now + 31));
  CHECK(has_late(queue.pair(), now + 32));
  queue.pair().ring();
  queue.post(RawQueue::cid_of(*queue.fetch()));
  queue.pair().poll(64);
  CHECK_FALSE(has_late(queue.pair(), now + 32));
}

}  // namespace pollux::nvme
