// What goes on while an admin command is waited for: time, deadlines, and whoever polls.
#include <catch2/catch.hpp>

#include "pollux/driver/spec/log.hpp"
#include "pollux/tests/unit/driver/recovery_fixture.hpp"

namespace pollux {
namespace {

using nvme::AdminOpcode;

// Moves by hand, and a little where the driver waits.
class HandClock final : public Clock {
 public:
  std::uint64_t now_ns() override { return now_ns_; }
  void pause_ns(std::uint64_t ns) override {
    steady_clock().pause_ns(ns);
    now_ns_ += ns;
  }
  void advance(std::uint64_t ms) { now_ns_ += ms * kNsPerMs; }

 private:
  std::atomic<std::uint64_t> now_ns_ = kNsPerMs;
};

// The log page and the reads hang; Aborts are answered, as the test wants.
struct Hook final : softnvme::FaultHook {
  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    const auto opcode = nvme::cdw0::kOpcode.of(command.cdw0);
    if (sqid != 0) return {read, {}, 0};
    if (opcode == static_cast<unsigned>(AdminOpcode::get_log_page)) {
      ++logs;
      return {log, {}, log_delay_ns};
    }
    if (opcode != static_cast<unsigned>(AdminOpcode::abort)) return {};
    ++aborts;
    return {refuse_aborts ? softnvme::FetchFault::Kind::answer : softnvme::FetchFault::Kind::none, {}, 0};
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion& entry) override {
    if (sqid == 0 && refuse_aborts && aborts != 0) entry.dw0 = 1;
    return softnvme::PostFault::none;
  }
  softnvme::FetchFault::Kind read = softnvme::FetchFault::Kind::hang;
  softnvme::FetchFault::Kind log = softnvme::FetchFault::Kind::hang;
  std::uint64_t log_delay_ns = 0;
  bool refuse_aborts = false;
  std::atomic<unsigned> logs = 0, aborts = 0;
};

struct Busy {
  HandClock clock;
  vfio::Scheme scheme = softnvme::scheme();
  std::unique_ptr<Drive> drive = *Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}, .clock = &clock});
  Namespace ns = *drive->open_namespace();
  dma::Buffer buffer = *drive->allocate(4096);
  std::unique_ptr<Channel> channel = *drive->open_channel(ns, {.depth = 4, .timeout_ms = 1'000});
  Hook hook;
  Answer answer;

  Busy() { softnvme::soft_device(drive->controller().device())->set_fault_hook(&hook); }
  ~Busy() { softnvme::soft_device(drive->controller().device())->set_fault_hook(nullptr); }
  std::uint64_t epoch() { return nvme::Pulse{drive->controller().pulse().load()}.epoch(); }
  void read() {
    REQUIRE(channel->read(0, buffer.slice(), Answer::take, &answer) == Submit::accepted);
    channel->ring();
  }
  Result<nvme::AdminResult> read_log(std::uint32_t timeout_ms) {
    nvme::SmartLog log{};
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::get_log_page);
    command.nsid = nvme::kNsidAll;
    command.cdw10 = nvme::get_log::kNumdl.put(nvme::get_log::kLid.put(0u, 2), sizeof log / 4 - 1);
    return drive->controller().admin(command, std::as_writable_bytes(std::span(&log, 1)),
                                     nvme::DataDirection::from_controller, timeout_ms);
  }
  // Steps of 100 ms, each with a poll of both, until `done()`; at most `steps`.
  template <typename Done>
  bool go_on(unsigned steps, Done&& done) {
    for (unsigned i = 0; i < steps; ++i) {
      clock.advance(100);
      for (unsigned look = 0; look < 20; ++look) {
        REQUIRE(drive->poll());
        channel->poll();
        if (done()) return true;
        steady_clock().pause_ns(100'000);
      }
    }
    return false;
  }
};

}  // namespace

TEST_CASE("while an admin command hangs the drive can be polled, and a request that is late is aborted") {
  Busy busy;
  Result<nvme::AdminResult> log;
  std::thread waiter([&] { log = busy.read_log(3'600'000); });
  while (busy.hook.logs == 0) std::this_thread::yield();
  busy.read();
  CHECK(busy.go_on(200, [&] { return busy.answer.times != 0; }));
  CHECK(busy.answer.status.code() == nvme::StatusCode::abort_requested);
  CHECK(busy.epoch() == 1);
  busy.clock.advance(3'600'000);
  waiter.join();
  REQUIRE_FALSE(log);
}

TEST_CASE("an admin command is given up where a request that is late needs a reset") {
  Busy busy;
  busy.hook.read = softnvme::FetchFault::Kind::drop;
  Result<nvme::AdminResult> log;
  std::thread waiter([&] { log = busy.read_log(3'600'000); });
  while (busy.hook.logs == 0) std::this_thread::yield();
  busy.read();
  CHECK(busy.go_on(400, [&] { return busy.epoch() == 2; }));
  waiter.join();
  REQUIRE_FALSE(log);
  CHECK(log.error().what.find("given up for a reset") != std::string::npos);
}

TEST_CASE("an admin command may take as long as its caller allows") {
  Busy busy;
  busy.hook.log = softnvme::FetchFault::Kind::delay;
  busy.hook.log_delay_ns = 200 * kNsPerMs;
  Result<nvme::AdminResult> log;
  std::thread waiter([&] { log = busy.read_log(3'600'000); });
  while (busy.hook.logs == 0) std::this_thread::yield();
  busy.clock.advance(10 * nvme::kAdminTimeoutMs);
  waiter.join();
  REQUIRE(log);
  CHECK(log->status.ok());
  CHECK(busy.drive->poll());
  CHECK(busy.epoch() == 1);
}

TEST_CASE("an Abort that the controller says it did not make is followed by the reset at once") {
  Busy busy;
  busy.hook.refuse_aborts = GENERATE(false, true);
  busy.hook.read = softnvme::FetchFault::Kind::drop;  // an Abort does not find it
  busy.read();
  REQUIRE(busy.go_on(200, [&] { return busy.hook.aborts == 1; }));
  // softnvme itself tells of a command that it does not find.
  CHECK(busy.go_on(Channel::kAbortGraceMs / 100 - 5, [&] { return busy.epoch() == 2; }));
}

TEST_CASE("a completion that lies in the ring behind slow callbacks is not late") {
  constexpr unsigned kRequests = 64;
  HandClock clock;
  const vfio::Scheme scheme = softnvme::scheme();
  const auto drive = *Drive::open("soft:size=1MiB", {.schemes = {&scheme, 1}, .clock = &clock});
  const auto buffer = *drive->allocate(4096);
  const auto channel = *drive->open_channel(*drive->open_namespace(), {.depth = kRequests, .timeout_ms = 1'000});
  struct Slow {
    HandClock& clock;
    Drive& drive;
    unsigned answers = 0;
    static void take(void* context, nvme::Status status) noexcept {
      auto& slow = *static_cast<Slow*>(context);
      if (status.ok()) ++slow.answers;
      slow.clock.advance(150);
      (void)slow.drive.poll();  // as another thread would
    }
  } slow{clock, *drive};
  for (unsigned i = 0; i < kRequests; ++i)
    REQUIRE(channel->read(0, buffer.slice(), Slow::take, &slow) == Submit::accepted);
  channel->ring();
  auto& device = *softnvme::soft_device(drive->controller().device());
  while (device.served().reads != kRequests) steady_clock().pause_ns(kNsPerMs);
  for (unsigned polls = 0; channel->in_flight() != 0 && polls < 1000; ++polls) channel->poll();
  CHECK(slow.answers == kRequests);
  CHECK(nvme::Pulse{drive->controller().pulse().load()}.epoch() == 1);
}

}  // namespace pollux
