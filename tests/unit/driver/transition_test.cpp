#include "pollux/driver/controller/transition.hpp"

#include <catch2/catch.hpp>

#include "register_file.hpp"

namespace pollux::nvme {
namespace {

struct Bench {
  RegisterFile device;
  ManualClock clock;
  Registers registers = *Registers::open(device);
  Bench() {
    device.set64(reg::kCap, plain_cap(4));  // 2 s
    device.word(reg::kVs) = 0x0001'0400;
  }
};

constexpr std::uint64_t kSecondNs = 1'000'000'000;

// Memory for the admin queue, without an IOMMU behind it.
class PlainSpace final : public vfio::IoAddressSpace {
 public:
  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address&) override {
    return std::make_unique<RegisterFile>();
  }
  Result<void> map(const vfio::DmaMapping&) override { return {}; }
  Result<void> unmap(vfio::Iova, std::uint64_t) override { return {}; }
  std::vector<vfio::IovaRange> usable_ranges() const override { return {{0, 0xffff'ffff}}; }
  std::uint64_t page_sizes() const override { return 4096; }
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  std::string describe() const override { return "plain"; }
};

std::unique_ptr<AdminQueue> make_admin() {
  auto space = dma::Space::create(std::make_unique<PlainSpace>());
  REQUIRE(space->attach(vfio::Address{"test:registers", "test", "registers", {}, {}}).has_value());
  auto admin = AdminQueue::create(*space);
  REQUIRE(admin.has_value());
  return std::move(*admin);
}

}  // namespace

TEST_CASE("disabling clears EN and waits for RDY") {
  Bench bench;
  bench.device.word(reg::kCc) = 0x0046'0001;
  bench.device.word(reg::kCsts) = 1;
  Disable machine(bench.registers);
  CHECK(*machine.step(0) == false);
  CHECK(bench.device.word(reg::kCc) == 0x0046'0000);  // the other fields stay as they are
  CHECK(*machine.step(1) == false);
  bench.device.word(reg::kCsts) = 0;
  CHECK(*machine.step(2) == true);
}

TEST_CASE("a controller that is still becoming ready is disabled only once it is") {
  Bench bench;
  bench.device.word(reg::kCc) = 1;
  Disable machine(bench.registers);
  CHECK(*machine.step(0) == false);
  CHECK(bench.device.word(reg::kCc) == 1);
  bench.device.word(reg::kCsts) = 1;
  CHECK(*machine.step(1) == false);
  CHECK(bench.device.word(reg::kCc) == 0);
}

TEST_CASE("a controller that never becomes disabled is given up after CAP.TO") {
  Bench bench;
  bench.device.word(reg::kCc) = 1;
  bench.device.word(reg::kCsts) = 1;
  Disable machine(bench.registers);
  const auto done = run_to_end(machine, bench.clock);
  REQUIRE_FALSE(done);
  CHECK(done.error().what.find("2000 ms") != std::string::npos);
  CHECK(bench.clock.now_ >= 2 * kSecondNs);
  CHECK(bench.clock.now_ < 3 * kSecondNs);
}

TEST_CASE("registers that read as all ones, or as zeros with no version, are a device that is gone") {
  Bench bench;
  SECTION("all ones") { bench.device.word(reg::kCsts) = kAllOnes; }
  SECTION("zeros") { bench.device.word(reg::kVs) = 0; }
  Disable machine(bench.registers);
  CHECK_FALSE(machine.step(0));
  ShutDown down(bench.registers, 0);
  CHECK_FALSE(down.step(0));
}

TEST_CASE("a secondary controller that is offline is told apart from a device that is gone") {
  Bench bench;
  bench.device.set64(reg::kCap, 0);
  bench.device.word(reg::kVs) = 0;
  bench.device.word(reg::kCsts) = 2;  // CFS, all that it shows
  Disable disable(bench.registers);
  CHECK(run_to_end(disable, bench.clock));
  const auto admin = make_admin();
  BringUp machine(bench.registers, *admin, nullptr, 1);
  const auto done = run_to_end(machine, bench.clock);
  REQUIRE_FALSE(done);
  CHECK(done.error().message().find("offline") != std::string::npos);
  CHECK(done.error().message().find("physical function") != std::string::npos);
  CHECK(bench.device.word(reg::kCc) == 0);
}

TEST_CASE("bring-up writes the admin queue's registers before EN, and gives up after CAP.TO") {
  Bench bench;
  const auto admin = make_admin();
  std::vector<std::uint32_t> order;
  bench.device.on_write = [&](std::uint32_t offset) { order.push_back(offset); };
  BringUp machine(bench.registers, *admin, nullptr, 1);
  const auto done = run_to_end(machine, bench.clock);
  REQUIRE_FALSE(done);
  CHECK(done.error().what.find("did not become ready") != std::string::npos);
  CHECK(bench.clock.now_ >= 2 * kSecondNs);
  CHECK(bench.clock.now_ < 3 * kSecondNs);
  CHECK(order == std::vector<std::uint32_t>{reg::kAqa, reg::kAsq, reg::kAsq + 4, reg::kAcq, reg::kAcq + 4, reg::kCc});
  const std::uint32_t config = bench.device.word(reg::kCc);
  CHECK((cc::kEn.of(config) == 1 && cc::kIosqes.of(config) == 6 && cc::kIocqes.of(config) == 4 &&
         cc::kMps.of(config) == 0));
  CHECK(aqa::kAsqs.of(bench.device.word(reg::kAqa)) == AdminQueue::kEntries - 1);
}

TEST_CASE("CRTO bounds the wait where the controller has it") {
  Bench bench;
  bench.device.set64(reg::kCap, cap::kCrms.put(plain_cap(1), 1));
  bench.device.word(reg::kCrto) = 10;  // 5 s
  const auto admin = make_admin();
  BringUp machine(bench.registers, *admin, nullptr, 1);
  CHECK_FALSE(run_to_end(machine, bench.clock));
  CHECK(bench.clock.now_ >= 5 * kSecondNs);
}

TEST_CASE("what a controller asks for beyond five minutes is not waited for, and the error says how long was") {
  Bench bench;
  bench.clock.least_pause_ns = 1'000'000;
  SECTION("CRTO of nine hours") {
    bench.device.set64(reg::kCap, cap::kCrms.put(plain_cap(1), 1));
    bench.device.word(reg::kCrto) = 0xffff;
    const auto admin = make_admin();
    BringUp machine(bench.registers, *admin, nullptr, 1);
    const auto done = run_to_end(machine, bench.clock);
    REQUIRE_FALSE(done);
    CHECK(done.error().what.find(" 300000 ms") != std::string::npos);
  }
  SECTION("RTD3E of an hour") {
    bench.device.word(reg::kCc) = 1;
    bench.device.word(reg::kCsts) = 1;
    ShutDown machine(bench.registers, 0xffff'ffff);
    const auto done = run_to_end(machine, bench.clock);
    REQUIRE_FALSE(done);
    CHECK(done.error().what.find(" 300000 ms") != std::string::npos);
  }
  CHECK(bench.clock.now_ >= 300 * kSecondNs);
  CHECK(bench.clock.now_ < 301 * kSecondNs);
}

TEST_CASE("a drive whose registers must not be read right after it was disabled is left alone for as long") {
  Bench bench;
  constexpr std::uint64_t kDelayNs = 2'300 * kNsPerMs, kStart = 1;
  bench.device.set64(reg::kCap, plain_cap(1));
  bench.device.word(reg::kVs) = 0x0001'0400;
  bench.device.word(reg::kCc) = 1;
  bench.device.word(reg::kCsts) = 1;
  Disable machine(bench.registers, 2'300);
  REQUIRE_FALSE(*machine.step(kStart));
  CHECK(cc::kEn.of(bench.device.word(reg::kCc)) == 0);
  bench.device.word(reg::kCsts) = kAllOnes;  // what would be read in the meantime
  for (const std::uint64_t passed_ns : {std::uint64_t{1}, kDelayNs / 2, kDelayNs - 1}) {
    const auto step = machine.step(kStart + passed_ns);
    REQUIRE(step);
    CHECK_FALSE(*step);
  }
  bench.device.word(reg::kCsts) = 0;
  const auto done = machine.step(kStart + kDelayNs);
  REQUIRE(done);
  CHECK(*done);
}

TEST_CASE("what pollux cannot drive is refused before it is enabled") {
  Bench bench;
  const char* word = "";
  SECTION("pages larger than the host's") {
    bench.device.set64(reg::kCap, cap::kMpsmin.put(plain_cap(1), 1));
    word = "8 KiB";
  }
  SECTION("no command set at all") {
    bench.device.set64(reg::kCap, cap::kCss.put(plain_cap(1), 0));
    word = "command set";
  }
  SECTION("a version of zero") {
    bench.device.word(reg::kVs) = 0;
    word = "VS";
  }
  const auto admin = make_admin();
  BringUp machine(bench.registers, *admin, nullptr, 1);
  const auto step = machine.step(0);
  REQUIRE_FALSE(step);
  CHECK(step.error().what.find(word) != std::string::npos);
  CHECK(bench.device.word(reg::kCc) == 0);
}

TEST_CASE("a fatal status while enabling ends the wait at once") {
  Bench bench;
  const auto admin = make_admin();
  bench.device.on_write = [&](std::uint32_t offset) {
    if (offset == reg::kCc) bench.device.word(reg::kCsts) = 2;
  };
  BringUp machine(bench.registers, *admin, nullptr, 1);
  CHECK_FALSE(run_to_end(machine, bench.clock));
  CHECK(bench.clock.now_ < kSecondNs);
}

TEST_CASE("an admin command that is never answered is given up, and the queue refuses more until it is restarted") {
  Bench bench;
  const auto admin = make_admin();
  bench.device.on_write = [&](std::uint32_t offset) {
    if (offset == reg::kCc) bench.device.word(reg::kCsts) = 1;
  };
  BringUp machine(bench.registers, *admin, nullptr, 1);
  const auto done = run_to_end(machine, bench.clock);
  REQUIRE_FALSE(done);
  CHECK(done.error().what.find("Identify (06h, CNS 01h) was not answered within") != std::string::npos);
  CHECK(bench.clock.now_ >= kAdminTimeoutMs * kNsPerMs);
  CHECK_FALSE(admin->usable());
}

TEST_CASE("shutdown asks once and waits for SHST, at most RTD3E") {
  Bench bench;
  bench.device.word(reg::kCc) = 0x0046'0001;
  bench.device.word(reg::kCsts) = 1;
  SECTION("complete") {
    ShutDown machine(bench.registers, 0);
    CHECK(*machine.step(0) == false);
    CHECK(bench.device.word(reg::kCc) == 0x0046'4001);
    bench.device.word(reg::kCsts) = 1 | csts::kShstOccurring << 2;
    CHECK(*machine.step(1) == false);
    bench.device.word(reg::kCsts) = 1 | csts::kShstComplete << 2;
    CHECK(*machine.step(2) == true);
  }
  SECTION("never") {
    ShutDown machine(bench.registers, 8'000'000);
    CHECK_FALSE(run_to_end(machine, bench.clock));
    CHECK(bench.clock.now_ >= 8 * kSecondNs);
    CHECK(bench.clock.now_ < 9 * kSecondNs);
  }
  SECTION("not enabled: nothing to do") {
    bench.device.word(reg::kCc) = 0;
    ShutDown machine(bench.registers, 0);
    CHECK(*machine.step(0) == true);
  }
}

}  // namespace pollux::nvme
