// What a shared queue pair does, one thread at a time. A thread that is suspended somewhere is played by doing what the
// others do meanwhile from within its fill function or its callback.
#include <catch2/catch.hpp>
#include <functional>
#include <set>

#include "raw_shared_queue.hpp"

namespace pollux::nvme {
namespace {

// What a callback was told, and what it does then.
struct Answer {
  int times = 0;
  Status status;
  std::function<void()> then;
  static void take(void* context, Status status) noexcept {
    auto* const answer = static_cast<Answer*>(context);
    ++answer->times;
    answer->status = status;
    if (answer->then) answer->then();
  }
};

bool submit(SharedQueuePair& pair, Answer& answer, std::uint32_t deadline = 0) {
  return pair.submit(Answer::take, &answer, deadline, [&](Command& slot, std::uint16_t) {
    slot = {};
    slot.prp1 = reinterpret_cast<std::uintptr_t>(&answer);
  });
}

// The answer that a command is for: commands do not come in the order of submission.
Answer* answer_of(const Command& command) { return reinterpret_cast<Answer*>(command.prp1); }

std::vector<std::uint16_t> fetch_all(RawSharedQueue& queue) {
  std::vector<std::uint16_t> cids;
  while (const auto command = queue.fetch()) cids.push_back(RawSharedQueue::cid_of(*command));
  return cids;
}

}  // namespace

TEST_CASE("a command to a shared queue is invisible until the doorbell rings, and one doorbell tells of a batch") {
  RawSharedQueue queue(8, 7);
  Answer answers[3];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  CHECK(queue.submission_doorbell == 0);
  queue.pair().ring();
  CHECK(queue.submission_doorbell == 3);
  queue.submission_doorbell = 99;  // nothing new: an untouched doorbell stays so
  queue.completion_doorbell = 99;
  queue.pair().ring();
  CHECK((queue.submission_doorbell == 99 && queue.completion_doorbell == 99));
}

TEST_CASE("poll alone tells of what was submitted") {
  RawSharedQueue queue(8, 7);
  Answer answer;
  REQUIRE(submit(queue.pair(), answer));
  CHECK(queue.pair().poll(0) == 0);
  CHECK(queue.submission_doorbell == 1);
}

TEST_CASE("the command arrives as it was filled, under an identifier that fill need not know") {
  RawSharedQueue queue(8, 7);
  Answer answer;
  std::uint16_t index = 99;
  REQUIRE(queue.pair().submit(Answer::take, &answer, 0, [&](Command& slot, std::uint16_t its_index) {
    index = its_index;
    slot = {};
    slot.cdw0 = 0xabcd'0002;  // whatever stands in the CID's place
    slot.nsid = 7;
    slot.prp1 = 0x1122'3344'5566'7000;
    slot.cdw15 = 15;
  }));
  queue.pair().ring();
  const auto command = queue.fetch();
  REQUIRE(command);
  CHECK((RawSharedQueue::cid_of(*command) & 0xfff) == index);
  CHECK((command->cdw0 & 0xffff) == 2);
  CHECK((command->nsid == 7 && command->prp1 == 0x1122'3344'5566'7000 && command->cdw15 == 15));
}

TEST_CASE("each command of a shared queue is answered once, with its own status, in whatever order") {
  RawSharedQueue queue(8, 7);
  Answer answers[3];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  std::uint16_t cids[3] = {kCidReserved, kCidReserved, kCidReserved};
  while (const auto command = queue.fetch()) cids[answer_of(*command) - answers] = RawSharedQueue::cid_of(*command);
  queue.post(cids[2], 0x280);
  queue.post(cids[0]);
  queue.post(cids[1], 0x80);
  CHECK(queue.pair().poll(64) == 3);
  CHECK((answers[0].times == 1 && answers[0].status.ok()));
  CHECK((answers[1].times == 1 && answers[1].status.code() == StatusCode::lba_out_of_range));
  CHECK((answers[2].times == 1 && answers[2].status.code() == StatusCode::write_fault));
  CHECK(queue.completion_doorbell == 3);
}

TEST_CASE("every index of a shared queue is usable, at each depth, and full is an answer of its own") {
  for (const std::uint32_t depth : {1u, 2u, 3u, 7u, 9u, 63u, 64u, 65u, 100u, 511u, 513u, 1023u, 4095u}) {
    RawSharedQueue queue(std::bit_ceil(depth + 1), depth);
    std::vector<Answer> answers(depth + 1);
    for (std::uint32_t i = 0; i < depth; ++i) REQUIRE(submit(queue.pair(), answers[i]));
    CHECK_FALSE(submit(queue.pair(), answers[depth]));
    CHECK(queue.pair().in_flight() == depth);
    queue.pair().ring();
    const auto cids = fetch_all(queue);
    const std::set<std::uint16_t> different(cids.begin(), cids.end());
    REQUIRE(different.size() == depth);
    REQUIRE(*different.rbegin() != kCidReserved);
    queue.post(cids[depth / 2]);
    CHECK(queue.pair().poll(64) == 1);
    CHECK(submit(queue.pair(), answers[depth]));
    CHECK_FALSE(submit(queue.pair(), answers[depth]));
  }
}

TEST_CASE("a thousand passes over a small shared ring keep phase, slots and identifiers apart") {
  RawSharedQueue queue(4, 3);
  for (int pass = 0; pass < 4000; ++pass) {
    Answer answers[3];
    const int batch = pass % 3 + 1;
    for (int i = 0; i < batch; ++i) REQUIRE(submit(queue.pair(), answers[i]));
    queue.pair().ring();
    std::set<std::uint16_t> cids;
    for (const std::uint16_t cid : fetch_all(queue)) {
      cids.insert(cid);
      queue.post(cid);
    }
    REQUIRE(cids.size() == static_cast<std::size_t>(batch));
    REQUIRE(cids.count(kCidReserved) == 0);
    REQUIRE(queue.pair().poll(64) == static_cast<unsigned>(batch));
    REQUIRE(queue.unacknowledged() == 0);
    for (int i = 0; i < batch; ++i) REQUIRE(answers[i].times == 1);
  }
  CHECK(queue.pair().strays() == 0);
}

TEST_CASE("a shared queue answers nothing to a completion that comes twice, too late, too early or out of range") {
  RawSharedQueue queue(8, 5);
  Answer first, second;
  REQUIRE(submit(queue.pair(), first));
  queue.pair().ring();
  const std::uint16_t cid = RawSharedQueue::cid_of(*queue.fetch());
  queue.post(cid);
  queue.post(cid);     // doubled
  queue.post(5);       // beyond the records
  queue.post(0xffff);  // reserved
  CHECK(queue.pair().poll(64) == 4);
  CHECK(first.times == 1);
  CHECK(queue.pair().strays() == 3);

  REQUIRE(submit(queue.pair(), second));  // the same record, another generation
  const auto reused = static_cast<std::uint16_t>(cid + 0x1000);
  queue.post(reused);  // guessed: the controller was not told
  CHECK(queue.pair().poll(1) == 1);
  CHECK((second.times == 0 && queue.pair().strays() == 4));
  REQUIRE(RawSharedQueue::cid_of(*queue.fetch()) == reused);
  queue.post(cid);  // stale
  CHECK(queue.pair().poll(64) == 1);
  CHECK((second.times == 0 && queue.pair().strays() == 5));
  queue.post(reused);
  CHECK(queue.pair().poll(64) == 1);
  CHECK(second.times == 1);
}

TEST_CASE("a shared poll stops at its limit, below and above a batch, and acknowledges what it answered") {
  constexpr std::uint32_t kCommands = 3 * SharedQueuePair::kBatch;
  RawSharedQueue queue(128, 127);
  Answer answers[kCommands];
  for (Answer& answer : answers) REQUIRE(submit(queue.pair(), answer));
  queue.pair().ring();
  for (const std::uint16_t cid : fetch_all(queue)) queue.post(cid);
  CHECK(queue.pair().poll(2) == 2);
  CHECK(queue.completion_doorbell == 2);
  queue.completion_doorbell = 99;  // an untouched doorbell stays so
  CHECK(queue.pair().poll(0) == 0);
  CHECK(queue.completion_doorbell == 99);
  CHECK(queue.pair().poll(SharedQueuePair::kBatch + 1) == SharedQueuePair::kBatch + 1);
  CHECK(queue.completion_doorbell == SharedQueuePair::kBatch + 3);
  CHECK(queue.pair().poll(1000) == kCommands - SharedQueuePair::kBatch - 3);
  for (const Answer& answer : answers) CHECK(answer.times == 1);
}

TEST_CASE("a callback of a shared queue finds the indices of its batch free, and what it submits goes out") {
  RawSharedQueue queue(2, 1);  // room for one completion: a new command before the acknowledgement would overrun it
  Answer first, second;
  first.then = [&] {
    REQUIRE(submit(queue.pair(), second));
    queue.pair().ring();
    CHECK(queue.completion_doorbell == 1);
    CHECK(queue.submission_doorbell == 0);
  };
  REQUIRE(submit(queue.pair(), first));
  queue.pair().ring();
  queue.post(RawSharedQueue::cid_of(*queue.fetch()));
  REQUIRE(queue.pair().poll(1) == 1);
  queue.post(RawSharedQueue::cid_of(*queue.fetch()));
  REQUIRE(queue.pair().poll(1) == 1);
  CHECK((first.times == 1 && second.times == 1));
}

TEST_CASE("a submitter that is suspended while it fills its command delays nobody else") {
  RawSharedQueue queue(4, 3);
  Answer slow;
  int passes = 0;
  REQUIRE(queue.pair().submit(Answer::take, &slow, 0, [&](Command& slot, std::uint16_t) {
    slot.nsid = 1;
    for (; passes < 100; ++passes) {  // many laps
      Answer others[2];
      for (Answer& other : others) REQUIRE(submit(queue.pair(), other));
      queue.pair().ring();
      const auto cids = fetch_all(queue);
      REQUIRE(cids.size() == 2);
      for (const std::uint16_t cid : cids) queue.post(cid);
      REQUIRE(queue.pair().poll(64) == 2);
      REQUIRE((others[0].times == 1 && others[1].times == 1));
    }
    slot.cdw10 = 10;
  }));
  CHECK((passes == 100 && slow.times == 0));
  queue.pair().ring();
  const auto command = queue.fetch();
  REQUIRE(command);
  CHECK((command->nsid == 1 && command->cdw10 == 10));
  queue.post(RawSharedQueue::cid_of(*command));
  CHECK(queue.pair().poll(64) == 1);
  CHECK(slow.times == 1);
}

TEST_CASE("a poller that is suspended in a callback delays the rest of its own claim alone") {
  RawSharedQueue queue(8, 7);
  Answer claimed[2], others[3];
  std::vector<Answer*> order;
  for (int i = 0; i < 2; ++i) REQUIRE(submit(queue.pair(), claimed[i]));
  queue.pair().ring();
  while (const auto command = queue.fetch()) {
    order.push_back(answer_of(*command));
    queue.post(RawSharedQueue::cid_of(*command));
  }
  order[0]->then = [&] {  // what others would do meanwhile
    queue.pair().ring();
    CHECK(queue.completion_doorbell == 2);
    for (Answer& other : others) REQUIRE(submit(queue.pair(), other));
    queue.pair().ring();
    for (const std::uint16_t cid : fetch_all(queue)) queue.post(cid);
    CHECK(queue.pair().poll(64) == 3);
    for (const Answer& other : others) CHECK(other.times == 1);
    CHECK(order[1]->times == 0);
  };
  CHECK(queue.pair().poll(2) == 2);
  CHECK((claimed[0].times == 1 && claimed[1].times == 1));
}

TEST_CASE("fail_all of a shared queue answers what was told and what was not, and leaves nothing to tell") {
  RawSharedQueue queue(8, 7);
  Answer answers[5];
  for (int i = 0; i < 3; ++i) REQUIRE(submit(queue.pair(), answers[i]));
  queue.pair().ring();
  const std::uint16_t cid = RawSharedQueue::cid_of(*queue.fetch());
  for (int i = 3; i < 5; ++i) REQUIRE(submit(queue.pair(), answers[i]));
  queue.pair().fail_all(Status::from(StatusCode::aborted_by_host));
  for (const Answer& answer : answers) {
    CHECK((answer.times == 1 && answer.status.code() == StatusCode::aborted_by_host));
  }
  CHECK(queue.pair().in_flight() == 0);
  queue.post(cid);
  CHECK(queue.pair().poll(64) == 1);
  CHECK((answers[0].times == 1 && queue.pair().strays() == 1));
  CHECK(queue.submission_doorbell == 3);
}

TEST_CASE("a deadline in a shared queue counts from being told to being answered, across the clock's wrap too") {
  RawSharedQueue queue(8, 7);
  Answer answer;
  const std::uint32_t now = 0xffff'fff0;
  REQUIRE(submit(queue.pair(), answer, now + 32));
  CHECK_FALSE(queue.pair().has_expired(now + 32));
  queue.pair().ring();
  CHECK_FALSE(queue.pair().has_expired(now));
  CHECK_FALSE(queue.pair().has_expired(now + 31));
  CHECK(queue.pair().has_expired(now + 32));
  queue.post(RawSharedQueue::cid_of(*queue.fetch()));
  queue.pair().poll(64);
  CHECK_FALSE(queue.pair().has_expired(now + 32));
}

}  // namespace pollux::nvme
