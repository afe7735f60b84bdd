// Get and Set Features.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::StatusCode;

nvme::Command get(std::uint32_t fid, std::uint32_t select = 0, std::uint32_t cdw11 = 0, std::uint32_t nsid = 0) {
  return admin_command(AdminOpcode::get_features, fid | select << 8, cdw11, 0, nsid);
}
nvme::Command set(std::uint32_t fid, std::uint32_t cdw11, std::uint32_t nsid = 0) {
  return admin_command(AdminOpcode::set_features, fid, cdw11, 0, nsid);
}

TEST_CASE("a feature that was set reads back as current, and its default and saved values stay") {
  struct Row {
    std::uint32_t fid, value, nsid, fallback;
  };
  const Row row = GENERATE(Row{0x01, 0x0102'0303, 0, 0}, Row{0x05, 100, 1, 0}, Row{0x06, 0, 0, 1},
                           Row{0x08, 0x0405, 0, 0}, Row{0x0a, 1, 0, 0}, Row{0x0b, 0x1f, 0, 0});
  RawHost host;
  host.enable();
  CHECK(host.admin_status(set(row.fid, row.value, row.nsid)) == StatusCode::success);
  CHECK(host.admin(get(row.fid, 0, 0, row.nsid)).dw0 == row.value);
  CHECK(host.admin(get(row.fid, 1, 0, row.nsid)).dw0 == row.fallback);
  CHECK(host.admin(get(row.fid, 2, 0, row.nsid)).dw0 == row.fallback);
  CHECK(host.admin(get(row.fid, 3, 0, row.nsid)).dw0 == 4);  // changeable, not saveable
  CHECK(host.violation_count() == 0);
}

TEST_CASE("temperature thresholds are two, over and under") {
  RawHost host;
  host.enable();
  CHECK(host.admin(get(4)).dw0 == 343);
  CHECK(host.admin_status(set(4, 350)) == StatusCode::success);
  CHECK(host.admin_status(set(4, 273 | 1u << 20)) == StatusCode::success);
  CHECK(host.admin(get(4)).dw0 == 350);
  CHECK(host.admin(get(4, 0, 1u << 20)).dw0 == 273);
  CHECK(host.admin_status(set(4, 300 | 3u << 16)) == StatusCode::invalid_field);  // a sensor that there is not
  CHECK(host.admin_status(set(4, 300 | 2u << 20)) == StatusCode::invalid_field);
}

TEST_CASE("interrupt vectors are configured one by one, and one that there is not is refused") {
  RawHost host({.io_queues = 4});
  host.enable();
  CHECK(host.admin_status(set(9, 2 | 1u << 16)) == StatusCode::success);
  CHECK(host.admin(get(9, 0, 2)).dw0 == (2 | 1u << 16));
  CHECK(host.admin(get(9, 0, 1)).dw0 == 1);
  CHECK(host.admin_status(set(9, 5)) == StatusCode::invalid_field);
  CHECK(host.admin_status(get(9, 0, 5)) == StatusCode::invalid_field);
}

TEST_CASE("what a feature cannot be is refused with the status of the specification") {
  RawHost host;
  host.enable();
  CHECK(host.admin_status(set(0x0c, 0)) == StatusCode::invalid_field);  // not offered
  CHECK(host.admin_status(get(0x7f)) == StatusCode::invalid_field);
  CHECK(host.admin_status(set(6, 1, 1)) == StatusCode::feature_not_ns_specific);
  CHECK(host.admin_status(set(5, 0, 2)) == StatusCode::invalid_namespace_or_format);
  CHECK(host.admin_status(set(5, 1u << 16, 1)) == StatusCode::invalid_field);  // DULBE
  CHECK(host.admin_status(set(2, 1)) == StatusCode::invalid_field);            // power state 1
  CHECK(host.admin_status(get(6, 4)) == StatusCode::invalid_field);            // a reserved SEL
  nvme::Command save = set(6, 1);
  save.cdw10 |= 1u << 31;
  CHECK(host.admin_status(save) == StatusCode::feature_not_saveable);
  CHECK(host.violation_count() == 0);
}

// NVMe base 2.0c, 3.2.1: an NSID that is none is an invalid namespace, one that is inactive an invalid field.
TEST_CASE("a feature of a namespace is asked for and set on one that is active") {
  RawHost host({.second_namespace = true});  // NSID 1 and 3
  host.enable();
  const auto answer = [&](std::uint32_t nsid) {
    nvme::Command asked = get(5);
    asked.nsid = nsid;
    const StatusCode got = host.admin_status(asked);
    if (nsid != nvme::kNsidAll) CHECK(host.admin_status(set(5, 0, nsid)) == got);
    return got;
  };
  CHECK(answer(1) == StatusCode::success);
  CHECK(answer(3) == StatusCode::success);
  CHECK(answer(2) == StatusCode::invalid_field);
  CHECK(answer(0) == StatusCode::invalid_namespace_or_format);
  CHECK(answer(4) == StatusCode::invalid_namespace_or_format);
  CHECK(answer(nvme::kNsidAll) == StatusCode::invalid_namespace_or_format);
  CHECK(host.violation_count() == 0);
}

struct HmbSetup {
  RawHost host;
  std::uint64_t list;
  std::uint64_t memory;
  nvme::Command command;

  HmbSetup() {
    host.enable();
    list = host.pages(1);
    memory = host.pages(256);
    host.as<HmbDescriptor>(list) = {memory, 100, 0};
    host.as<HmbDescriptor>(list + 16) = {memory + 100 * kPage, 156, 0};
    command = set(0x0d, 1);
    command.cdw12 = 256;
    command.cdw13 = static_cast<std::uint32_t>(list);
    command.cdw14 = static_cast<std::uint32_t>(list >> 32);
    command.cdw15 = 2;
  }
};

TEST_CASE("a host memory buffer is accepted once, reads back, and can be taken away") {
  HmbSetup setup;
  RawHost& host = setup.host;
  CHECK(host.admin_status(setup.command) == StatusCode::success);
  CHECK(host.admin_status(setup.command) == StatusCode::command_sequence_error);
  nvme::Command read_back = get(0x0d);
  read_back.prp1 = host.pages(1);
  CHECK(host.admin(read_back).dw0 == 1);
  const auto& attributes = host.as<HmbAttributes>(read_back.prp1);
  CHECK(attributes.hsize == 256);
  CHECK(attributes.hmdlal == setup.list);
  CHECK(attributes.hmdlec == 2);
  CHECK(host.admin_status(set(0x0d, 0)) == StatusCode::success);
  CHECK(host.admin(read_back).dw0 == 0);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a host memory buffer that is too small or described wrongly is refused") {
  HmbSetup setup;
  RawHost& host = setup.host;
  auto& first = host.as<HmbDescriptor>(setup.list);
  StatusCode expected = StatusCode::invalid_field;
  SECTION("smaller than HMMIN") { setup.command.cdw12 = 255; }
  SECTION("no descriptors") { setup.command.cdw15 = 0; }
  SECTION("more descriptors than HMMAXD") { setup.command.cdw15 = 1025; }
  SECTION("the descriptors do not add up to HSIZE") { first.pages = 99; }
  SECTION("an empty descriptor") { first.pages = 0; }
  SECTION("a misaligned descriptor") { first.address += 512; }
  SECTION("memory that is not mapped") {
    first.address = RawHost::kUnmapped;
    expected = StatusCode::data_transfer_error;
  }
  SECTION("a list that is not mapped") {
    setup.command.cdw13 = static_cast<std::uint32_t>(RawHost::kUnmapped);
    expected = StatusCode::data_transfer_error;
  }
  CHECK(host.admin_status(setup.command) == expected);
  CHECK(host.violated(Rule::dma_unmapped) == (expected == StatusCode::data_transfer_error));
}

}  // namespace
}  // namespace pollux::softnvme
