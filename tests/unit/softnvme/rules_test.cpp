// Each rule of the violations log, broken once by a host that is otherwise correct, and the status that goes with it.
#include <catch2/catch.hpp>
#include <set>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;
namespace reg = nvme::reg;

// What breaks a rule. The host is enabled and has the queue pair 1, of 16 entries.
struct Breaker {
  Rule rule;
  void (*break_it)(RawHost& host, RawHost::Queue& queue);
};

nvme::Command identify(RawHost& host) { return admin_command(AdminOpcode::identify, 1, 0, host.pages(1)); }
nvme::Command read(RawHost& host) { return io_command(IoOpcode::read, 0, 1, host.pages(1)); }

void disable(RawHost& host) {
  host.set_reg(reg::kCc, 0);
  host.run();
}

const Breaker kBreakers[] = {
    {Rule::register_access, [](RawHost& host, RawHost::Queue&) { host.set_reg(reg::kCc + 1, 0, 2); }},
    {Rule::register_read_only, [](RawHost& host, RawHost::Queue&) { host.set_reg(reg::kVs, 1); }},
    {Rule::register_reserved_bits,
     [](RawHost& host, RawHost::Queue&) { host.set_reg(reg::kCc, host.enable_value() | 1u << 30); }},
    {Rule::cc_changed_while_enabled,
     [](RawHost& host, RawHost::Queue&) {
       host.set_reg(reg::kCc, nvme::cc::kMps.put(host.enable_value(), 1));
       CHECK(host.reg(reg::kCc) == host.enable_value());
     }},
    {Rule::admin_queue_changed_while_enabled,
     [](RawHost& host, RawHost::Queue&) { host.set_reg(reg::kAqa, 0x00ff'00ff); }},
    {Rule::enabled_before_reset_finished,
     [](RawHost& host, RawHost::Queue&) {
       host.set_reg(reg::kCc, 0);
       host.set_reg(reg::kCc, host.enable_value());
     }},
    {Rule::disabled_before_ready,
     [](RawHost& host, RawHost::Queue&) {
       disable(host);
       host.set_reg(reg::kCc, host.enable_value());
       host.set_reg(reg::kCc, 0);
     }},
    {Rule::enabled_with_unsupported_value,
     [](RawHost& host, RawHost::Queue&) {
       disable(host);
       host.set_reg(reg::kCc, nvme::cc::kCss.put(host.enable_value(), 6));
       host.run();
       CHECK(host.reg(reg::kCsts) == nvme::csts::kCfs.mask());
     }},
    {Rule::admin_queue_bad_size,
     [](RawHost& host, RawHost::Queue&) {
       disable(host);
       host.set_reg(reg::kAqa, 0);
       host.set_reg(reg::kCc, host.enable_value());
       host.run();
       CHECK(host.reg(reg::kCsts) == nvme::csts::kCfs.mask());
     }},
    {Rule::admin_queue_misaligned,
     [](RawHost& host, RawHost::Queue&) {
       disable(host);
       host.set_reg(reg::kAsq, host.pages(1) + 64, 8);
     }},
    {Rule::doorbell_without_queue,
     [](RawHost& host, RawHost::Queue&) {
       host.store_doorbell(2 * 3, 1);
       host.run();
     }},
    {Rule::doorbell_out_of_range,
     [](RawHost& host, RawHost::Queue& queue) {
       host.store_doorbell(2, queue.entries);
       host.run();
     }},
    {Rule::sq_tail_passes_head,
     [](RawHost& host, RawHost::Queue& queue) {
       // The completion queue is full and not consumed: what stands in the submission queue stays there.
       for (unsigned i = 0; i < queue.entries - 1; ++i) host.put(queue, read(host));
       host.ring(queue);
       host.run();
       for (unsigned i = 0; i < 10; ++i) host.put(queue, read(host));
       host.ring(queue);
       host.run();
       host.store_doorbell(2, (queue.tail + 8) % queue.entries);
       host.run();
     }},
    {Rule::cq_head_passes_tail,
     [](RawHost& host, RawHost::Queue& queue) {
       host.store_doorbell(2u * queue.id + 1, 1);
       host.run();
     }},
    {Rule::doorbell_repeated,
     [](RawHost& host, RawHost::Queue& queue) {
       host.put(queue, read(host));
       host.set_reg(reg::kDoorbells + 8, queue.tail);
       host.run();
       CHECK(host.violation_count() == 0);
       host.set_reg(reg::kDoorbells + 8, queue.tail);
     }},
    {Rule::command_after_shutdown,
     [](RawHost& host, RawHost::Queue& queue) {
       host.set_reg(reg::kCc, nvme::cc::kShn.put(host.enable_value(), 1));
       host.run();
       host.put(queue, read(host));
       host.ring(queue);
       host.run();
       CHECK_FALSE(host.poll(queue));
     }},
    {Rule::cid_in_use,
     [](RawHost& host, RawHost::Queue& queue) {
       host.put(queue, read(host), 7);
       host.put(queue, read(host), 7);
       host.ring(queue);
       host.run();
       CHECK(status_of(*host.poll(queue)).ok());
       CHECK(status_of(*host.poll(queue)).code() == StatusCode::command_id_conflict);
     }},
    {Rule::cid_reserved,
     [](RawHost& host, RawHost::Queue& queue) {
       host.put(queue, read(host), 0xffff);
       host.ring(queue);
       host.run();
     }},
    {Rule::sqe_changed_after_doorbell,
     [](RawHost& host, RawHost::Queue& queue) {
       for (unsigned i = 0; i < queue.entries - 1; ++i) host.put(queue, read(host));
       host.ring(queue);
       host.run();  // the completion queue is full: the next command is seen and not fetched
       host.put(queue, read(host));
       host.ring(queue);
       host.run();
       auto& slot = host.as<nvme::Command>(queue.sq_iova + (queue.entries - 1) * sizeof(nvme::Command));
       slot.cdw0 = nvme::cdw0::kCid.put(slot.cdw0, 0x4242);
       host.poll(queue);
       host.run();
     }},
    {Rule::reserved_field,
     [](RawHost& host, RawHost::Queue&) {
       nvme::Command command = identify(host);
       command.cdw12 = 1;
       CHECK(host.admin_status(command) == StatusCode::success);
     }},
    {Rule::psdt_on_admin_queue,
     [](RawHost& host, RawHost::Queue&) {
       nvme::Command command = identify(host);
       command.cdw0 = nvme::cdw0::kPsdt.put(command.cdw0, 1);
       CHECK(host.admin_status(command) == StatusCode::invalid_field);
     }},
    {Rule::psdt_reserved,
     [](RawHost& host, RawHost::Queue& queue) {
       nvme::Command command = read(host);
       command.cdw0 = nvme::cdw0::kPsdt.put(command.cdw0, 3);
       CHECK(host.status(queue, command) == StatusCode::invalid_field);
     }},
    {Rule::prp_offset,
     [](RawHost& host, RawHost::Queue& queue) {
       CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, host.pages(1) + 2)) == StatusCode::prp_offset_invalid);
     }},
    {Rule::dma_unmapped,
     [](RawHost& host, RawHost::Queue& queue) {
       CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, RawHost::kUnmapped)) ==
             StatusCode::data_transfer_error);
     }},
    {Rule::dma_forbidden,
     [](RawHost& host, RawHost::Queue& queue) {
       alignas(4096) static std::byte read_only[kPage];
       const vfio::IovaRange everything{0, ~0ull >> 1};
       REQUIRE(host.table.map({read_only, 0x5000'0000, kPage, -1, 0, true, false}, {&everything, 1}));
       CHECK(host.status(queue, io_command(IoOpcode::write, 0, 1, 0x5000'0000)) == StatusCode::success);
       CHECK(host.violation_count() == 0);
       CHECK(host.status(queue, io_command(IoOpcode::read, 0, 1, 0x5000'0000)) == StatusCode::data_transfer_error);
     }},
    {Rule::ring_unmapped,
     [](RawHost& host, RawHost::Queue&) {
       alignas(4096) static std::byte memory[kPage];
       const vfio::IovaRange everything{0, ~0ull >> 1};
       REQUIRE(host.table.map({memory, 0x5000'0000, kPage}, {&everything, 1}));
       REQUIRE(host.admin_status(create_cq_command(2, 16, 0x5000'0000)) == StatusCode::success);
       REQUIRE(host.table.unmap(0x5000'0000, kPage));
       host.run();
       CHECK(nvme::csts::kCfs.of(host.reg(reg::kCsts)) == 1);
     }},
    {Rule::queue_bad_identifier,
     [](RawHost& host, RawHost::Queue&) {
       CHECK(host.admin_status(create_cq_command(1, 16, host.pages(1))) == StatusCode::invalid_queue_identifier);
     }},
    {Rule::queue_bad_size,
     [](RawHost& host, RawHost::Queue&) {
       CHECK(host.admin_status(create_cq_command(2, 1, host.pages(1))) == StatusCode::invalid_queue_size);
     }},
    {Rule::queue_misaligned,
     [](RawHost& host, RawHost::Queue&) {
       CHECK(host.admin_status(create_cq_command(2, 16, host.pages(1) + 64)) == StatusCode::prp_offset_invalid);
     }},
    {Rule::queue_not_contiguous,
     [](RawHost& host, RawHost::Queue&) {
       nvme::Command command = create_cq_command(2, 16, host.pages(1));
       command.cdw11 = 0;
       CHECK(host.admin_status(command) == StatusCode::invalid_field);
     }},
    {Rule::queue_entry_size,
     [](RawHost& host, RawHost::Queue&) {
       host.set_reg(reg::kCc, 0);
       host.run();
       host.admin_queue.tail = host.admin_queue.head = 0;
       host.admin_queue.phase = 1;
       std::memset(host.at(host.admin_queue.cq_iova), 0, kPage);
       host.set_reg(reg::kCc, 1);
       host.run();
       CHECK(host.admin_status(create_cq_command(2, 16, host.pages(1))) == StatusCode::invalid_queue_size);
     }},
    {Rule::queue_order,
     [](RawHost& host, RawHost::Queue&) {
       CHECK(host.admin_status(admin_command(AdminOpcode::delete_cq, 1)) == StatusCode::invalid_queue_deletion);
     }},
    {Rule::number_of_queues_late,
     [](RawHost& host, RawHost::Queue&) {
       CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 7, 0)) == StatusCode::command_sequence_error);
     }},
};

TEST_CASE("every rule of the violations log is seen when a host breaks it, and only that one") {
  for (const Breaker& breaker : kBreakers) {
    const std::string name(rule_info(breaker.rule).name);
    DYNAMIC_SECTION(name) {
      RawHost host;
      host.enable();
      RawHost::Queue& queue = host.create_pair(1);
      REQUIRE(host.violation_count() == 0);
      breaker.break_it(host, queue);
      CHECK(host.violated(breaker.rule));
      for (const Violation& violation : host.core->violations().list()) {
        INFO(violation.text);
        CHECK(violation.rule == breaker.rule);
        CHECK(violation.text.find(rule_info(breaker.rule).section) != std::string::npos);
      }
    }
  }
}

TEST_CASE("no rule is without a test that breaks it") {
  std::set<Rule> broken;
  for (const Breaker& breaker : kBreakers) broken.insert(breaker.rule);
  for (const RuleInfo& info : rules()) {
    INFO(info.name);
    CHECK(broken.count(info.rule) == 1);
  }
}

TEST_CASE("the log keeps its first entries and counts all of them") {
  RawHost host;
  for (std::size_t i = 0; i < ViolationLog::kMaxViolations + 10; ++i) host.set_reg(reg::kVs, 1);
  CHECK(host.core->violations().list().size() == ViolationLog::kMaxViolations);
  CHECK(host.violation_count() == ViolationLog::kMaxViolations + 10);
  host.core->violations().clear();
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a violation names the command that made it") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  host.put(queue, io_command(IoOpcode::read, 0, 1, RawHost::kUnmapped), 0x1234);
  host.ring(queue);
  host.run();
  REQUIRE(host.violation_count() == 1);
  CHECK(host.core->violations().list()[0].text.find("SQ 1 CID 0x1234: write of 512 bytes at IOVA 0x70000000") == 0);
}

}  // namespace
}  // namespace pollux::softnvme
