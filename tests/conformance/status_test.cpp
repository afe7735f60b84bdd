// Errors that the controller itself reports: the status arrives by value, and the channel goes on.
#include "pollux/driver/controller/identify.hpp"
#include "raw_io_queue.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice,
                 "an LBA that only the controller knows to be out of range comes back as that, and not to be retried") {
  Namespace longer = ns;
  longer.block_count += 8;
  const auto channel = open_channel(longer, {.depth = 2});
  const auto buffer = allocate(unit());
  const nvme::Status status = read(*channel, ns.block_count, buffer.slice(0, block()));
  CHECK(status.code() == nvme::StatusCode::lba_out_of_range);
  CHECK(status.do_not_retry());
  CHECK(write(*channel, ns.block_count + 7, buffer.slice(0, block())).code() == nvme::StatusCode::lba_out_of_range);
  CHECK(read(*channel, ns.block_count - 1, buffer.slice(0, block())).ok());
}

TEST_CASE_METHOD(TestDevice, "a namespace that the controller does not have comes back as invalid") {
  Namespace nowhere = ns;
  nowhere.nsid = 0xffff'fff0;
  CHECK_FALSE(drive->open_channel(nowhere));
  {
    Queue queue(*drive, nowhere, std::nullopt);
    Request request;
    queue.submit(request);
    CHECK_FALSE(queue.finish(request));
    CHECK(request.status.code() == nvme::StatusCode::invalid_namespace_or_format);
    CHECK(request.status.do_not_retry());
  }
  const auto channel = open_channel({.depth = 2});
  const auto buffer = allocate(unit());
  CHECK(read(*channel, 0, buffer.slice(0, block())).ok());
}

TEST_CASE_METHOD(TestDevice, "errors among good requests reach the ones that they belong to") {
  Namespace longer = ns;
  longer.block_count += 8;
  const auto channel = open_channel(longer, {.depth = 16});
  const auto buffer = allocate(unit());
  Request requests[16];
  for (unsigned i = 0; i < 16; ++i) {
    const std::uint64_t lba = i % 3 == 0 ? ns.block_count + i % 8 : i;
    submit_read(*channel, lba, buffer.slice(0, block()), requests[i]);
  }
  REQUIRE(drain(*channel));
  for (unsigned i = 0; i < 16; ++i) {
    INFO("request " << i);
    CHECK(requests[i].answers == 1);
    CHECK(requests[i].status.ok() == (i % 3 != 0));
  }
}

TEST_CASE_METHOD(TestDevice,
                 "an admin command that does not exist comes back as an invalid opcode, and the next one works") {
  nvme::Command unknown;
  unknown.cdw0 = 0x0f;  // no command of the base specification has it
  const auto answer = drive->controller().admin(unknown);
  REQUIRE(answer);
  CHECK(answer->status.code() == nvme::StatusCode::invalid_opcode);
  CHECK(answer->status.do_not_retry());
  CHECK(nvme::active_namespaces(drive->controller()));
}

TEST_CASE_METHOD(TestDevice, "an admin command with a field that is wrong comes back as that") {
  nvme::Command get_features;
  get_features.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::get_features);
  get_features.cdw10 = 0x00;  // feature 0 is reserved
  const auto answer = drive->controller().admin(get_features);
  REQUIRE(answer);
  CHECK(answer->status.code() == nvme::StatusCode::invalid_field);

  get_features.cdw10 = static_cast<std::uint32_t>(nvme::FeatureId::number_of_queues);
  const auto queues = drive->controller().admin(get_features);
  REQUIRE(queues);
  CHECK(queues->status.ok());
  const std::uint64_t granted = std::min(nvme::features::kNsqr.of(queues->dw0), nvme::features::kNcqr.of(queues->dw0));
  CHECK(granted + 1 >= drive->controller().io_queue_limit());
}

}  // namespace
}  // namespace pollux::conformance
