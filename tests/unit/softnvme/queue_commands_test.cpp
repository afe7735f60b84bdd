// Create and Delete I/O Queue: every refusal of the specification, and that nothing is left behind by one.
#include <catch2/catch.hpp>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::StatusCode;

struct Refusal {
  const char* why;
  nvme::Command (*make)(std::uint64_t page);
  StatusCode expected;
};

nvme::Command with_cdw11(nvme::Command command, std::uint32_t cdw11) {
  command.cdw11 = cdw11;
  return command;
}

// Queue pair 1 exists; 4 are granted.
const Refusal kRefusals[] = {
    {"CQ 0", [](std::uint64_t page) { return create_cq_command(0, 16, page); }, StatusCode::invalid_queue_identifier},
    {"CQ beyond the granted ones", [](std::uint64_t page) { return create_cq_command(5, 16, page); },
     StatusCode::invalid_queue_identifier},
    {"CQ FFFFh", [](std::uint64_t page) { return create_cq_command(0xffff, 16, page); },
     StatusCode::invalid_queue_identifier},
    {"a CQ that exists", [](std::uint64_t page) { return create_cq_command(1, 16, page); },
     StatusCode::invalid_queue_identifier},
    {"a CQ of one entry", [](std::uint64_t page) { return create_cq_command(2, 1, page); },
     StatusCode::invalid_queue_size},
    {"a CQ larger than MQES", [](std::uint64_t page) { return create_cq_command(2, 4097, page); },
     StatusCode::invalid_queue_size},
    {"a CQ that is not contiguous", [](std::uint64_t page) { return with_cdw11(create_cq_command(2, 16, page), 0); },
     StatusCode::invalid_field},
    {"a CQ mid-page", [](std::uint64_t page) { return create_cq_command(2, 16, page + 16); },
     StatusCode::prp_offset_invalid},
    {"a CQ with a vector that there is not",
     [](std::uint64_t page) { return with_cdw11(create_cq_command(2, 16, page), 3 | 5u << 16); },
     StatusCode::invalid_interrupt_vector},
    {"a CQ that is not mapped", [](std::uint64_t) { return create_cq_command(2, 16, RawHost::kUnmapped); },
     StatusCode::data_transfer_error},
    {"SQ 0", [](std::uint64_t page) { return create_sq_command(0, 16, page, 1); },
     StatusCode::invalid_queue_identifier},
    {"SQ beyond the granted ones", [](std::uint64_t page) { return create_sq_command(5, 16, page, 1); },
     StatusCode::invalid_queue_identifier},
    {"an SQ that exists", [](std::uint64_t page) { return create_sq_command(1, 16, page, 1); },
     StatusCode::invalid_queue_identifier},
    {"an SQ of one entry", [](std::uint64_t page) { return create_sq_command(2, 1, page, 1); },
     StatusCode::invalid_queue_size},
    {"an SQ larger than MQES", [](std::uint64_t page) { return create_sq_command(2, 4097, page, 1); },
     StatusCode::invalid_queue_size},
    {"an SQ for the admin CQ", [](std::uint64_t page) { return create_sq_command(2, 16, page, 0); },
     StatusCode::invalid_queue_identifier},
    {"an SQ for a CQ beyond the granted ones", [](std::uint64_t page) { return create_sq_command(2, 16, page, 9); },
     StatusCode::invalid_queue_identifier},
    {"an SQ for a CQ that does not exist", [](std::uint64_t page) { return create_sq_command(2, 16, page, 3); },
     StatusCode::cq_invalid},
    {"an SQ that is not contiguous",
     [](std::uint64_t page) { return with_cdw11(create_sq_command(2, 16, page, 1), 1u << 16); },
     StatusCode::invalid_field},
    {"an SQ mid-page", [](std::uint64_t page) { return create_sq_command(2, 16, page + 64, 1); },
     StatusCode::prp_offset_invalid},
    {"an SQ that is not mapped", [](std::uint64_t) { return create_sq_command(2, 16, RawHost::kUnmapped, 1); },
     StatusCode::data_transfer_error},
    {"deletion of SQ 0", [](std::uint64_t) { return admin_command(AdminOpcode::delete_sq, 0); },
     StatusCode::invalid_queue_identifier},
    {"deletion of an SQ that does not exist", [](std::uint64_t) { return admin_command(AdminOpcode::delete_sq, 2); },
     StatusCode::invalid_queue_identifier},
    {"deletion of CQ 0", [](std::uint64_t) { return admin_command(AdminOpcode::delete_cq, 0); },
     StatusCode::invalid_queue_identifier},
    {"deletion of a CQ that does not exist", [](std::uint64_t) { return admin_command(AdminOpcode::delete_cq, 2); },
     StatusCode::invalid_queue_identifier},
    {"deletion of a CQ in use", [](std::uint64_t) { return admin_command(AdminOpcode::delete_cq, 1); },
     StatusCode::invalid_queue_deletion},
};

TEST_CASE("what a queue command may not ask for is refused with the status of the specification, for good") {
  for (const Refusal& refusal : kRefusals) {
    DYNAMIC_SECTION(refusal.why) {
      RawHost host;
      host.enable();
      host.create_pair(1);
      const nvme::Completion entry = host.admin(refusal.make(host.pages(2)));
      CHECK(status_of(entry).code() == refusal.expected);
      CHECK(status_of(entry).do_not_retry());
      // And identifier 2 is as free as before.
      host.create_pair(2);
    }
  }
}

TEST_CASE("queues are granted up to what there is, and creation holds to the grant") {
  RawHost host;
  host.enable();
  const nvme::Completion more = host.admin(admin_command(AdminOpcode::set_features, 7, 15 | 15u << 16));
  CHECK(status_of(more).ok());
  CHECK(more.dw0 == (3 | 3u << 16));
  const nvme::Completion fewer = host.admin(admin_command(AdminOpcode::set_features, 7, 0 | 1u << 16));
  CHECK(fewer.dw0 == (0 | 1u << 16));
  host.create_pair(1);
  CHECK(host.admin_status(create_cq_command(2, 16, host.pages(1))) == StatusCode::success);
  CHECK(host.admin_status(create_sq_command(2, 16, host.pages(1), 2)) == StatusCode::invalid_queue_identifier);
}

TEST_CASE("asking for 65,536 queues is refused") {
  RawHost host;
  host.enable();
  CHECK(host.admin_status(admin_command(AdminOpcode::set_features, 7, 0xffff)) == StatusCode::invalid_field);
  CHECK(host.violation_count() == 0);
}

}  // namespace
}  // namespace pollux::softnvme
