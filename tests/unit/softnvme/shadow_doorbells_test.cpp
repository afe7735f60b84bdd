// Doorbell Buffer Config: doorbells told in host memory, and when the controller asks for its registers.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;

struct Shadowed {
  RawHost host;
  std::uint64_t buffers;  // two pages: shadows, event indices
  std::uint64_t page;
  RawHost::Queue* queue = nullptr;

  explicit Shadowed(bool polls = false) : host{{.shadow_doorbells = true, .shadow_polls = polls}} {
    host.enable();
    buffers = host.pages(2);
    page = host.pages(1);
  }
  StatusCode configure(std::uint64_t shadows, std::uint64_t events) {
    nvme::Command command = admin_command(AdminOpcode::doorbell_buffer_config, 0, 0, shadows);
    command.prp2 = events;
    return host.admin_status(command);
  }
  void create() {
    REQUIRE(configure(buffers, buffers + kPage) == StatusCode::success);
    queue = &host.create_pair(1);
  }
  std::uint32_t& shadow(unsigned word) { return host.as<std::uint32_t>(buffers + 4 * word); }
  std::uint32_t& event(unsigned word) { return host.as<std::uint32_t>(buffers + kPage + 4 * word); }

  // Puts a read into the queue and tells of it in the shadow alone.
  void read() {
    host.put(*queue, io_command(IoOpcode::read, 0, 1, page));
    shadow(2) = queue->tail;
  }
  bool answered() {
    host.run();
    const auto entry = host.poll(*queue, true);
    if (entry) shadow(3) = queue->head;
    return entry.has_value();
  }
  void let_it_sleep() {
    for (unsigned i = 0; i < 2 * Config{}.looks_before_sleep; ++i) host.core->step(1'000 + i);
  }
};

TEST_CASE("a controller that does not offer shadow doorbells refuses them") {
  RawHost host;
  host.enable();
  const std::uint64_t page = host.pages(1);
  REQUIRE(host.admin_status(admin_command(AdminOpcode::identify, 1, 0, page)) == StatusCode::success);
  CHECK((host.as<nvme::IdentifyController>(page).oacs & nvme::oacs::kDoorbellBufferConfig) == 0);
  nvme::Command command = admin_command(AdminOpcode::doorbell_buffer_config, 0, 0, page);
  command.prp2 = page;
  CHECK(host.admin_status(command) == StatusCode::invalid_opcode);
}

TEST_CASE("tail and head are told in the shadow, without the register") {
  Shadowed s;
  s.create();
  for (unsigned i = 0; i < 3 * s.queue->entries; ++i) {  // several times around the ring
    s.read();
    REQUIRE(s.answered());
  }
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("a quiet controller asks to be woken, and then looks at the shadow only once its register was written") {
  Shadowed s;
  s.create();
  s.read();
  REQUIRE(s.answered());
  CHECK(s.event(2) != s.queue->tail);  // awake
  s.let_it_sleep();
  CHECK(s.event(2) == s.queue->tail);
  s.read();
  CHECK_FALSE(s.answered());
  s.host.ring(*s.queue);
  CHECK(s.answered());
  CHECK(s.event(2) != s.queue->tail);
  s.read();
  CHECK(s.answered());
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("a controller that polls says so once for its completion queues, and never asks to be woken") {
  Shadowed s(true);
  s.create();
  CHECK((s.event(2) == ~0u && s.event(3) == ~0u));
  s.let_it_sleep();
  s.read();
  CHECK(s.answered());
  CHECK((s.event(2) == ~0u && s.event(3) == ~0u));
  // What the host does to its buffer stays: the index of a completion queue is not written anew with the queue.
  REQUIRE(s.host.admin_status(admin_command(AdminOpcode::delete_sq, 1)) == StatusCode::success);
  REQUIRE(s.host.admin_status(admin_command(AdminOpcode::delete_cq, 1)) == StatusCode::success);
  s.event(2) = s.event(3) = 0;
  s.shadow(2) = s.shadow(3) = 0;
  s.host.create_pair(1);
  CHECK((s.event(2) == ~0u && s.event(3) == 0));
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("doorbell buffers that are not pages, or not mapped, are refused") {
  Shadowed s;
  CHECK(s.configure(s.buffers + 4, s.buffers + kPage) == StatusCode::invalid_field);
  CHECK(s.configure(s.buffers, RawHost::kUnmapped) == StatusCode::data_transfer_error);
  CHECK(s.host.violation_count() == 2);
}

TEST_CASE("a reset ends shadow doorbells: the register counts again") {
  Shadowed s;
  s.create();
  s.host.set_reg(nvme::reg::kCc, 0);
  s.host.run();
  s.host.enable();
  RawHost::Queue& fresh = s.host.create_pair(1);
  s.shadow(2) = 1;
  CHECK(s.host.status(fresh, io_command(IoOpcode::read, 0, 1, s.page)) == StatusCode::success);
  CHECK(s.host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
