// Queues at work: wrap, phase, a full completion queue, several queues, identifiers in flight.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;

TEST_CASE("a queue of any size wraps many times, and phase, SQ head and CIDs are right each time") {
  const std::uint32_t entries = GENERATE(2u, 3u, 7u, 16u, 4096u);
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, entries);
  const std::uint64_t page = host.pages(1);
  const unsigned total = 3 * entries + 1;
  for (unsigned i = 0; i < total; ++i) {
    const std::uint16_t cid = host.put(queue, io_command(IoOpcode::read, i % 8192, 1, page));
    host.ring(queue);
    host.core->step(host.now_ns);
    const std::optional<nvme::Completion> entry = host.poll(queue);
    REQUIRE(entry);
    REQUIRE(cid_of(*entry) == cid);
    REQUIRE(status_of(*entry).ok());
    REQUIRE(nvme::cqe::kSqhd.of(entry->tail) == queue.tail);
  }
  CHECK_FALSE(host.poll(queue));
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a full submission queue rung at once is answered in order") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 256);
  const std::uint64_t page = host.pages(1);
  std::vector<std::uint16_t> cids;
  for (unsigned i = 0; i < 255; ++i) cids.push_back(host.put(queue, io_command(IoOpcode::read, i, 1, page)));
  host.ring(queue);
  host.run();
  for (const std::uint16_t cid : cids) {
    const std::optional<nvme::Completion> entry = host.poll(queue);
    REQUIRE(entry);
    CHECK(cid_of(*entry) == cid);
  }
  CHECK(host.violation_count() == 0);
}

TEST_CASE("completions never pass the host's head: with a full completion queue the next command waits") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 32);
  // A second, smaller completion queue under the submission queue 2.
  const std::uint64_t small_cq = host.pages(1);
  const std::uint64_t sq = host.pages(1);
  REQUIRE(host.admin_status(create_cq_command(2, 4, small_cq)) == StatusCode::success);
  REQUIRE(host.admin_status(create_sq_command(2, 32, sq, 2)) == StatusCode::success);
  RawHost::Queue submit{2, 32, 0, 0, 1, sq, 0};
  RawHost::Queue complete{2, 4, 0, 0, 1, 0, small_cq};
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 10; ++i) host.put(submit, io_command(IoOpcode::read, 0, 1, page));
  host.ring(submit);
  host.run();
  // Three entries, and the slot behind them is untouched.
  CHECK(host.as<nvme::Completion>(small_cq + 3 * 16).tail == 0);
  unsigned answered = 0;
  while (host.poll(complete)) {
    ++answered;
    host.run();
  }
  CHECK(answered == 10);
  CHECK(host.violation_count() == 0);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, page)) == StatusCode::success);
}

TEST_CASE("two submission queues share one completion queue, each entry naming its own") {
  RawHost host;
  host.enable();
  RawHost::Queue& first = host.create_pair(1, 16);
  const std::uint64_t sq = host.pages(1);
  REQUIRE(host.admin_status(create_sq_command(2, 16, sq, 1)) == StatusCode::success);
  RawHost::Queue second{2, 16, 0, 0, 1, sq, 0};
  const std::uint64_t page = host.pages(1);
  host.put(first, io_command(IoOpcode::read, 0, 1, page), 5);
  host.put(second, io_command(IoOpcode::read, 0, 1, page), 5);  // the same CID in another queue is no conflict
  host.ring(first);
  host.ring(second);
  host.run();
  const auto one = host.poll(first);
  const auto two = host.poll(first);
  REQUIRE((one && two));
  CHECK(nvme::cqe::kSqid.of(one->tail) == 1);
  CHECK(nvme::cqe::kSqid.of(two->tail) == 2);
  CHECK(host.admin_status(admin_command(AdminOpcode::delete_sq, 1)) == StatusCode::success);
  CHECK(host.admin_status(admin_command(AdminOpcode::delete_sq, 2)) == StatusCode::success);
  CHECK(host.admin_status(admin_command(AdminOpcode::delete_cq, 1)) == StatusCode::success);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a queue that was deleted and created again begins at 0, whatever its doorbell said before") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 16);
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 5; ++i) host.status(queue, io_command(IoOpcode::read, 0, 1, page));
  REQUIRE(host.doorbell(2) == 5);
  REQUIRE(host.admin_status(admin_command(AdminOpcode::delete_sq, 1)) == StatusCode::success);
  REQUIRE(host.admin_status(admin_command(AdminOpcode::delete_cq, 1)) == StatusCode::success);
  RawHost::Queue& again = host.create_pair(1, 16);
  // Five commands ring the value that stood there before.
  for (unsigned i = 0; i < 5; ++i) host.put(again, io_command(IoOpcode::read, 0, 1, page));
  host.ring(again);
  host.run();
  for (unsigned i = 0; i < 5; ++i) CHECK(host.poll(again));
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a doorbell rung just before its queue is created is a violation, and the queue begins at 0 all the same") {
  RawHost host;
  host.enable();
  const std::uint64_t sq = host.pages(1);
  const std::uint64_t cq = host.pages(1);
  host.put(host.admin_queue, create_cq_command(1, 16, cq));
  host.put(host.admin_queue, create_sq_command(1, 16, sq, 1));
  host.store_doorbell(2, 3);
  host.ring(host.admin_queue);
  host.core->step(host.now_ns);
  CHECK(host.doorbell(2) == 0);
  CHECK(host.violated(Rule::doorbell_without_queue));
  CHECK(host.violation_count() == 1);
  RawHost::Queue queue{1, 16, 0, 0, 1, sq, cq};
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, host.pages(1))) == StatusCode::success);
}

TEST_CASE("an identifier may be used again as soon as its completion is there") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 16);
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 40; ++i) {
    host.put(queue, io_command(IoOpcode::read, 0, 1, page), 3);
    host.ring(queue);
    host.run();
    REQUIRE(host.poll(queue));
  }
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a refused doorbell value changes nothing, and a right one afterwards is taken") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 16);
  host.store_doorbell(2, 77);
  host.run();
  CHECK(host.violation_count() == 1);
  CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, host.pages(1))) == StatusCode::success);
  CHECK(host.violation_count() == 1);
}

TEST_CASE("a queue's memory may lie across two mappings") {
  RawHost host;
  host.enable();
  alignas(4096) static std::byte first[kPage];
  alignas(4096) static std::byte second[kPage];
  std::memset(first, 0, kPage);
  std::memset(second, 0, kPage);
  const vfio::IovaRange everything{0, ~0ull >> 1};
  REQUIRE(host.table.map({first, 0x5000'0000, kPage}, {&everything, 1}));
  REQUIRE(host.table.map({second, 0x5000'1000, kPage}, {&everything, 1}));
  const std::uint64_t cq = host.pages(1);
  REQUIRE(host.admin_status(create_cq_command(1, 128, cq)) == StatusCode::success);
  REQUIRE(host.admin_status(create_sq_command(1, 128, 0x5000'0000, 1)) == StatusCode::success);
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 100; ++i) {
    nvme::Command command = io_command(IoOpcode::read, 0, 1, page);
    command.cdw0 |= i << 16;
    std::memcpy((i < 64 ? first : second) + (i % 64) * 64, &command, sizeof command);
  }
  host.store_doorbell(2, 100);
  host.run();
  RawHost::Queue complete{1, 128, 0, 0, 1, 0, cq};
  for (unsigned i = 0; i < 100; ++i) {
    const auto entry = host.poll(complete);
    REQUIRE(entry);
    CHECK(cid_of(*entry) == i);
  }
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a doorbell written by call is a doorbell") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1, 16);
  host.put(queue, io_command(IoOpcode::read, 0, 1, host.pages(1)));
  host.set_reg(nvme::reg::kDoorbells + 8, queue.tail);
  host.run();
  CHECK(host.poll(queue));
  CHECK(host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
