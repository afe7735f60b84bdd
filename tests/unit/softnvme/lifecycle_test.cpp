// Enabling, reset and shutdown.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;
namespace reg = nvme::reg;
namespace csts = nvme::csts;

void enable_again(RawHost& host) {
  std::memset(host.at(host.admin_queue.cq_iova), 0, kPage);
  host.admin_queue.tail = host.admin_queue.head = 0;
  host.admin_queue.phase = 1;
  host.set_reg(reg::kCc, host.enable_value());
  host.run();
  REQUIRE(csts::kRdy.of(host.reg(reg::kCsts)) == 1);
}

TEST_CASE("RDY rises only after the controller has had its time") {
  RawHost host({.ready_delay_ns = 1'000'000});
  host.set_reg(reg::kAqa, 0x000f'000f);
  host.set_reg(reg::kAsq, host.pages(1), 8);
  host.set_reg(reg::kAcq, host.pages(1), 8);
  host.set_reg(reg::kCc, host.enable_value());
  host.core->step(host.now_ns);
  CHECK(host.reg(reg::kCsts) == 0);
  host.core->step(host.now_ns + 999'999);
  CHECK(host.reg(reg::kCsts) == 0);
  host.core->step(host.now_ns + 1'000'000);
  CHECK(host.reg(reg::kCsts) == csts::kRdy.mask());
}

TEST_CASE("CC.EN = 0 takes RDY down at the next step, deletes the queues and keeps AQA, ASQ and ACQ") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t asq = host.reg(reg::kAsq, 8);
  host.set_reg(reg::kCc, 0);
  CHECK(csts::kRdy.of(host.reg(reg::kCsts)) == 1);
  host.run();
  CHECK(host.reg(reg::kCsts) == 0);
  CHECK(host.reg(reg::kAsq, 8) == asq);
  CHECK(host.doorbell(0) == 0);
  enable_again(host);
  CHECK(host.violation_count() == 0);
  // The I/O queue is gone: its identifier is free.
  CHECK(host.admin_status(create_cq_command(queue.id, 16, queue.cq_iova)) == StatusCode::success);
}

TEST_CASE("a reset brings the features' defaults back") {
  RawHost host;
  host.enable();
  CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 6, 0)) == StatusCode::success);
  CHECK(host.admin(admin_command(AdminOpcode::get_features, 6)).dw0 == 0);
  host.set_reg(reg::kCc, 0);
  host.run();
  enable_again(host);
  CHECK(host.admin(admin_command(AdminOpcode::get_features, 6)).dw0 == 1);
}

TEST_CASE("a doorbell rung while the controller is disabled is void, and no violation") {
  RawHost host;
  host.enable();
  host.set_reg(reg::kCc, 0);
  host.run();
  host.store_doorbell(2, 5);  // the owner of a queue pair has not heard of the reset yet
  enable_again(host);
  CHECK(host.admin_status(admin_command(AdminOpcode::get_features, 6)) == StatusCode::success);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a normal shutdown goes through 01b to 10b and leaves the controller ready") {
  RawHost host;
  host.enable();
  host.set_reg(reg::kCc, nvme::cc::kShn.put(host.enable_value(), nvme::cc::kShnNormal));
  CHECK(csts::kShst.of(host.reg(reg::kCsts)) == csts::kShstNormal);
  host.core->step(host.now_ns);
  CHECK(csts::kShst.of(host.reg(reg::kCsts)) == csts::kShstOccurring);
  host.core->step(host.now_ns);
  CHECK(csts::kShst.of(host.reg(reg::kCsts)) == csts::kShstComplete);
  CHECK(csts::kRdy.of(host.reg(reg::kCsts)) == 1);
}

TEST_CASE("after a shutdown a reset makes the controller usable again") {
  RawHost host;
  host.enable();
  host.set_reg(reg::kCc, nvme::cc::kShn.put(host.enable_value(), nvme::cc::kShnAbrupt));
  host.run();
  host.set_reg(reg::kCc, 0);
  host.run();
  CHECK(host.reg(reg::kCsts) == 0);
  enable_again(host);
  CHECK(csts::kShst.of(host.reg(reg::kCsts)) == csts::kShstNormal);
  CHECK(host.admin_status(admin_command(AdminOpcode::get_features, 6)) == StatusCode::success);
}

TEST_CASE("a disabled controller can be shut down") {
  RawHost host;
  host.set_reg(reg::kCc, nvme::cc::kShn.put(0u, nvme::cc::kShnNormal));
  host.run();
  CHECK(csts::kShst.of(host.reg(reg::kCsts)) == csts::kShstComplete);
}

TEST_CASE("without bus master RDY rises, and no admin command is ever fetched") {
  RawHost host;
  host.core->set_bus_master(false);
  host.enable();
  host.put(host.admin_queue, admin_command(AdminOpcode::get_features, 6));
  host.ring(host.admin_queue);
  host.run();
  CHECK_FALSE(host.poll(host.admin_queue));
  host.core->set_bus_master(true);
  host.run();
  CHECK(host.poll(host.admin_queue));
}

TEST_CASE("admin queues that are not mapped end in CFS, and a reset leads out of it") {
  RawHost host;
  host.set_reg(reg::kAqa, 0x000f'000f);
  SECTION("the submission queue") {
    host.set_reg(reg::kAsq, RawHost::kUnmapped, 8);
    host.set_reg(reg::kAcq, host.pages(1), 8);
  }
  SECTION("the completion queue") {
    host.set_reg(reg::kAsq, host.pages(1), 8);
    host.set_reg(reg::kAcq, RawHost::kUnmapped, 8);
  }
  host.set_reg(reg::kCc, host.enable_value());
  host.run();
  CHECK(host.reg(reg::kCsts) == csts::kCfs.mask());
  CHECK(host.violated(Rule::dma_unmapped));
  host.core->violations().clear();
  host.set_reg(reg::kCc, 0);
  host.run();
  CHECK(host.reg(reg::kCsts) == 0);
  CHECK(host.violation_count() == 0);
  host.enable();
}

TEST_CASE("a function level reset clears every register that the host wrote and counts an unsafe shutdown") {
  RawHost host;
  host.enable();
  host.core->function_reset();
  CHECK(host.reg(reg::kCc) == 0);
  CHECK(host.reg(reg::kCsts) == 0);
  CHECK(host.reg(reg::kAqa) == 0);
  CHECK(host.reg(reg::kAsq, 8) == 0);
  host.enable();
  const std::uint64_t log = host.pages(1);
  CHECK(host.admin_status(admin_command(AdminOpcode::get_log_page, 2 | 127u << 16, 0, log, nvme::kNsidAll)) ==
        StatusCode::success);
  CHECK(host.as<nvme::SmartLog>(log).unsafe_shutdowns.low == 1);
  host.set_reg(reg::kCc, nvme::cc::kShn.put(host.enable_value(), 1));
  host.run();
  host.core->function_reset();
  host.enable();
  CHECK(host.admin_status(admin_command(AdminOpcode::get_log_page, 2 | 127u << 16, 0, log)) == StatusCode::success);
  CHECK(host.as<nvme::SmartLog>(log).unsafe_shutdowns.low == 1);
}

TEST_CASE("pages of 64 KiB work as CC.MPS says") {
  RawHost host;
  constexpr std::uint64_t kBigPage = 65536;
  std::uint64_t iova = host.pages(16 * 8);
  iova = (iova + kBigPage - 1) & ~(kBigPage - 1);
  host.admin_queue.entries = 16;
  host.admin_queue.sq_iova = iova;
  host.admin_queue.cq_iova = iova + kBigPage;
  host.set_reg(reg::kAqa, 0x000f'000f);
  host.set_reg(reg::kAsq, host.admin_queue.sq_iova, 8);
  host.set_reg(reg::kAcq, host.admin_queue.cq_iova, 8);
  host.set_reg(reg::kCc, nvme::cc::kMps.put(host.enable_value(), 4));
  host.run();
  // 4 KiB of data that cross a boundary of 4 KiB, but none of CC.MPS: PRP1 alone.
  CHECK(host.admin_status(admin_command(AdminOpcode::identify, 1, 0, iova + 3 * kBigPage + 2048)) ==
        StatusCode::success);
  CHECK(host.as<std::uint16_t>(iova + 3 * kBigPage + 2048) == 0x1cc1);
  CHECK(host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
