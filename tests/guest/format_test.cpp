// A Format of a controller that nobody here wrote, under open channels: QEMU's gives a namespace another block size.
#include "../conformance/test_device.hpp"
#include "pollux/driver/controller/identify.hpp"

namespace pollux::conformance {
namespace {

// The index of a format without metadata that has these blocks.
std::uint32_t format_index(const nvme::IdentifyNamespace& id, unsigned lbads) {
  for (std::uint32_t index = 0; index <= id.nlbaf; ++index) {
    if (id.lbaf[index].lbads == lbads && id.lbaf[index].ms == 0) return index;
  }
  FAIL("no format has blocks of 2^" << lbads << " bytes and no metadata");
  return 0;
}

void format(Drive& drive, std::uint32_t nsid, std::uint32_t index) {
  constexpr std::uint32_t kTimeoutMs = 60'000;
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::format_nvm);
  command.nsid = nsid;
  command.cdw10 = index;  // NVMe base 2.0c, 5.14: LBAFL
  const auto result = drive.controller().admin(command, {}, nvme::DataDirection::none, kTimeoutMs);
  if (!result) FAIL(result.error().message());
  INFO(result->status.text());
  REQUIRE(result->status.ok());
}

TEST_CASE_METHOD(TestDevice, "a Format stops the channel that is open, and no old Namespace opens another",
                 "[format]") {
  const auto id = nvme::identify_namespace(drive->controller(), ns.nsid);
  REQUIRE(id);
  REQUIRE(ns.block_size_bytes == 512);
  auto channel = open_channel({.depth = 4});
  const auto buffer = allocate(4096);
  Request told, untold;
  submit_read(*channel, 0, buffer.slice(0, 512), told);
  channel->ring();
  submit_read(*channel, 1, buffer.slice(512, 512), untold);

  format(*drive, ns.nsid, format_index(*id, 12));
  REQUIRE(drain(*channel));
  CHECK((told.answers == 1 && untold.answers == 1));
  Request after;
  CHECK(channel->read(0, buffer.slice(0, 512), Request::done, &after) == Submit::namespace_changed);
  CHECK_FALSE(drive->open_channel(ns));
  channel.reset();

  const auto larger = drive->open_namespace(ns.nsid);
  REQUIRE(larger);
  CHECK(larger->block_size_bytes == 4096);
  {
    const auto anew = open_channel(*larger, {.depth = 4});
    CHECK(read(*anew, 0, buffer.slice(0, 4096)).ok());
    CHECK(write(*anew, 0, buffer.slice(0, 4096)).ok());
  }
  // Nobody was there to be stopped.
  format(*drive, ns.nsid, format_index(*id, 9));
  CHECK_FALSE(drive->open_channel(*larger));
  REQUIRE(drive->reset());
  CHECK(drive->open_channel(ns));
}

}  // namespace
}  // namespace pollux::conformance
