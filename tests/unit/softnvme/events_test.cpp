// Asynchronous events and Abort.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::StatusCode;

nvme::Command request() { return admin_command(AdminOpcode::async_event_request); }

std::uint16_t send_request(RawHost& host) {
  const std::uint16_t cid = host.put(host.admin_queue, request());
  host.ring(host.admin_queue);
  host.run();
  return cid;
}

nvme::Command read_log(RawHost& host, std::uint32_t lid, bool retain) {
  return admin_command(AdminOpcode::get_log_page, lid | (retain ? 1u << 15 : 0) | 15u << 16, 0, host.pages(1),
                       nvme::kNsidAll);
}

TEST_CASE("four event requests wait without an answer, the fifth is one too many") {
  RawHost host;
  host.enable();
  for (unsigned i = 0; i < 4; ++i) send_request(host);
  CHECK_FALSE(host.poll(host.admin_queue));
  CHECK(host.admin_status(request()) == StatusCode::async_event_limit_exceeded);
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a bad doorbell is reported once until the error log was read with RAE = 0") {
  RawHost host;
  host.enable();
  const std::uint16_t first = send_request(host);
  send_request(host);
  host.store_doorbell(2 * 3, 1);  // no such queue
  host.run();
  const auto event = host.poll(host.admin_queue);
  REQUIRE(event);
  CHECK(cid_of(*event) == first);
  CHECK(status_of(*event).ok());
  CHECK(event->dw0 == (0u | 0u << 8 | 1u << 16));  // error, invalid doorbell register, log page 1
  host.store_doorbell(2 * 3, 1);
  host.run();
  CHECK_FALSE(host.poll(host.admin_queue));
  CHECK(host.admin_status(read_log(host, 1, true)) == StatusCode::success);
  host.store_doorbell(2 * 3, 1);
  host.run();
  CHECK_FALSE(host.poll(host.admin_queue));
  CHECK(host.admin_status(read_log(host, 1, false)) == StatusCode::success);
  host.store_doorbell(0, 99);  // out of range
  host.run();
  const auto next = host.poll(host.admin_queue);
  REQUIRE(next);
  CHECK(next->dw0 == (0u | 1u << 8 | 1u << 16));  // invalid doorbell write value
}

TEST_CASE("an event waits for a request") {
  RawHost host;
  host.enable();
  host.store_doorbell(2 * 3, 1);
  host.run();
  const std::uint16_t cid = send_request(host);
  const auto event = host.poll(host.admin_queue);
  REQUIRE(event);
  CHECK(cid_of(*event) == cid);
}

TEST_CASE("a temperature beyond its threshold is an event only where it is configured, and SMART shows it") {
  RawHost host;
  host.enable();
  send_request(host);
  CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 4, 300)) == StatusCode::success);
  CHECK_FALSE(host.poll(host.admin_queue));
  CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 0x0b, 2)) == StatusCode::success);
  const auto event = host.poll(host.admin_queue);
  REQUIRE(event);
  CHECK(event->dw0 == (1u | 1u << 8 | 2u << 16));  // SMART, temperature, log page 2
  nvme::Command smart = read_log(host, 2, false);
  CHECK(host.admin_status(smart) == StatusCode::success);
  CHECK(host.as<nvme::SmartLog>(smart.prp1).critical_warning == 2);
}

TEST_CASE("a namespace that shrinks, vanishes and comes back is an event, and stands in the list until it was read") {
  RawHost host;
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  const auto read = [&](std::uint64_t lba) {
    return host.status(queue, io_command(nvme::IoOpcode::read, lba, 1, page));
  };
  nvme::Command identify = admin_command(AdminOpcode::identify, 0, 0, page, 1);
  const auto size = [&] {
    REQUIRE(host.admin_status(identify) == StatusCode::success);
    return host.as<nvme::IdentifyNamespace>(page).nsze;
  };
  send_request(host);
  host.core->resize_namespace(1, 8);
  host.run();
  CHECK_FALSE(host.poll(host.admin_queue));  // not configured
  CHECK((read(8) == StatusCode::lba_out_of_range && size() == 8));

  CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 0x0b, 1u << 8)) == StatusCode::success);
  host.core->resize_namespace(1, 0);
  host.run();
  const auto event = host.poll(host.admin_queue);
  REQUIRE(event);
  CHECK(event->dw0 == (2u | 0u << 8 | 4u << 16));  // notice, namespace attribute changed, log page 4
  CHECK((read(0) == StatusCode::invalid_namespace_or_format && size() == 0));
  host.core->resize_namespace(1, 16);
  send_request(host);
  CHECK_FALSE(host.poll(host.admin_queue));  // masked
  CHECK((read(15) == StatusCode::success && size() == 16));

  const nvme::Command log = admin_command(AdminOpcode::get_log_page, 4 | 15u << 16, 0, page, nvme::kNsidAll);
  CHECK(host.admin_status(log) == StatusCode::success);
  CHECK((host.as<std::uint32_t>(page) == 1 && host.as<std::uint32_t>(page + 4) == 0));
  CHECK(host.admin_status(log) == StatusCode::success);
  CHECK(host.as<std::uint32_t>(page) == 0);
  host.core->resize_namespace(1, 8);
  host.run();
  CHECK(host.poll(host.admin_queue));
}

TEST_CASE("Abort ends an event request, which is answered before the Abort is") {
  RawHost host;
  host.enable();
  const std::uint16_t cid = send_request(host);
  const std::uint16_t abort_cid =
      host.put(host.admin_queue, admin_command(AdminOpcode::abort, std::uint32_t{cid} << 16));
  host.ring(host.admin_queue);
  host.run();
  const auto aborted = host.poll(host.admin_queue);
  const auto abort = host.poll(host.admin_queue);
  REQUIRE((aborted && abort));
  CHECK(cid_of(*aborted) == cid);
  CHECK(status_of(*aborted).code() == StatusCode::abort_requested);
  CHECK(cid_of(*abort) == abort_cid);
  CHECK((abort->dw0 & 1) == 0);
}

TEST_CASE("Abort of a command that is not outstanding succeeds and says that nothing was aborted") {
  RawHost host;
  host.enable();
  for (const std::uint32_t cdw10 : {0u | 0x99u << 16, 3u | 0x1u << 16, 0xffffu}) {
    const nvme::Completion entry = host.admin(admin_command(AdminOpcode::abort, cdw10));
    CHECK(status_of(entry).ok());
    CHECK((entry.dw0 & 1) == 1);
  }
  CHECK(host.violation_count() == 0);
}

TEST_CASE("a reset forgets event requests") {
  RawHost host;
  host.enable();
  send_request(host);
  host.set_reg(nvme::reg::kCc, 0);
  host.run();
  host.enable();
  host.store_doorbell(2 * 3, 1);
  host.run();
  CHECK_FALSE(host.poll(host.admin_queue));
}

}  // namespace
}  // namespace pollux::softnvme
