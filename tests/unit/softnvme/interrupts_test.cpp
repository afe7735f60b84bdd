// Interrupts at the edge of the core: which vector is signalled, when, and that none is missing.
#include <catch2/catch.hpp>
#include <functional>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;
namespace reg = nvme::reg;

struct Vectors final : Interrupts {
  std::vector<unsigned> signals = std::vector<unsigned>(5);
  std::function<void()> on_signal;

  void signal(std::uint16_t vector) override {
    ++signals.at(vector);
    if (on_signal) on_signal();
  }
  unsigned total() const {
    unsigned sum = 0;
    for (const unsigned count : signals) sum += count;
    return sum;
  }
  void clear() { signals.assign(signals.size(), 0); }
};

// IEN and IV of CDW11; nothing: IEN is 0, and IV says 0 as well as it may.
nvme::Command create_cq(std::uint16_t id, std::uint32_t entries, std::uint64_t iova,
                        std::optional<std::uint16_t> vector) {
  nvme::Command command = create_cq_command(id, entries, iova);
  if (vector) command.cdw11 |= 1u << 1 | std::uint32_t{*vector} << 16;
  return command;
}

// An enabled controller with its interrupts on.
struct Interrupted {
  RawHost host;
  Vectors vectors;
  std::uint64_t page = 0;

  Interrupted() {
    host.core->set_interrupts(&vectors);
    host.enable();
    page = host.pages(1);
  }

  RawHost::Queue create(std::uint16_t id, std::optional<std::uint16_t> vector, std::uint32_t entries = 16) {
    vectors.clear();
    RawHost::Queue queue{id, entries, 0, 0, 1, host.pages(1), host.pages(1)};
    REQUIRE(host.admin_status(create_cq(id, entries, queue.cq_iova, vector)) == StatusCode::success);
    REQUIRE(host.admin_status(create_sq_command(id, entries, queue.sq_iova, id)) == StatusCode::success);
    vectors.signals[0] = 0;  // of these commands
    return queue;
  }
  void submit(RawHost::Queue& queue, unsigned commands = 1) {
    for (unsigned i = 0; i < commands; ++i) host.put(queue, io_command(IoOpcode::read, i, 1, page));
    host.ring(queue);
  }
  void step() { host.core->step(host.now_ns); }
};

TEST_CASE("a queue with IEN = 0 signals nobody, not even vector 0") {
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::nullopt);
  on.submit(queue, 5);
  on.host.run();
  CHECK(on.host.poll(queue));
  CHECK(on.vectors.total() == 0);
}

TEST_CASE("a queue with IEN = 1 signals its vector alone, once for what a step posts, when all of it can be seen") {
  Interrupted on;
  RawHost::Queue queue = on.create(2, std::uint16_t{3});
  unsigned seen = 0;
  on.vectors.on_signal = [&] {
    while (on.host.poll(queue)) ++seen;
  };
  on.submit(queue, 5);
  on.step();
  CHECK(seen == 5);
  CHECK(on.vectors.signals == std::vector<unsigned>{0, 0, 0, 1, 0});
  on.host.run();
  CHECK(on.vectors.total() == 1);
}

TEST_CASE("each step that posts signals, whether the host has consumed what came before or not") {
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::uint16_t{1});
  for (unsigned i = 1; i <= 3; ++i) {
    on.submit(queue);
    on.step();
    CHECK(on.vectors.signals[1] == i);
  }
  // The host's last look finds nothing more; what comes then must wake it.
  while (on.host.poll(queue)) {
  }
  on.submit(queue);
  on.step();
  CHECK(on.vectors.signals[1] == 4);
}

TEST_CASE("no completion is without its signal while a queue wraps, and a ring of two is full with one") {
  const std::uint32_t entries = GENERATE(2u, 5u);
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::uint16_t{2}, entries);
  for (unsigned i = 1; i <= 4 * entries; ++i) {
    on.submit(queue);
    on.step();
    REQUIRE(on.host.poll(queue));
    REQUIRE(on.vectors.signals[2] == i);
  }
}

// The host consumes while the controller is in the middle of a step: so the tail comes round to where it was.
TEST_CASE("a completion queue that is filled exactly once over in one step is signalled") {
  Interrupted on;
  RawHost::Queue first = on.create(1, std::uint16_t{1}, 3);
  RawHost::Queue second{2, 2, 0, 0, 1, on.host.pages(1), 0};
  REQUIRE(on.host.admin_status(create_sq_command(2, 2, second.sq_iova, 1)) == StatusCode::success);
  struct Consumer final : FaultHook {
    RawHost& host;
    RawHost::Queue& queue;
    unsigned seen = 0;
    Consumer(RawHost& owner, RawHost::Queue& of) : host(owner), queue(of) {}
    FetchFault after_fetch(std::uint16_t, const nvme::Command&) override {
      while (host.poll(queue)) ++seen;
      return {};
    }
  } consumer(on.host, first);
  on.host.core->set_fault_hook(&consumer);
  on.submit(first, 2);
  on.submit(second);
  on.vectors.clear();
  on.step();
  while (on.host.poll(first)) ++consumer.seen;
  CHECK(consumer.seen == 3);
  CHECK(on.vectors.signals[1] == 1);
  on.host.core->set_fault_hook(nullptr);
}

TEST_CASE("the admin queue signals vector 0, for commands and for events that come later") {
  Interrupted on;
  on.vectors.clear();
  REQUIRE(on.host.admin_status(admin_command(AdminOpcode::get_features, 6)) == StatusCode::success);
  CHECK(on.vectors.signals == std::vector<unsigned>{1, 0, 0, 0, 0});
  on.host.put(on.host.admin_queue, admin_command(AdminOpcode::async_event_request));
  on.host.ring(on.host.admin_queue);
  on.host.run();
  CHECK(on.vectors.total() == 1);
  on.host.store_doorbell(2 * 4, 1);  // of a queue that does not exist
  on.host.run();
  CHECK(on.host.poll(on.host.admin_queue));
  CHECK(on.vectors.signals == std::vector<unsigned>{2, 0, 0, 0, 0});
}

TEST_CASE("a command that is held back signals when it is answered, and a completion that is lost never does") {
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::uint16_t{1});
  struct Hook final : FaultHook {
    bool lose = false;
    FetchFault after_fetch(std::uint16_t, const nvme::Command&) override {
      return {.kind = FetchFault::Kind::delay, .delay_ns = 1000};
    }
    PostFault at_completion(std::uint16_t, nvme::Completion&) override {
      return lose ? PostFault::lose : PostFault::none;
    }
  } hook;
  on.host.core->set_fault_hook(&hook);
  on.submit(queue);
  on.host.run();
  CHECK(on.vectors.total() == 0);
  on.host.now_ns += 1000;
  on.host.run();
  CHECK(on.vectors.signals[1] == 1);
  hook.lose = true;
  on.submit(queue);
  on.host.run();
  on.host.now_ns += 1000;
  on.host.run();
  CHECK(on.vectors.signals[1] == 1);
  on.host.core->set_fault_hook(nullptr);
}

TEST_CASE("what is posted while interrupts are off is not made up for, and what comes then signals again") {
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::uint16_t{1});
  on.host.core->set_interrupts(nullptr);
  on.submit(queue);
  on.host.run();
  CHECK(on.host.poll(queue));
  on.host.core->set_interrupts(&on.vectors);
  on.host.run();
  CHECK(on.vectors.total() == 0);
  on.submit(queue);
  on.host.run();
  CHECK(on.vectors.signals[1] == 1);
}

TEST_CASE("a queue that is deleted and created anew signals as it was created last") {
  Interrupted on;
  using Vector = std::optional<std::uint16_t>;
  RawHost::Queue queue = on.create(1, GENERATE(Vector{}, Vector{1}));
  on.submit(queue);
  on.host.run();
  REQUIRE(on.host.poll(queue));
  REQUIRE(on.host.admin_status(admin_command(AdminOpcode::delete_sq, 1)) == StatusCode::success);
  REQUIRE(on.host.admin_status(admin_command(AdminOpcode::delete_cq, 1)) == StatusCode::success);
  const Vector vector = GENERATE(Vector{}, Vector{4});
  queue = on.create(1, vector);
  on.submit(queue);
  on.host.run();
  CHECK(on.host.poll(queue));
  CHECK(on.vectors.signals[1] == 0);
  CHECK(on.vectors.total() == (vector ? 1 : 0));
}

TEST_CASE("after a reset the admin queue has its interrupt, and an I/O queue what it is created with") {
  Interrupted on;
  RawHost::Queue queue = on.create(1, std::uint16_t{1});
  on.submit(queue);
  SECTION("of the controller") {
    on.host.run();
    on.host.set_reg(reg::kCc, 0);
    on.host.run();
  }
  SECTION("of the function, with commands in flight") { on.host.core->function_reset(); }
  on.vectors.clear();
  on.host.enable();
  CHECK(on.vectors.total() == 0);
  REQUIRE(on.host.admin_status(admin_command(AdminOpcode::get_features, 6)) == StatusCode::success);
  CHECK(on.vectors.signals == std::vector<unsigned>{1, 0, 0, 0, 0});

  RawHost::Queue polled = on.create(1, std::nullopt);
  RawHost::Queue signalling = on.create(2, std::uint16_t{2});
  on.submit(polled);
  on.submit(signalling);
  on.host.run();
  CHECK(on.vectors.signals == std::vector<unsigned>{0, 0, 1, 0, 0});
}

}  // namespace
}  // namespace pollux::softnvme
