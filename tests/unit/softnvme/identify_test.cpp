// Identify: who the controller is, its namespaces, its lists.
#include <catch2/catch.hpp>
#include <string>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::StatusCode;

nvme::Command identify(nvme::Cns cns, std::uint64_t page, std::uint32_t nsid = 0) {
  return admin_command(AdminOpcode::identify, static_cast<std::uint32_t>(cns), 0, page, nsid);
}

TEST_CASE("Identify Controller tells the identity, the limits, and the wish for a host memory buffer") {
  RawHost host({.mdts = 5, .second_namespace = true});
  host.enable();
  const std::uint64_t page = host.pages(1);
  REQUIRE(host.admin_status(identify(nvme::Cns::controller, page)) == StatusCode::success);
  const auto& id = host.as<nvme::IdentifyController>(page);
  CHECK(id.vid == 0x1cc1);
  CHECK(std::string(id.sn, 20) == "POLLUX0001          ");
  CHECK(std::string(id.mn, 40) == "pollux software controller              ");
  CHECK(id.mdts == 5);
  CHECK(id.ver == host.reg(nvme::reg::kVs));
  CHECK(id.hmpre >= id.hmmin);
  CHECK(id.hmmin != 0);
  CHECK(id.sqes == 0x66);
  CHECK(id.cqes == 0x44);
  CHECK(id.nn == 3);
  CHECK((id.vwc & 1) == 1);
  CHECK(id.sgls == 0);
  CHECK(std::string(id.subnqn).rfind("nqn.2014.08.org.nvmexpress:1cc11cc1POLLUX0001 ", 0) == 0);
  CHECK(host.violation_count() == 0);
}

TEST_CASE(
    "Identify Namespace tells size and format; an inactive namespace is all zeros; what there cannot be is refused") {
  RawHost host({.block_size_bytes = 4096, .block_count = 1000, .second_namespace = true});
  host.enable();
  const std::uint64_t page = host.pages(1);
  REQUIRE(host.admin_status(identify(nvme::Cns::ns, page, 1)) == StatusCode::success);
  const auto& id = host.as<nvme::IdentifyNamespace>(page);
  CHECK(id.nsze == 1000);
  CHECK(id.ncap == 1000);
  CHECK(id.flbas == 0);
  CHECK(id.lbaf[0].lbads == 12);
  CHECK(id.lbaf[0].ms == 0);
  CHECK((id.dlfeat & 7) == 1);
  CHECK_FALSE(all_zero(std::as_bytes(std::span(id.nguid))));
  CHECK_FALSE(all_zero(std::as_bytes(std::span(id.eui64))));

  REQUIRE(host.admin_status(identify(nvme::Cns::ns, page, 2)) == StatusCode::success);
  CHECK(all_zero({host.at(page), kPage}));
  CHECK(host.admin_status(identify(nvme::Cns::ns, page, 0)) == StatusCode::invalid_namespace_or_format);
  CHECK(host.admin_status(identify(nvme::Cns::ns, page, 4)) == StatusCode::invalid_namespace_or_format);
  CHECK(host.admin_status(identify(nvme::Cns::ns, page, nvme::kNsidAll)) == StatusCode::invalid_namespace_or_format);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("the active list begins above the given NSID and ends with 0") {
  RawHost host({.second_namespace = true});
  host.enable();
  const std::uint64_t page = host.pages(1);
  const auto* list = &host.as<std::uint32_t>(page);
  REQUIRE(host.admin_status(identify(nvme::Cns::active_ns_list, page, 0)) == StatusCode::success);
  CHECK((list[0] == 1 && list[1] == 3 && list[2] == 0));
  REQUIRE(host.admin_status(identify(nvme::Cns::active_ns_list, page, 1)) == StatusCode::success);
  CHECK((list[0] == 3 && list[1] == 0));
  REQUIRE(host.admin_status(identify(nvme::Cns::active_ns_list, page, 3)) == StatusCode::success);
  CHECK(list[0] == 0);
  CHECK(host.admin_status(identify(nvme::Cns::active_ns_list, page, 0xffff'fffe)) ==
        StatusCode::invalid_namespace_or_format);
}

TEST_CASE("the descriptors repeat EUI-64 and NGUID, name the command set, and end with length 0") {
  RawHost host({.second_namespace = true});
  host.enable();
  const std::uint64_t page = host.pages(1);
  const std::uint64_t ns_page = host.pages(1);
  REQUIRE(host.admin_status(identify(nvme::Cns::ns, ns_page, 3)) == StatusCode::success);
  REQUIRE(host.admin_status(identify(nvme::Cns::ns_descriptors, page, 3)) == StatusCode::success);
  const auto& id = host.as<nvme::IdentifyNamespace>(ns_page);
  const std::byte* at = host.at(page);
  const auto* header = reinterpret_cast<const nvme::NsDescriptor*>(at);
  CHECK((header->nidt == 1 && header->nidl == 8));
  CHECK(std::memcmp(at + 4, id.eui64, 8) == 0);
  header = reinterpret_cast<const nvme::NsDescriptor*>(at += 12);
  CHECK((header->nidt == 2 && header->nidl == 16));
  CHECK(std::memcmp(at + 4, id.nguid, 16) == 0);
  header = reinterpret_cast<const nvme::NsDescriptor*>(at += 20);
  CHECK((header->nidt == 4 && header->nidl == 1 && at[4] == std::byte{0}));
  header = reinterpret_cast<const nvme::NsDescriptor*>(at += 5);
  CHECK(header->nidl == 0);
  CHECK(host.admin_status(identify(nvme::Cns::ns_descriptors, page, 2)) == StatusCode::invalid_namespace_or_format);
}

TEST_CASE("a structure that the controller does not know is refused") {
  RawHost host;
  host.enable();
  const nvme::Completion entry = host.admin(identify(static_cast<nvme::Cns>(0x13), host.pages(1)));
  CHECK(status_of(entry).code() == StatusCode::invalid_field);
  CHECK(status_of(entry).do_not_retry());
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a page of data may begin mid-page and end in PRP2's") {
  RawHost host;
  host.enable();
  const std::uint64_t pages = host.pages(2);
  const std::uint64_t aligned = host.pages(1);
  nvme::Command command = identify(nvme::Cns::controller, pages + 1024);
  command.prp2 = pages + kPage;
  CHECK(host.admin_status(command) == StatusCode::success);
  CHECK(host.admin_status(identify(nvme::Cns::controller, aligned)) == StatusCode::success);
  CHECK(std::memcmp(host.at(pages + 1024), host.at(aligned), kPage) == 0);
  CHECK(all_zero({host.at(pages), 1024}));
  CHECK(all_zero({host.at(pages + 1024 + kPage), 3072}));
}

}  // namespace
}  // namespace pollux::softnvme
