// What a person reads of a status: the specification's name, the numbers, and what the flags say.
#include <catch2/catch.hpp>

#include "pollux/driver/spec/status.hpp"

namespace pollux::nvme::test {
namespace {

TEST_CASE("a status says the specification's name and its numbers") {
  CHECK(Status::from(StatusCode::lba_out_of_range, true).text() == "LBA Out of Range (SCT 0h, SC 80h, do not retry)");
  CHECK(Status::from(StatusCode::invalid_queue_identifier).text() == "Invalid Queue Identifier (SCT 1h, SC 01h)");
  CHECK(Status::from(StatusCode::unrecovered_read_error).text() == "Unrecovered Read Error (SCT 2h, SC 81h)");
  CHECK(Status::from(StatusCode::aborted_by_host).text() == "Command Aborted By Host (SCT 3h, SC 71h)");
  CHECK(Status{}.text() == "Successful Completion (SCT 0h, SC 00h)");
}

TEST_CASE("a status without a name is still told by its numbers") {
  CHECK(Status{0x712}.text() == "status (SCT 7h, SC 12h)");
  CHECK(Status{0x0ff}.text() == "status (SCT 0h, SC FFh)");
  CHECK(status_name(static_cast<StatusCode>(0x104)) == nullptr);
  CHECK(status_name(static_cast<StatusCode>(0x7ff)) == nullptr);
}

TEST_CASE("a status that left more in the error log says so") {
  CHECK(Status{0x2006}.text() == "Internal Error (SCT 0h, SC 06h, more in the error log)");
  CHECK(Status{0x6006}.text() == "Internal Error (SCT 0h, SC 06h, more in the error log, do not retry)");
}

TEST_CASE("type, code and flags of a status do not mix") {
  const Status status{0x7a81};  // DNR, MORE, CRD 11b, SCT 2h, SC 81h
  CHECK(status.code() == StatusCode::unrecovered_read_error);
  CHECK(status.type() == 2);
  CHECK(status.do_not_retry());
  CHECK(status.more());
  CHECK(status.retry_delay_index() == 3);
  CHECK_FALSE(status.ok());
}

TEST_CASE("success is told by the code alone: a flag beside it makes no error") {
  CHECK(Status{}.ok());
  CHECK(Status{0x4000}.ok());
  CHECK_FALSE(Status{0x0100}.ok());
}

}  // namespace
}  // namespace pollux::nvme::test
