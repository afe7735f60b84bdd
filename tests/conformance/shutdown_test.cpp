// The end of a drive: clean, once, and so that it can be opened again.
#include <vector>

#include "pollux/driver/spec/registers.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE(
    "after a shutdown the controller is disabled, so that nothing reaches memory any more, and tells no fatal error") {
  auto drive = Drive::open(device_address(), open_options());
  REQUIRE(drive);
  REQUIRE((*drive)->shutdown());
  const auto status = (*drive)->controller().read_register32(nvme::reg::kCsts);
  const auto configuration = (*drive)->controller().read_register32(nvme::reg::kCc);
  REQUIRE((status && configuration));
  CHECK(nvme::csts::kRdy.of(*status) == 0);
  CHECK(nvme::csts::kCfs.of(*status) == 0);
  CHECK(nvme::cc::kEn.of(*configuration) == 0);
}

TEST_CASE("a second shutdown does no harm, and neither does destruction after it") {
  auto drive = Drive::open(device_address(), open_options());
  REQUIRE(drive);
  REQUIRE((*drive)->shutdown());
  CHECK((*drive)->shutdown());
}

TEST_CASE_METHOD(TestDevice, "after a shutdown nothing brings the drive up again: it is opened anew") {
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  REQUIRE(drive->shutdown());
  const auto is_refused = [](const auto& result) {
    REQUIRE_FALSE(result);
    CHECK_THAT(result.error().message(), Catch::Contains("was shut down") && Catch::Contains("open it anew"));
  };
  is_refused(drive->reset());
  is_refused(drive->reset(ResetReach::function));
  is_refused(drive->open_namespace());
  is_refused(drive->open_channel(ns));
  channel->poll();
  Request request;
  CHECK(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::gone);
  const auto configuration = drive->controller().read_register32(nvme::reg::kCc);
  REQUIRE(configuration);
  CHECK(nvme::cc::kEn.of(*configuration) == 0);
}

TEST_CASE_METHOD(TestDevice, "a channel that outlives the shutdown says that it is gone") {
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  REQUIRE(read(*channel, 0, buffer.slice(0, block())).ok());
  REQUIRE(drive->shutdown());
  channel->poll();
  Request request;
  CHECK(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::gone);
  CHECK(request.answers == 0);
}

TEST_CASE_METHOD(TestDevice, "requests in flight over a shutdown are answered exactly once") {
  const auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(unit());
  std::vector<Request> requests(channel->depth());
  for (Request& request : requests) {
    REQUIRE(channel->read(0, buffer.slice(0, block()), Request::done, &request) == Submit::accepted);
  }
  channel->ring();
  REQUIRE(drive->shutdown());
  REQUIRE(drain(*channel));
  for (const Request& request : requests) CHECK(request.answers == 1);
}

TEST_CASE("a drive that was closed without a word can be opened again, many times") {
  for (int round = 0; round < 5; ++round) {
    TestDevice device;
    const auto channel = device.open_channel({.depth = 8});
    const auto buffer = device.allocate(device.unit());
    device.write_pattern(*channel, 1, buffer.slice(0, device.block()), static_cast<std::uint64_t>(round));
    CHECK(device.holds_pattern(*channel, 1, buffer.slice(0, device.block()), static_cast<std::uint64_t>(round)));
  }
}

TEST_CASE("a drive that is destroyed without a shutdown is shut down by its destructor, and opens again") {
  for (int round = 0; round < 2; ++round) {
    auto drive = Drive::open(device_address(), open_options());
    REQUIRE(drive);
    REQUIRE((*drive)->open_namespace());
  }
}

}  // namespace
}  // namespace pollux::conformance
