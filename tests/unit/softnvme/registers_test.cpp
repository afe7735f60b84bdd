// Registers: what they read as, in which widths, and what a write leaves alone.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

namespace reg = nvme::reg;
namespace cap = nvme::cap;

TEST_CASE("CAP offers the NVM command set, contiguous queues of up to 4096 entries, and pages from 4 to 64 KiB") {
  RawHost host;
  const std::uint64_t value = host.reg(reg::kCap, 8);
  CHECK(cap::kMqes.of(value) == 4095);
  CHECK(cap::kCqr.of(value) == 1);
  CHECK(cap::kCss.of(value) == cap::kCssNvm);
  CHECK(cap::kDstrd.of(value) == 0);
  CHECK(cap::kMpsmin.of(value) == 0);
  CHECK(cap::kMpsmax.of(value) == 4);
  CHECK(host.reg(reg::kCap) == (value & 0xffff'ffff));
  CHECK(host.reg(reg::kCap + 4) == value >> 32);
  CHECK(host.reg(reg::kVs) == 0x0002'0000);
}

TEST_CASE("CAP.TO and CRTO name the same bound, since CAP.CRMS says that CRTO is there") {
  RawHost host;
  const std::uint64_t to = cap::kTo.of(host.reg(reg::kCap, 8));
  CHECK(cap::kCrms.of(host.reg(reg::kCap, 8)) == 1);
  CHECK(to == kTimeoutMs / cap::kTimeoutUnitMs);
  CHECK(nvme::crto::kCrwmt.of(host.reg(reg::kCrto)) == to);
}

TEST_CASE("a 64-bit register is written whole, or low half then high half") {
  RawHost host;
  host.set_reg(reg::kAsq, 0x12'3456'7000, 8);
  CHECK(host.reg(reg::kAsq, 8) == 0x12'3456'7000);
  host.set_reg(reg::kAcq, 0x89ab'c000);
  host.set_reg(reg::kAcq + 4, 0x7);
  CHECK(host.reg(reg::kAcq, 8) == 0x7'89ab'c000);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("INTMS sets and INTMC clears the interrupt mask") {
  RawHost host;
  host.set_reg(reg::kIntms, 0xf0);
  host.set_reg(reg::kIntmc, 0x30);
  CHECK(host.reg(reg::kIntms) == 0xc0);
  CHECK(host.reg(reg::kIntmc) == 0xc0);
}

TEST_CASE("reserved registers and doorbells read as 0 and that is no violation") {
  RawHost host;
  CHECK(host.reg(0x800) == 0);
  CHECK(host.reg(reg::kDoorbells) == 0);
  CHECK(host.reg(reg::kCmbsz) == 0);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a 64-bit write of a 32-bit register and a misaligned read are violations") {
  RawHost host;
  SECTION("write") { host.set_reg(reg::kIntms, 0, 8); }
  SECTION("read") { host.reg(reg::kCap + 2); }
  SECTION("a doorbell written with 8 bytes") { host.set_reg(reg::kDoorbells, 0, 8); }
  CHECK(host.violated(Rule::register_access));
}

TEST_CASE("AQA, ASQ and ACQ stay as they were when they are written while enabled") {
  RawHost host;
  host.enable(8);
  const std::uint64_t asq = host.reg(reg::kAsq, 8);
  const std::uint64_t acq = host.reg(reg::kAcq, 8);
  host.set_reg(reg::kAsq, 0x1000, 8);
  host.set_reg(reg::kAcq, 0x1000, 8);
  host.set_reg(reg::kAqa, 0);
  CHECK(host.reg(reg::kAsq, 8) == asq);
  CHECK(host.reg(reg::kAcq, 8) == acq);
  CHECK(host.reg(reg::kAqa) == 0x0007'0007);
}

TEST_CASE("IOSQES and IOCQES may change while enabled, until an I/O queue exists") {
  RawHost host;
  host.enable();
  host.set_reg(reg::kCc, 1);
  host.set_reg(reg::kCc, host.enable_value());
  CHECK(host.violation_count() == 0);
  host.create_pair(1);
  host.set_reg(reg::kCc, 1);
  CHECK(host.violated(Rule::cc_changed_while_enabled));
  CHECK(host.reg(reg::kCc) == host.enable_value());
}

}  // namespace
}  // namespace pollux::softnvme
