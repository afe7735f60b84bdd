// Get Log Page: the pages, parts of them, and what is refused.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::IoOpcode;
using nvme::StatusCode;

nvme::Command get_log(std::uint8_t lid, std::uint32_t bytes, std::uint64_t page, std::uint64_t offset = 0) {
  const std::uint32_t dwords = bytes / 4 - 1;
  nvme::Command command =
      admin_command(AdminOpcode::get_log_page, lid | (dwords & 0xffff) << 16, dwords >> 16, page, nvme::kNsidAll);
  command.cdw12 = static_cast<std::uint32_t>(offset);
  command.cdw13 = static_cast<std::uint32_t>(offset >> 32);
  return command;
}

TEST_CASE("a failed command is in the error log, newest first, and its status says that there is more") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  host.execute(queue, io_command(IoOpcode::read, 1'000'000, 1, page));
  const nvme::Completion last = host.execute(queue, io_command(IoOpcode::read, 0, 1, page, 0, 77));
  CHECK(status_of(last).more());
  REQUIRE(host.admin_status(get_log(1, 4096, page)) == StatusCode::success);
  const auto* entries = &host.as<nvme::ErrorLogEntry>(page);
  CHECK(entries[0].error_count == 2);
  CHECK(entries[0].sqid == 1);
  CHECK(entries[0].cid == cid_of(last));
  CHECK(entries[0].status >> 1 == status_of(last).bits);
  CHECK(entries[0].nsid == 77);
  CHECK(entries[1].error_count == 1);
  CHECK(entries[1].lba == 1'000'000);
  CHECK(entries[2].error_count == 0);
}

TEST_CASE("the error log keeps the newest 64") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 70; ++i) host.execute(queue, io_command(IoOpcode::read, 1'000'000 + i, 1, page));
  REQUIRE(host.admin_status(get_log(1, 4096, page)) == StatusCode::success);
  const auto* entries = &host.as<nvme::ErrorLogEntry>(page);
  CHECK(entries[0].lba == 1'000'069);
  CHECK(entries[63].lba == 1'000'006);
}

TEST_CASE("SMART counts commands, data units, errors and hours") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  for (unsigned i = 0; i < 3; ++i) host.execute(queue, io_command(IoOpcode::read, 0, 8, page));
  host.execute(queue, io_command(IoOpcode::write, 0, 8, page));
  host.execute(queue, io_command(IoOpcode::write, 1'000'000, 8, page));
  host.now_ns += 2ull * 3600 * 1'000'000'000 + 1;
  REQUIRE(host.admin_status(get_log(2, 512, page)) == StatusCode::success);
  const auto& smart = host.as<nvme::SmartLog>(page);
  CHECK(smart.critical_warning == 0);
  CHECK(std::uint16_t{smart.composite_temperature} == 310);
  CHECK(smart.host_read_commands.low == 3);
  CHECK(smart.host_write_commands.low == 1);
  CHECK(smart.data_units_read.low == 1);  // rounded up
  CHECK(smart.data_units_written.low == 1);
  CHECK(smart.error_log_entries.low == 1);
  CHECK(smart.power_on_hours.low == 2);
}

TEST_CASE("the firmware page and the tables of logs, commands and features are there") {
  RawHost host;
  host.enable();
  const std::uint64_t page = host.pages(1);
  REQUIRE(host.admin_status(get_log(3, 512, page)) == StatusCode::success);
  CHECK(host.as<nvme::FirmwareLog>(page).afi == 1);
  CHECK(std::memcmp(host.as<nvme::FirmwareLog>(page).frs[0], "0.1.0   ", 8) == 0);

  const auto* words = &host.as<std::uint32_t>(page);
  REQUIRE(host.admin_status(get_log(0, 1024, page)) == StatusCode::success);
  for (const unsigned lid : {0, 1, 2, 3, 4, 5, 0x12}) CHECK(words[lid] == 1);
  CHECK(words[6] == 0);
  REQUIRE(host.admin_status(get_log(0x12, 1024, page)) == StatusCode::success);
  CHECK(words[7] == 1);
  CHECK(words[0x0c] == 0);
}

TEST_CASE("the commands that the controller says it supports are those that it does not call invalid") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  REQUIRE(host.admin_status(get_log(5, 4096, page)) == StatusCode::success);
  std::vector<std::uint32_t> words(1024);
  std::memcpy(words.data(), host.at(page), 4096);
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    INFO("opcode " << opcode);
    if (opcode != 0x0c) {  // an Asynchronous Event Request is not answered
      const nvme::Completion admin = host.admin(admin_command(static_cast<AdminOpcode>(opcode), 0xff, 0, page, 0xfff));
      CHECK((status_of(admin).code() != StatusCode::invalid_opcode) == ((words[opcode] & 1) != 0));
      if (status_of(admin).code() == StatusCode::invalid_opcode) CHECK(status_of(admin).do_not_retry());
    }
    const nvme::Completion io = host.execute(queue, io_command(static_cast<IoOpcode>(opcode), 0, 1, page, 0, 0xfff));
    CHECK((status_of(io).code() != StatusCode::invalid_opcode) == ((words[256 + opcode] & 1) != 0));
  }
}

TEST_CASE("a page is read in parts by offset, with zeros behind its end") {
  RawHost host;
  host.enable();
  const std::uint64_t whole = host.pages(1);
  const std::uint64_t part = host.pages(1);
  REQUIRE(host.admin_status(get_log(5, 4096, whole)) == StatusCode::success);
  REQUIRE(host.admin_status(get_log(5, 64, part, 1024)) == StatusCode::success);
  CHECK(std::memcmp(host.at(whole + 1024), host.at(part), 64) == 0);
  std::memset(host.at(part), 0xff, kPage);
  REQUIRE(host.admin_status(get_log(3, 512, part, 500)) == StatusCode::success);
  CHECK(all_zero({host.at(part), 512}));
  CHECK(host.as<std::uint8_t>(part + 512) == 0xff);
}

TEST_CASE("what is no page, or no part of one, is refused") {
  RawHost host({.mdts = 1});
  host.enable();
  const std::uint64_t page = host.pages(4);
  CHECK(host.admin_status(get_log(6, 512, page)) == StatusCode::invalid_log_page);
  CHECK(host.admin_status(get_log(0xc0, 512, page)) == StatusCode::invalid_log_page);
  CHECK(host.admin_status(get_log(2, 64, page, 516)) == StatusCode::invalid_field);  // behind the end
  CHECK(host.admin_status(get_log(2, 64, page, 6)) == StatusCode::invalid_field);    // no dword
  nvme::Command of_namespace = get_log(2, 512, page);
  of_namespace.nsid = 1;
  CHECK(host.admin_status(of_namespace) == StatusCode::invalid_field);
  CHECK(host.admin_status(get_log(2, 8196, page)) == StatusCode::invalid_field);  // beyond MDTS
  CHECK(host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
