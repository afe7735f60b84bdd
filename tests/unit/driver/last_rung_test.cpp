// A controller that is given up and that nothing cuts off from memory: neither Bus Master nor a reset.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

struct Unstoppable {
  Unstoppable() {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}}};
    drive = *open_played(std::move(controller));
    buffer = *drive->allocate(4096);
    played->device->closed = &closed;
    played->device->config_is_dead = true;
  }
  std::string give_up() {
    std::memcpy(played->identity.sn, "OTHER1", 6);  // what a reset does not cure
    const auto reset = drive->reset();
    REQUIRE_FALSE(reset);
    return drive->poll().error().message();
  }

  PlayedController* played;
  std::unique_ptr<Drive> drive;
  dma::Buffer buffer;
  bool closed = false;
};

}  // namespace

TEST_CASE("behind an IOMMU a device that cannot be cut off is closed, which takes its memory away") {
  Unstoppable one;
  (void)one.give_up();
  CHECK(one.played->device->releases > 0);
  one.drive.reset();
  CHECK(one.closed);
}

TEST_CASE(
    "without an IOMMU a device that cannot be cut off stays claimed, and its memory mapped, and the error says so") {
  Unstoppable one;
  one.played->wants.physical_addresses = true;
  CHECK(one.give_up().find("stays claimed until this process ends") != std::string::npos);
  CHECK(one.played->device->releases == 0);
  std::byte* const data = one.buffer.slice().data;
  const unsigned unmaps = one.played->unmaps;
  one.drive.reset();
  one.buffer = {};
  CHECK_FALSE(one.closed);
  CHECK(one.played->unmaps == unmaps);
  *data = std::byte{1};  // nobody else's: it would be a SIGSEGV
}

}  // namespace pollux::nvme
