// The I/O commands: what they do to the blocks, and what they refuse.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;

struct Setup {
  RawHost host;
  RawHost::Queue* queue;
  std::uint64_t page;

  explicit Setup(const HostOptions& options = {}) : host(options) {
    host.enable();
    queue = &host.create_pair(1);
    page = host.pages(1);
  }
  std::span<std::byte> data(std::size_t bytes) { return {host.at(page), bytes}; }
  StatusCode run(const nvme::Command& command) { return host.status(*queue, command); }
  StatusCode run(IoOpcode opcode, std::uint64_t slba, std::uint32_t blocks) {
    return run(io_command(opcode, slba, blocks, page));
  }
};

TEST_CASE("what was written is read, block by block, in both block sizes") {
  const std::uint32_t block = GENERATE(512u, 4096u);
  Setup s({.block_size_bytes = block, .block_count = 100});
  for (const std::uint64_t lba : {0, 1, 50, 99}) {
    fill_pattern(s.data(block), static_cast<unsigned>(lba));
    CHECK(s.run(IoOpcode::write, lba, 1) == StatusCode::success);
  }
  for (const std::uint64_t lba : {99, 50, 1, 0}) {
    CHECK(s.run(IoOpcode::read, lba, 1) == StatusCode::success);
    CHECK(has_pattern(s.data(block), static_cast<unsigned>(lba)));
  }
  CHECK(s.run(IoOpcode::read, 2, 1) == StatusCode::success);
  CHECK(all_zero(s.data(block)));  // never written
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("two namespaces keep their blocks apart") {
  Setup s({.second_namespace = true});
  fill_pattern(s.data(512), 9);
  CHECK(s.run(io_command(IoOpcode::write, 5, 1, s.page, 0, 3)) == StatusCode::success);
  CHECK(s.run(io_command(IoOpcode::read, 5, 1, s.page, 0, 1)) == StatusCode::success);
  CHECK(all_zero(s.data(512)));
  CHECK(s.run(io_command(IoOpcode::read, 5, 1, s.page, 0, 3)) == StatusCode::success);
  CHECK(has_pattern(s.data(512), 9));
  CHECK(s.run(io_command(IoOpcode::read, 64, 1, s.page, 0, 3)) == StatusCode::lba_out_of_range);
}

TEST_CASE("a range that leaves the namespace is out of range, without overflow, and an expected error") {
  Setup s({.block_count = 100});
  CHECK(s.run(IoOpcode::read, 100, 1) == StatusCode::lba_out_of_range);
  CHECK(s.run(IoOpcode::read, 99, 2) == StatusCode::lba_out_of_range);
  CHECK(s.run(IoOpcode::write, ~0ull, 1) == StatusCode::lba_out_of_range);
  CHECK(s.run(IoOpcode::write, ~0ull - 3, 8) == StatusCode::lba_out_of_range);
  CHECK(s.run(io_command(IoOpcode::write_zeroes, 99, 2)) == StatusCode::lba_out_of_range);
  CHECK(s.run(io_command(IoOpcode::verify, 100, 1)) == StatusCode::lba_out_of_range);
  CHECK(s.run(IoOpcode::compare, 100, 1) == StatusCode::lba_out_of_range);
  CHECK(s.run(IoOpcode::read, 99, 1) == StatusCode::success);
  const nvme::Completion entry = s.host.execute(*s.queue, io_command(IoOpcode::read, 100, 1, s.page));
  CHECK(status_of(entry).do_not_retry());
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("a namespace that is not there is refused by every command") {
  Setup s({.second_namespace = true});
  const auto opcode = GENERATE(IoOpcode::read, IoOpcode::write, IoOpcode::flush, IoOpcode::compare, IoOpcode::verify,
                               IoOpcode::write_zeroes, IoOpcode::dataset_management);
  const auto nsid = GENERATE(0u, 2u, 4u, 0xffff'fffeu);
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(opcode);
  command.nsid = nsid;
  CHECK(s.run(command) == StatusCode::invalid_namespace_or_format);
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("MDTS bounds what moves data, to the block, and nothing else") {
  Setup s({.mdts = 1});  // two pages
  const std::uint64_t pages = s.host.pages(3);
  const std::uint64_t second = pages + kPage;
  CHECK(s.run(io_command(IoOpcode::read, 0, 16, pages, second)) == StatusCode::success);
  CHECK(s.run(io_command(IoOpcode::read, 0, 17, pages, second)) == StatusCode::invalid_field);
  CHECK(s.run(io_command(IoOpcode::write, 0, 17, pages, second)) == StatusCode::invalid_field);
  CHECK(s.run(io_command(IoOpcode::compare, 0, 17, pages, second)) == StatusCode::invalid_field);
  CHECK(s.run(io_command(IoOpcode::write_zeroes, 0, 8192)) == StatusCode::success);
  CHECK(s.run(io_command(IoOpcode::verify, 0, 8192)) == StatusCode::success);
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("Write Zeroes and Deallocate make blocks read as zeros, and only those") {
  Setup s;
  fill_pattern(s.data(kPage), 4);
  REQUIRE(s.run(IoOpcode::write, 8, 8) == StatusCode::success);
  SECTION("Write Zeroes") { CHECK(s.run(io_command(IoOpcode::write_zeroes, 10, 2)) == StatusCode::success); }
  SECTION("Write Zeroes with DEAC") {
    nvme::Command command = io_command(IoOpcode::write_zeroes, 10, 2);
    command.cdw12 |= 1u << 25;
    CHECK(s.run(command) == StatusCode::success);
  }
  SECTION("Dataset Management") {
    const std::uint64_t ranges = s.host.pages(1);
    s.host.as<nvme::DsmRange>(ranges) = {0, 1, 10};
    s.host.as<nvme::DsmRange>(ranges + 16) = {0, 1, 11};
    nvme::Command command = admin_command(static_cast<AdminOpcode>(IoOpcode::dataset_management), 1, 4, ranges, 1);
    CHECK(s.run(command) == StatusCode::success);
  }
  std::vector<std::byte> expected(s.data(kPage).begin(), s.data(kPage).end());
  std::fill_n(expected.begin() + 1024, 1024, std::byte{0});
  REQUIRE(s.run(IoOpcode::read, 8, 8) == StatusCode::success);
  CHECK(std::memcmp(s.data(kPage).data(), expected.data(), kPage) == 0);
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("Dataset Management with a range outside deallocates nothing, and without AD changes nothing") {
  Setup s({.block_count = 100});
  fill_pattern(s.data(512), 1);
  REQUIRE(s.run(IoOpcode::write, 0, 1) == StatusCode::success);
  const std::uint64_t ranges = s.host.pages(1);
  s.host.as<nvme::DsmRange>(ranges) = {0, 1, 0};
  s.host.as<nvme::DsmRange>(ranges + 16) = {0, 2, 99};
  nvme::Command command = admin_command(static_cast<AdminOpcode>(IoOpcode::dataset_management), 1, 4, ranges, 1);
  CHECK(s.run(command) == StatusCode::lba_out_of_range);
  command.cdw10 = 0;
  command.cdw11 = 1;  // a hint
  CHECK(s.run(command) == StatusCode::success);
  CHECK(s.run(IoOpcode::read, 0, 1) == StatusCode::success);
  CHECK(has_pattern(s.data(512), 1));
}

TEST_CASE("what exceeds the limits of Identify for the NVM command set is refused, and changes nothing") {
  Setup s({.block_count = 32'768});
  fill_pattern(s.data(512), 1);
  REQUIRE(s.run(IoOpcode::write, 0, 1) == StatusCode::success);
  const std::uint64_t page = s.host.pages(1);
  REQUIRE(s.host.admin_status(admin_command(AdminOpcode::identify, 6, 0, page)) == StatusCode::success);
  const auto& limits = s.host.as<nvme::IdentifyControllerNvm>(page);
  REQUIRE((limits.wzsl == 10 && limits.dmrl == 16 && limits.dmrsl == 1024 && limits.dmsl == 12 * 1024));

  CHECK(s.run(io_command(IoOpcode::write_zeroes, 0, 8193)) == StatusCode::invalid_field);  // 4 MiB and a block
  const auto deallocate = [&](std::uint32_t ranges, std::uint32_t blocks) {
    for (std::uint32_t i = 0; i < ranges; ++i) s.host.as<nvme::DsmRange>(page + 16 * i) = {0, blocks, 0};
    return s.run(admin_command(static_cast<AdminOpcode>(IoOpcode::dataset_management), ranges - 1, 4, page, 1));
  };
  CHECK(deallocate(1, 1025) == StatusCode::command_size_limit_exceeded);
  CHECK(deallocate(17, 1) == StatusCode::command_size_limit_exceeded);
  CHECK(deallocate(13, 1024) == StatusCode::command_size_limit_exceeded);
  REQUIRE(s.run(IoOpcode::read, 0, 1) == StatusCode::success);
  CHECK(has_pattern(s.data(512), 1));
  CHECK(deallocate(12, 1024) == StatusCode::success);
  REQUIRE(s.run(IoOpcode::read, 0, 1) == StatusCode::success);
  CHECK(all_zero(s.data(512)));
}

TEST_CASE("Compare tells equal from different") {
  Setup s;
  fill_pattern(s.data(kPage), 6);
  REQUIRE(s.run(IoOpcode::write, 0, 8) == StatusCode::success);
  CHECK(s.run(IoOpcode::compare, 0, 8) == StatusCode::success);
  s.data(kPage)[4000] ^= std::byte{1};
  CHECK(s.run(IoOpcode::compare, 0, 8) == StatusCode::compare_failure);
}

// A medium that counts what is asked of it and can be made to fail.
class CountingStore final : public Store {
 public:
  bool read(std::uint64_t, std::span<std::byte>) override { return !broken; }
  bool write(std::uint64_t, std::span<const std::byte>) override { return !broken; }
  bool zero(std::uint64_t, std::uint64_t) override { return !broken; }
  bool flush() override {
    ++flushes;
    return !broken;
  }
  unsigned flushes = 0;
  bool broken = false;
};

struct CountingSetup {
  RawHost host;
  CountingStore medium;
  RawHost::Queue* queue;
  std::uint64_t page;

  CountingSetup() {
    Config config;
    config.namespaces = {{1, 512, 100, &medium}};
    host.core = std::make_unique<Controller>(config, host.table, words);
    host.core->set_bus_master(true);
    host.use_doorbells(words);
    host.enable();
    queue = &host.create_pair(1);
    page = host.pages(1);
  }
  std::uint32_t words[kDoorbellWords] = {};
};

TEST_CASE("a write is made durable by Flush, by FUA, and by each write while the cache is off") {
  CountingSetup s;
  nvme::Command write = io_command(IoOpcode::write, 0, 1, s.page);
  CHECK(s.host.status(*s.queue, write) == StatusCode::success);
  CHECK(s.medium.flushes == 0);
  write.cdw12 |= 1u << 30;
  CHECK(s.host.status(*s.queue, write) == StatusCode::success);
  CHECK(s.medium.flushes == 1);
  nvme::Command flush;
  flush.nsid = GENERATE(1u, nvme::kNsidAll);
  CHECK(s.host.status(*s.queue, flush) == StatusCode::success);
  CHECK(s.medium.flushes == 2);
  REQUIRE(s.host.admin_status(admin_command(AdminOpcode::set_features, 6, 0)) == StatusCode::success);
  write.cdw12 = 0;
  CHECK(s.host.status(*s.queue, write) == StatusCode::success);
  CHECK(s.medium.flushes == 3);
  s.host.set_reg(nvme::reg::kCc, nvme::cc::kShn.put(s.host.enable_value(), 1));
  s.host.run();
  CHECK(s.medium.flushes == 4);  // and by a shutdown
}

TEST_CASE("a medium that fails is a media error that may be retried, and SMART counts it") {
  CountingSetup s;
  s.medium.broken = true;
  const nvme::Completion write = s.host.execute(*s.queue, io_command(IoOpcode::write, 0, 1, s.page));
  CHECK(status_of(write).code() == StatusCode::write_fault);
  CHECK_FALSE(status_of(write).do_not_retry());
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::read, 0, 1, s.page)) == StatusCode::unrecovered_read_error);
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::write_zeroes, 0, 1)) == StatusCode::write_fault);
  CHECK(s.host.status(*s.queue, io_command(IoOpcode::verify, 0, 1)) == StatusCode::unrecovered_read_error);
  nvme::Command flush;
  flush.nsid = 1;
  CHECK(s.host.status(*s.queue, flush) == StatusCode::write_fault);
  REQUIRE(s.host.admin_status(admin_command(AdminOpcode::get_log_page, 2 | 127u << 16, 0, s.page)) ==
          StatusCode::success);
  CHECK(s.host.as<nvme::SmartLog>(s.page).media_errors.low == 5);
}

TEST_CASE("what is not offered is refused and no violation: SGLs, fused operations, directives, unknown commands") {
  Setup s;
  nvme::Command command = io_command(IoOpcode::write, 0, 1, s.page);
  StatusCode expected = StatusCode::invalid_field;
  SECTION("an SGL") { command.cdw0 = nvme::cdw0::kPsdt.put(command.cdw0, 1); }
  SECTION("a fused command") { command.cdw0 = nvme::cdw0::kFuse.put(command.cdw0, 1); }
  SECTION("a directive") { command.cdw12 |= 1u << 20; }
  SECTION("Write Uncorrectable") {
    command = io_command(IoOpcode::write_uncorrectable, 0, 1);
    expected = StatusCode::invalid_opcode;
  }
  const nvme::Completion entry = s.host.execute(*s.queue, command);
  CHECK(status_of(entry).code() == expected);
  CHECK(status_of(entry).do_not_retry());
  CHECK(s.host.violation_count() == 0);
}

TEST_CASE("reserved fields of I/O commands are violations, and the command is executed") {
  Setup s;
  nvme::Command command = io_command(IoOpcode::read, 0, 1, s.page);
  SECTION("CDW0") { command.cdw0 |= 1u << 10; }
  SECTION("CDW12 of Read") { command.cdw12 |= 1u << 16; }
  SECTION("CDW13 of Read") { command.cdw13 = 0x100; }
  SECTION("CDW12 of Write") {
    command = io_command(IoOpcode::write, 0, 1, s.page);
    command.cdw12 |= 1u << 19;
  }
  SECTION("CDW10 of Flush") {
    command = {};
    command.nsid = 1;
    command.cdw10 = 1;
  }
  SECTION("CDW12 of Write Zeroes") {
    command = io_command(IoOpcode::write_zeroes, 0, 1);
    command.cdw12 |= 1u << 17;
  }
  CHECK(s.run(command) == StatusCode::success);
  CHECK(s.host.violated(Rule::reserved_field));
  CHECK(s.host.violation_count() == 1);
}

TEST_CASE("null moves no data, and answers and checks as ever") {
  Setup s({.null = true});
  fill_pattern(s.data(512), 3);
  CHECK(s.run(IoOpcode::write, 0, 1) == StatusCode::success);
  CHECK(s.run(IoOpcode::read, 7, 1) == StatusCode::success);
  CHECK(has_pattern(s.data(512), 3));
  CHECK(s.run(IoOpcode::read, 8192, 1) == StatusCode::lba_out_of_range);
  CHECK(s.run(io_command(IoOpcode::write_zeroes, 0, 1)) == StatusCode::success);
  CHECK(s.host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
