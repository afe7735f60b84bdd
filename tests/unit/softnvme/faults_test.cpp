// Faults on demand: what each does to commands, data and completions.
#include <catch2/catch.hpp>
#include <functional>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;

// A hook made of up to three functions. Only I/O commands reach them.
class Hook final : public FaultHook {
 public:
  FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    return sqid != 0 && fetch ? fetch(command) : FetchFault{};
  }
  DataFault at_transfer(const DataTransfer& transfer) override { return data ? data(transfer) : DataFault{}; }
  PostFault at_completion(std::uint16_t sqid, nvme::Completion& entry) override {
    return sqid != 0 && post ? post(entry) : PostFault::none;
  }
  std::function<FetchFault(const nvme::Command&)> fetch;
  std::function<DataFault(const DataTransfer&)> data;
  std::function<PostFault(nvme::Completion&)> post;
};

struct Setup {
  RawHost host;
  Hook hook;
  RawHost::Queue* queue;
  std::uint64_t page;

  Setup() {
    host.enable();
    queue = &host.create_pair(1);
    page = host.pages(1);
    host.core->set_fault_hook(&hook);
  }
  // Writes a block with a seed, or reads one and tells its seed; -1: no seed.
  void write(std::uint64_t lba, unsigned seed) {
    fill_pattern({host.at(page), 512}, seed);
    REQUIRE(host.status(*queue, io_command(IoOpcode::write, lba, 1, page)) == StatusCode::success);
  }
  int read(std::uint64_t lba) {
    REQUIRE(host.status(*queue, io_command(IoOpcode::read, lba, 1, page)) == StatusCode::success);
    for (int seed = 0; seed < 8; ++seed) {
      if (has_pattern({host.at(page), 512}, static_cast<unsigned>(seed))) return seed;
    }
    return -1;
  }
  void fault_writes(DataFault fault) {
    hook.data = [fault](const DataTransfer& t) { return t.is_write ? fault : DataFault{}; };
  }
  void fault_reads(DataFault fault) {
    hook.data = [fault](const DataTransfer& t) { return t.is_write ? DataFault{} : fault; };
  }
};

TEST_CASE("a hook that does nothing changes nothing") {
  Setup s;
  s.write(3, 1);
  CHECK(s.read(3) == 1);
  s.write(3, 2);
  CHECK(s.read(3) == 2);
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("a dropped write is answered with success and not stored") {
  Setup s;
  s.write(3, 1);
  s.fault_writes({DataFault::Kind::drop_write, 0, 0, 0});
  s.write(3, 2);
  CHECK(s.read(3) == 1);
}

TEST_CASE("a stale read returns what the block held before its last write, and only then") {
  Setup s;
  s.write(3, 1);
  s.write(3, 2);
  s.write(3, 3);
  s.fault_reads({DataFault::Kind::stale_read, 0, 0, 0});
  CHECK(s.read(3) == 2);
  s.hook.data = nullptr;
  CHECK(s.read(3) == 3);
}

TEST_CASE("a stale read of a longer range is stale in each block") {
  Setup s;
  for (const unsigned seed : {1u, 5u}) {
    for (std::uint64_t lba = 0; lba < 4; ++lba) s.write(lba, seed);
  }
  s.fault_reads({DataFault::Kind::stale_read, 0, 0, 0});
  REQUIRE(s.host.status(*s.queue, io_command(IoOpcode::read, 0, 4, s.page)) == StatusCode::success);
  for (unsigned block = 0; block < 4; ++block) CHECK(has_pattern({s.host.at(s.page) + 512 * block, 512}, 1));
}

TEST_CASE("swapped blocks change places on the medium when they are written") {
  Setup s;
  s.write(10, 1);
  s.fault_writes({DataFault::Kind::swap_blocks, 3, 10, 0});
  s.write(3, 2);
  CHECK(s.read(3) == 1);
  CHECK(s.read(10) == 2);
}

TEST_CASE("swapped blocks change places in the data when they are read, and stay on the medium") {
  Setup s;
  s.write(3, 1);
  s.write(10, 2);
  s.fault_reads({DataFault::Kind::swap_blocks, 3, 10, 0});
  CHECK(s.read(3) == 2);
  CHECK(s.read(10) == 1);
  s.hook.data = nullptr;
  CHECK(s.read(3) == 1);
}

TEST_CASE("a flipped bit is one bit: on the medium after a write, in the data of a read") {
  Setup s;
  const bool on_write = GENERATE(true, false);
  if (on_write) s.fault_writes({DataFault::Kind::flip_bit, 3, 0, 8 * 100 + 5});
  s.write(3, 1);
  if (!on_write) s.fault_reads({DataFault::Kind::flip_bit, 3, 0, 8 * 100 + 5});
  CHECK(s.read(3) == -1);
  s.host.at(s.page)[100] ^= std::byte{1 << 5};
  CHECK(has_pattern({s.host.at(s.page), 512}, 1));
  s.hook.data = nullptr;
  CHECK(s.read(3) == (on_write ? -1 : 1));
}

TEST_CASE("an answer is given with the status that the hook chose, and the command is not executed") {
  Setup s;
  s.write(3, 1);
  s.hook.fetch = [](const nvme::Command&) {
    return FetchFault{FetchFault::Kind::answer, nvme::Status::from(StatusCode::internal_error), 0};
  };
  fill_pattern({s.host.at(s.page), 512}, 2);
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::write, 3, 1, s.page)) == StatusCode::internal_error);
  s.hook.fetch = nullptr;
  CHECK(s.read(3) == 1);
}

TEST_CASE("a command that hangs is not answered, holds its identifier, and ends by Abort") {
  Setup s;
  s.hook.fetch = [](const nvme::Command& c) {
    return nvme::cdw0::kCid.of(c.cdw0) == 7 ? FetchFault{FetchFault::Kind::hang, {}, 0} : FetchFault{};
  };
  s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page), 7);
  s.host.ring(*s.queue);
  s.host.now_ns += 3600ull * 1'000'000'000;
  s.host.run();
  CHECK_FALSE(s.host.poll(*s.queue));
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::read, 0, 1, s.page)) == StatusCode::success);

  SECTION("Abort") {
    const nvme::Completion abort = s.host.admin(admin_command(AdminOpcode::abort, 1 | 7u << 16));
    CHECK((abort.dw0 & 1) == 0);
    const auto aborted = s.host.poll(*s.queue);
    REQUIRE(aborted);
    CHECK(cid_of(*aborted) == 7);
    CHECK(status_of(*aborted).code() == StatusCode::abort_requested);
  }
  SECTION("its identifier is in use") {
    s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page), 7);
    s.host.ring(*s.queue);
    s.host.run();
    const auto conflict = s.host.poll(*s.queue);
    REQUIRE(conflict);
    CHECK(status_of(*conflict).code() == StatusCode::command_id_conflict);
  }
  SECTION("deletion of its queue") {
    CHECK(s.host.admin_status(admin_command(AdminOpcode::delete_sq, 1)) == StatusCode::success);
    s.host.run();
    CHECK_FALSE(s.host.poll(*s.queue));
  }
}

TEST_CASE("an aborted command waits for room in its completion queue") {
  Setup s;
  s.hook.fetch = [](const nvme::Command& c) {
    return nvme::cdw0::kCid.of(c.cdw0) == 0x700 ? FetchFault{FetchFault::Kind::hang, {}, 0} : FetchFault{};
  };
  s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page), 0x700);
  for (unsigned i = 0; i < 14; ++i) s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page));
  s.host.ring(*s.queue);
  s.host.run();
  for (unsigned i = 0; i < 2; ++i) s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page));
  s.host.ring(*s.queue);
  s.host.run();  // the completion queue of 16 holds 15
  const nvme::Completion abort = s.host.admin(admin_command(AdminOpcode::abort, 1 | 0x700u << 16));
  CHECK((abort.dw0 & 1) == 0);
  unsigned answered = 0;
  bool aborted = false;
  while (const auto entry = s.host.poll(*s.queue)) {
    ++answered;
    aborted = aborted || cid_of(*entry) == 0x700;
    s.host.run();
  }
  CHECK(answered == 17);
  CHECK(aborted);
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("a dropped command is not answered, and Abort does not find it") {
  Setup s;
  s.hook.fetch = [](const nvme::Command&) { return FetchFault{FetchFault::Kind::drop, {}, 0}; };
  s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page), 7);
  s.host.ring(*s.queue);
  s.host.run();
  CHECK_FALSE(s.host.poll(*s.queue));
  const nvme::Completion abort = s.host.admin(admin_command(AdminOpcode::abort, 1 | 7u << 16));
  CHECK((abort.dw0 & 1) == 1);
}

TEST_CASE("a delayed command is executed when its time has come, others go before it") {
  Setup s;
  s.hook.fetch = [](const nvme::Command& c) {
    return nvme::cdw0::kCid.of(c.cdw0) == 7 ? FetchFault{FetchFault::Kind::delay, {}, 1'000'000} : FetchFault{};
  };
  s.host.put(*s.queue, io_command(IoOpcode::read, 0, 1, s.page), 7);
  s.host.ring(*s.queue);
  s.host.run();
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::read, 0, 1, s.page)) == StatusCode::success);
  s.host.now_ns += 999'999;
  s.host.run();
  CHECK_FALSE(s.host.poll(*s.queue));
  s.host.now_ns += 1;
  s.host.run();
  const auto entry = s.host.poll(*s.queue);
  REQUIRE(entry);
  CHECK(cid_of(*entry) == 7);
  CHECK(status_of(*entry).ok());
}

TEST_CASE("a completion can be lost, doubled, and carry a wrong identifier") {
  Setup s;
  const nvme::Command read = io_command(IoOpcode::read, 0, 1, s.page);
  s.hook.post = [](nvme::Completion&) { return PostFault::lose; };
  s.host.put(*s.queue, read);
  s.host.ring(*s.queue);
  s.host.run();
  CHECK_FALSE(s.host.poll(*s.queue));

  s.hook.post = [](nvme::Completion&) { return PostFault::twice; };
  const std::uint16_t cid = s.host.put(*s.queue, read);
  s.host.ring(*s.queue);
  s.host.run();
  const auto first = s.host.poll(*s.queue);
  const auto second = s.host.poll(*s.queue);
  REQUIRE((first && second));
  CHECK(cid_of(*first) == cid);
  CHECK(cid_of(*second) == cid);

  s.hook.post = [](nvme::Completion& entry) {
    entry.tail = nvme::cqe::kCid.put(entry.tail, 0x999);
    return PostFault::none;
  };
  s.host.put(*s.queue, read);
  s.host.ring(*s.queue);
  s.host.run();
  CHECK(cid_of(*s.host.poll(*s.queue)) == 0x999);
}

TEST_CASE("a completion with the last pass's phase takes a place in the ring where no host sees it, nor what follows") {
  Setup s;
  const nvme::Command read = io_command(IoOpcode::read, 0, 1, s.page);
  s.hook.post = [](nvme::Completion&) { return PostFault::stale_phase; };
  s.host.put(*s.queue, read);
  s.host.ring(*s.queue);
  s.host.run();
  s.hook.post = {};
  s.host.put(*s.queue, read);
  s.host.ring(*s.queue);
  s.host.run();
  CHECK_FALSE(s.host.poll(*s.queue));
}

}  // namespace
}  // namespace pollux::softnvme
