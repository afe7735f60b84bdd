// Opening a drive: the controller comes up, and what cannot be opened says why.
#include "pollux/driver/spec/registers.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice, "an opened controller is enabled and ready, and tells no fatal error") {
  const auto status = drive->controller().read_register32(nvme::reg::kCsts);
  REQUIRE(status);
  CHECK(nvme::csts::kRdy.of(*status) == 1);
  CHECK(nvme::csts::kCfs.of(*status) == 0);
  CHECK(nvme::csts::kShst.of(*status) == nvme::csts::kShstNormal);

  const auto configuration = drive->controller().read_register32(nvme::reg::kCc);
  REQUIRE(configuration);
  CHECK(nvme::cc::kEn.of(*configuration) == 1);
  CHECK(nvme::cc::kIosqes.of(*configuration) == 6);
  CHECK(nvme::cc::kIocqes.of(*configuration) == 4);
}

TEST_CASE_METHOD(TestDevice, "the controller's facts are its registers'") {
  nvme::Controller& controller = drive->controller();
  const auto version = controller.read_register32(nvme::reg::kVs);
  const auto cap_low = controller.read_register32(nvme::reg::kCap);
  REQUIRE((version && cap_low));
  CHECK(controller.version() == *version);
  CHECK(nvme::vs::kMajor.of(controller.version()) >= 1);
  CHECK(static_cast<std::uint32_t>(controller.cap()) == *cap_low);
  CHECK(controller.max_queue_entries() == nvme::cap::kMqes.of(controller.cap()) + 1);
  CHECK(controller.io_queue_limit() >= 1);
}

TEST_CASE_METHOD(TestDevice, "a drive that is looked after is well: the administrator's turn finds nothing to do") {
  for (int turn = 0; turn < 3; ++turn) CHECK(drive->poll());
}

TEST_CASE("an address that does not parse, and a scheme that nobody knows, are one line each") {
  for (const char* address : {"", "not an address", "0000:zz:00.0", "none:here"}) {
    const auto refused = Drive::open(address, open_options());
    REQUIRE_FALSE(refused);
    CHECK_FALSE(refused.error().message().empty());
    CHECK(refused.error().message().find('\n') == std::string::npos);
  }
}

TEST_CASE_METHOD(TestDevice, "a namespace that is not there is refused, and the answer names those that are") {
  const auto refused = drive->open_namespace(0xffff'fff0);
  REQUIRE_FALSE(refused);
  INFO(refused.error().message());
  CHECK(refused.error().message().find("4294967280") != std::string::npos);
  CHECK(refused.error().message().find("active: ") != std::string::npos);
}

TEST_CASE("the address may name the namespace") {
  {
    auto drive = Drive::open(device_address() + ",ns=1", open_options());
    REQUIRE(drive);
    const auto ns = (*drive)->open_namespace();
    REQUIRE(ns);
    CHECK(ns->nsid == 1);
  }
  auto drive = Drive::open(device_address() + ",ns=4294967280", open_options());
  if (drive) {
    CHECK_FALSE((*drive)->open_namespace());
  } else {
    CHECK(drive.error().message().find("4294967280") != std::string::npos);
  }
}

}  // namespace
}  // namespace pollux::conformance
