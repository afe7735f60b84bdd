// The server as targets are that have no kernel between them and their client, and a client as initiators are that have
// no pollux: what each asks of the other.
#include <linux/vfio.h>

#include "guest.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/eventfd.hpp"

namespace pollux::softnvme {
namespace {

namespace user = vfio::user;
constexpr std::uint64_t kPage = RawClient::kPageBytes;
constexpr std::uint32_t kConfig = VFIO_PCI_CONFIG_REGION_INDEX, kMsix = VFIO_PCI_MSIX_IRQ_INDEX;
constexpr std::uint64_t kCommand = 4, kMsixControl = 0x52;
constexpr std::uint64_t kBusMasterAndMemory = 6, kInterruptDisable = 0x400, kMsixEnable = 0x8000;
constexpr std::uint32_t kEventfd = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;

struct Strict : Guest {
  Strict() : Guest("size=1MiB,queues=3,trap=1", false) {
    device().be_strict();
    // The foreign initiator's VERSION: no JSON behind it.
    version = client->ask(Command::version, bytes_of(user::VersionPayload{}));
    REQUIRE_FALSE(version.header.is_error());
  }
  // Whether an admin command is answered and leaves the controller whole.
  bool works() {
    client->identify();
    const bool answered = client->answered();
    return answered && nvme::csts::kCfs.of(client->read(0, nvme::reg::kCsts, 4)) == 0;
  }
  Message version;
};

TEST_CASE_METHOD(Strict, "a strict server offers little, and takes no more than it offers") {
  const std::string json(reinterpret_cast<const char*>(version.payload.data()) + sizeof(user::VersionPayload));
  CHECK(json == R"({"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}})");
  vfio_irq_info msi{};
  msi.argsz = sizeof msi;
  msi.index = VFIO_PCI_MSI_IRQ_INDEX;
  CHECK(part_of<vfio_irq_info>(client->ask(Command::device_get_irq_info, bytes_of(msi))).count == 0);
  vfio_region_info bar0{};
  bar0.argsz = 4096;
  CHECK(client->ask(Command::device_get_region_info, bytes_of(bar0)).fds.empty());
  CHECK(client->refusal(Command::device_reset, {}, std::vector<int>(9, 0)) == EINVAL);
}

TEST_CASE_METHOD(Strict, "an interrupt that leads nowhere fails the controller, while INTx or MSI-X may raise it") {
  SharedFile memory(4 * kPage);
  client->bring_up(memory);
  SECTION("INTx is not disabled") { CHECK_FALSE(works()); }
  SECTION("INTx is disabled, and MSI-X not enabled") {
    client->write(kConfig, kCommand, kBusMasterAndMemory | kInterruptDisable, 2);
    CHECK(works());
  }
  SECTION("MSI-X is enabled, and vector 0 has no eventfd") {
    const vfio::Eventfd eventfd = *vfio::Eventfd::create();
    client->write(kConfig, kCommand, kBusMasterAndMemory | kInterruptDisable, 2);
    REQUIRE(client->set_irqs(kMsix, kEventfd, 1, 1, {eventfd.fd()}) == 0);
    client->write(kConfig, kMsixControl, kMsixEnable, 2);
    CHECK_FALSE(works());
  }
  SECTION("vector 0 has one") {
    const vfio::Eventfd eventfd = *vfio::Eventfd::create();
    REQUIRE(client->set_irqs(kMsix, kEventfd, 0, 1, {eventfd.fd()}) == 0);
    CHECK(works());
    CHECK(eventfd.wait(kWaitNs));
  }
}

TEST_CASE_METHOD(Strict, "config space outlives a strict server's client, eventfds do not") {
  const vfio::Eventfd eventfd = *vfio::Eventfd::create();
  REQUIRE(client->set_irqs(kMsix, kEventfd, 0, 1, {eventfd.fd()}) == 0);
  client->write(kConfig, kMsixControl, kMsixEnable, 2);
  connect();
  REQUIRE_FALSE(client->agree().header.is_error());
  CHECK(client->read(kConfig, kMsixControl, 2) == (kMsixEnable | 3));
  SharedFile memory(4 * kPage);
  client->bring_up(memory);
  CHECK_FALSE(works());
}

// Each of its messages has id 0, and each DMA_UNMAP a descriptor; when it detaches, it uses the CID of an event request
// that is still outstanding.
TEST_CASE("a foreign initiator is served to its end, and what it breaks of the specification is told") {
  const bool strict = GENERATE(false, true);
  Guest guest(strict ? "size=1MiB,queues=3,trap=1" : "size=1MiB,queues=3", false);
  if (strict) guest.device().be_strict();
  RawClient& client = *guest.client;
  client.id_of_all = 0;
  REQUIRE_FALSE(client.ask(Command::version, bytes_of(user::VersionPayload{})).header.is_error());
  client.write(kConfig, kCommand, kInterruptDisable, 2);
  SharedFile memory(4 * kPage);
  client.bring_up(memory);
  client.submit({.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::async_event_request)});  // in slot 0: CID 0
  client.identify();
  REQUIRE(client.answered());
  CHECK(guest.device().violation_count() == 0);

  nvme::Command detach{.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::delete_sq)};
  detach.cdw10 = 1;
  client.submit(detach, 0);
  REQUIRE(client.answered());
  REQUIRE(guest.device().violations().size() == 1);
  CHECK(guest.device().violations()[0].rule == Rule::cid_in_use);
  client.identify();
  CHECK(client.answered());
  client.write(0, nvme::reg::kCc, 0, 4);
  const auto unmap = bytes_of(user::DmaUnmapPayload{.iova = RawClient::kIova, .size_bytes = 3 * kPage});
  CHECK(client.refusal(Command::dma_unmap, unmap, {memory.fd()}) == 0);
  CHECK(guest.served);
}

}  // namespace
}  // namespace pollux::softnvme
