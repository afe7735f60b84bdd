// What the vfio-user server answers to each message, good and bad, and what is left of a client that goes.
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "guest.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/user/capabilities.hpp"
#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

namespace reg = nvme::reg;
namespace user = vfio::user;
constexpr std::uint32_t kConfig = VFIO_PCI_CONFIG_REGION_INDEX;

user::Capabilities capabilities_of(const Message& reply) {
  const auto text = std::span(reply.payload).subspan(sizeof(user::VersionPayload));
  REQUIRE(!text.empty());
  CHECK(text.back() == std::byte{0});
  return *user::parse_capabilities({reinterpret_cast<const char*>(text.data()), text.size()});
}

std::vector<std::byte> writes(const std::vector<user::SingleWrite>& list, std::uint64_t count) {
  std::vector<std::byte> payload = bytes_of(count);
  for (const user::SingleWrite& one : list) user::append(payload, one);
  return payload;
}

TEST_CASE("version 0.0 to 0.2 is agreed on as proposed, and of a later minor version 0.2") {
  const auto minor = static_cast<std::uint16_t>(GENERATE(0, 1, 2, 7));
  Guest guest("size=1MiB", false);
  const Message reply = guest.client->agree(minor);
  REQUIRE_FALSE(reply.header.is_error());
  const auto version = part_of<user::VersionPayload>(reply);
  CHECK(version.major == 0);
  CHECK(version.minor == std::min<int>(minor, 2));
  CHECK(guest.served);
}

TEST_CASE("the server tells what it takes, and write_multiple only to who has proposed it") {
  Guest guest("size=1MiB", false);
  SECTION("who does") {
    const user::Capabilities ours = capabilities_of(guest.client->agree());
    CHECK(ours.write_multiple);
    CHECK(ours.max_msg_fds == 16);  // what QEMU bears
    CHECK(ours.max_data_xfer_size == user::kMaxTransferBytes);
    CHECK(ours.max_dma_maps == 65535);
    CHECK(ours.page_sizes == 4096);
  }
  SECTION("who says nothing") {
    const Message reply = guest.client->ask(Command::version, bytes_of(user::VersionPayload{}));
    CHECK_FALSE(capabilities_of(reply).write_multiple);
    CHECK(guest.client->refusal(Command::region_write_multi, writes({}, 0)) == EOPNOTSUPP);
  }
}

TEST_CASE("who proposes no version that is spoken here, or none at first, gets an error and is let go") {
  Guest guest("size=1MiB", false);
  SECTION("another major version") {
    CHECK(guest.client->refusal(Command::version, bytes_of(user::VersionPayload{.major = 1})) == EPROTONOSUPPORT);
  }
  SECTION("another message first") {
    CHECK(guest.client->refusal(Command::device_get_info, bytes_of(user::DeviceInfoPayload{})) == EPROTO);
  }
  SECTION("half a version") { CHECK(guest.client->refusal(Command::version, std::vector<std::byte>(2)) == EINVAL); }
  SECTION("capabilities that are no JSON") {
    const Message reply = guest.client->agree(2, "{\"capabilities\":");
    CHECK(reply.header.os_error == EINVAL);
  }
  REQUIRE_FALSE(guest.served);
  CHECK(guest.told.size() == 1);
}

TEST_CASE("a version is agreed on once") {
  Guest guest;
  CHECK(guest.client->agree().header.os_error == EINVAL);
  CHECK(guest.served);
}

TEST_CASE("the device is a PCI one that can be reset, with nine regions and five kinds of interrupts") {
  Guest guest;
  const Message reply = guest.client->ask(Command::device_get_info, bytes_of(user::DeviceInfoPayload{}));
  const auto info = part_of<user::DeviceInfoPayload>(reply);
  CHECK(reply.payload.size() == 16);
  CHECK(info.argsz == 16);
  CHECK(info.flags == (VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI));
  CHECK(info.regions == 9);
  CHECK(info.interrupts == 5);
  CHECK(guest.client->refusal(Command::device_get_info, bytes_of(user::DeviceInfoPayload{.argsz = 15})) == EINVAL);
  CHECK(guest.client->refusal(Command::device_get_info, std::vector<std::byte>(15)) == EINVAL);
}

vfio_region_info region_request(std::uint32_t index, std::uint32_t argsz) {
  vfio_region_info asked{};
  asked.argsz = argsz;
  asked.index = index;
  return asked;
}

TEST_CASE("BAR0's page of doorbells can be mapped by who has room for what tells of it") {
  Guest guest;
  constexpr std::uint32_t kFull = 32 + 16 + 16;  // the region, the capability, its one area
  const Message small = guest.client->ask(Command::device_get_region_info, bytes_of(region_request(0, kFull - 1)));
  const auto without = part_of<vfio_region_info>(small);
  CHECK(small.payload.size() == 32);
  CHECK(small.fds.empty());
  CHECK(without.argsz == kFull);
  CHECK(without.flags == (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE));

  const Message whole = guest.client->ask(Command::device_get_region_info, bytes_of(region_request(0, without.argsz)));
  const auto region = part_of<vfio_region_info>(whole);
  CHECK(whole.payload.size() == kFull);
  CHECK(region.argsz == kFull);
  CHECK(region.size == 0x4000);
  CHECK(region.offset == 0);
  CHECK((region.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0);
  CHECK((region.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0);
  REQUIRE(region.cap_offset == 32);
  CHECK(part_of<vfio_info_cap_header>(whole, 32).id == VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  CHECK(part_of<vfio_info_cap_header>(whole, 32).next == 0);
  CHECK(part_of<std::uint32_t>(whole, 40) == 1);
  CHECK(part_of<vfio_region_sparse_mmap_area>(whole, 48).offset == 0x1000);
  CHECK(part_of<vfio_region_sparse_mmap_area>(whole, 48).size == 0x1000);
  REQUIRE(whole.fds.size() == 1);
  CHECK(ftruncate(whole.fds[0].get(), 0) != 0);
  CHECK(ftruncate(whole.fds[0].get(), 1 << 20) != 0);
}

TEST_CASE("the other regions are there as they are, and beyond the last there is none") {
  Guest guest;
  const auto size_of = [&](std::uint32_t index) {
    const Message reply = guest.client->ask(Command::device_get_region_info, bytes_of(region_request(index, 32)));
    CHECK(reply.fds.empty());
    CHECK(part_of<vfio_region_info>(reply).argsz == 32);
    return part_of<vfio_region_info>(reply).size;
  };
  CHECK(size_of(kConfig) == 4096);
  CHECK(size_of(VFIO_PCI_BAR2_REGION_INDEX) == 0);
  CHECK(size_of(VFIO_PCI_VGA_REGION_INDEX) == 0);
  CHECK(guest.client->refusal(Command::device_get_region_info, bytes_of(region_request(9, 32))) == EINVAL);
  CHECK(guest.client->refusal(Command::device_get_region_info, bytes_of(region_request(~0u, 32))) == EINVAL);
  CHECK(guest.client->refusal(Command::device_get_region_info, bytes_of(region_request(0, 31))) == EINVAL);
  CHECK(guest.client->refusal(Command::device_get_region_info, std::vector<std::byte>(31)) == EINVAL);
}

TEST_CASE("with trap=1 nothing of BAR0 can be mapped") {
  Guest guest("size=1MiB,trap=1");
  const Message reply = guest.client->ask(Command::device_get_region_info, bytes_of(region_request(0, 4096)));
  CHECK(reply.fds.empty());
  CHECK(reply.payload.size() == 32);
  CHECK((part_of<vfio_region_info>(reply).flags & VFIO_REGION_INFO_FLAG_MMAP) == 0);
}

TEST_CASE("regions are read and written within their bounds") {
  Guest guest;
  CHECK(guest.client->read(kConfig, 0, 4) == 0x0021'1cc1);
  CHECK(guest.client->read(0, reg::kVs, 4) != 0);
  CHECK(guest.client->read(kConfig, 4096, 0) == 0);
  guest.client->write(kConfig, 0x10, 0xffff'ffff, 4);
  CHECK(guest.client->read(kConfig, 0x10, 4) == 0xffff'c004);
  const auto read = [&](std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
    return guest.client->refusal(Command::region_read, bytes_of(user::RegionAccessPayload{offset, region, count}));
  };
  CHECK(read(kConfig, 4093, 4) == EINVAL);
  CHECK(read(kConfig, ~0ull, 4) == EINVAL);
  CHECK(read(kConfig, ~0ull - 3, 4) == EINVAL);
  CHECK(read(kConfig, 0, ~0u) == EINVAL);
  CHECK(read(0, 0x4000, 4) == EINVAL);
  CHECK(read(1, 0, 0) == EINVAL);
  CHECK(read(VFIO_PCI_VGA_REGION_INDEX, 0, 4) == EINVAL);
  CHECK(read(~0u, 0, 4) == EINVAL);
  CHECK(guest.client->refusal(Command::region_read, std::vector<std::byte>(17)) == EINVAL);

  std::vector<std::byte> write = bytes_of(user::RegionAccessPayload{4, kConfig, 2});
  CHECK(guest.client->refusal(Command::region_write, write) == EINVAL);  // without its data
  write.resize(write.size() + 3);
  CHECK(guest.client->refusal(Command::region_write, write) == EINVAL);
  CHECK(guest.client->refusal(Command::region_write, std::vector<std::byte>(15)) == EINVAL);
  CHECK(guest.served);
}

TEST_CASE("BAR0 answers only with memory space on, and says so") {
  Guest guest;
  guest.client->write(kConfig, 4, 0, 2);
  CHECK(guest.client->refusal(Command::region_read, bytes_of(user::RegionAccessPayload{0, 0, 4})) == EIO);
}

TEST_CASE("several writes in one message are done in their order, up to the first that is wrong") {
  Guest guest;
  const Message reply = guest.client->ask(
      Command::region_write_multi, writes({{4, kConfig, 2, 2}, {0x0c, kConfig, 1, 0x11}, {0x0c, kConfig, 1, 0x22}}, 3));
  REQUIRE_FALSE(reply.header.is_error());
  CHECK(reply.payload == bytes_of(std::uint64_t{3}));
  CHECK(guest.client->read(kConfig, 0x0c, 1) == 0x22);
  const auto refusal = [&](const std::vector<user::SingleWrite>& list, std::uint64_t count) {
    return guest.client->refusal(Command::region_write_multi, writes(list, count));
  };
  CHECK(refusal({{0x0c, kConfig, 1, 0x33}, {0x0c, kConfig, 9, 0}}, 2) == EINVAL);
  CHECK(guest.client->read(kConfig, 0x0c, 1) == 0x33);
  CHECK(refusal({{0x0c, kConfig, 1, 0x44}}, 2) == EINVAL);
  CHECK(refusal({{0x0c, kConfig, 1, 0x44}}, 0) == EINVAL);
  CHECK(refusal({}, ~0ull / 24 + 1) == EINVAL);  // times 24 it is small
  CHECK(refusal({{4096, kConfig, 1, 0}}, 1) == EINVAL);
  CHECK(guest.client->read(kConfig, 0x0c, 1) == 0x33);
}

TEST_CASE("a message that is not offered is refused, and the next is served") {
  Guest guest;
  const auto command = static_cast<Command>(GENERATE(0, 6, 11, 12, 14, 16, 17, 18, 77, 0xffff));
  CHECK(guest.client->refusal(command, std::vector<std::byte>(16)) == EOPNOTSUPP);
  CHECK(guest.client->read(kConfig, 0, 4) == 0x0021'1cc1);
}

// The specification forbids none of them, and an initiator in the wild sends one with each DMA_UNMAP.
TEST_CASE("descriptors that a message has no use for are closed, and the message is served") {
  Guest guest("size=1MiB,queues=3", false);
  RawClient& client = *guest.client;
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const int spare = ends[1];
  CHECK(client.refusal(Command::version, bytes_of(user::VersionPayload{}), {spare}) == 0);
  CHECK(client.refusal(Command::device_get_info, bytes_of(user::DeviceInfoPayload{}), {spare, spare}) == 0);
  CHECK(client.refusal(Command::region_read, bytes_of(user::RegionAccessPayload{0, kConfig, 4}), {spare}) == 0);
  const SharedFile memory(kPage);
  CHECK(client.map(0, kPage, {memory.fd(), spare}) == 0);
  const auto unmap = bytes_of(user::DmaUnmapPayload{.iova = 0, .size_bytes = kPage});
  CHECK(client.refusal(Command::dma_unmap, unmap, {memory.fd()}) == 0);
  CHECK(client.map(0, kPage, {memory.fd()}) == 0);  // it is really gone
  constexpr std::uint32_t kOff = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
  CHECK(client.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, kOff, 0, 0, {spare}) == 0);
  CHECK(client.refusal(Command::device_reset, {}, {spare}) == 0);
  CHECK(client.refusal(Command::device_feature, {}, {spare}) == EOPNOTSUPP);
  close(ends[1]);
  char byte;
  CHECK(read(ends[0], &byte, 1) == 0);  // nobody else has the other end
  close(ends[0]);
  CHECK(guest.served);
}

TEST_CASE("a command that wants no reply gets none, whether it was done or refused") {
  Guest guest;
  const Header quiet{.id = 7, .command = Command::device_reset, .flags = Header::kNoReply};
  REQUIRE(guest.client->socket.send(quiet, {}));
  REQUIRE(guest.session->serve(kWaitNs));
  REQUIRE(guest.client->socket.send(quiet, std::vector<std::byte>(1)));
  REQUIRE(guest.session->serve(kWaitNs));
  CHECK(guest.told.size() == 1);
  CHECK(guest.client->read(kConfig, 0, 4) == 0x0021'1cc1);  // whose reply is the first to come
}

TEST_CASE("a session ends with what is no command, and with what is no message") {
  Guest guest;
  SECTION("a reply") {
    REQUIRE(guest.client->socket.send({.command = Command::device_reset, .flags = Header::kTypeReply}, {}));
  }
  SECTION("a type that there is not") {
    REQUIRE(guest.client->socket.send({.command = Command::device_reset, .flags = 2}, {}));
  }
  SECTION("a size below the header's") {
    const Header header{.command = Command::device_reset, .size = 15};
    REQUIRE(write(guest.client->socket.fd(), &header, sizeof header) == sizeof header);
  }
  SECTION("a size beyond all bounds") {
    const Header header{.command = Command::device_reset, .size = ~0u};
    REQUIRE(write(guest.client->socket.fd(), &header, sizeof header) == sizeof header);
  }
  SECTION("half a message, and then nobody") {
    const Header header{.command = Command::device_reset, .size = 100};
    REQUIRE(write(guest.client->socket.fd(), &header, sizeof header / 2) == sizeof header / 2);
    guest.client->socket.shut_down();
  }
  CHECK_FALSE(guest.session->serve(kWaitNs));
}

TEST_CASE("only some refusals are told: a client does not fill the terminal") {
  Guest guest;
  for (int i = 0; i < 50; ++i) guest.client->refusal(Command::device_feature);
  CHECK(guest.told.size() == server::Session::kToldRefusals + 1);
}

TEST_CASE("a controller comes up by messages, answers by its mapped doorbell, and no rule is broken") {
  Guest guest;
  SharedFile memory(4 * kPage);
  guest.client->bring_up(memory);
  guest.client->identify();
  REQUIRE(guest.client->answered());
  std::uint16_t vendor = 0;
  std::memcpy(&vendor, memory.data() + 2 * kPage, sizeof vendor);
  CHECK(vendor == 0x1cc1);

  // Commands under way, and the next client finds everything as after power-on.
  guest.client->identify();
  guest.client->identify();
  std::uint32_t* const doorbells = std::exchange(guest.client->doorbells, nullptr);
  guest.connect();
  CHECK(guest.device().violation_count() == 0);
  REQUIRE_FALSE(guest.client->agree().header.is_error());
  CHECK(guest.client->read(kConfig, 4, 2) == 2);  // no bus master
  CHECK(guest.client->read(0, reg::kCc, 4) == 0);
  CHECK(guest.client->read(0, reg::kAsq, 8) == 0);
  SharedFile more(4 * kPage);
  guest.client->bring_up(more);
  // The doorbells of the one before ring no more.
  for (std::uint32_t word = 0; word < 8; ++word) __atomic_store_n(doorbells + word, 9, __ATOMIC_RELEASE);
  munmap(doorbells, kPage);
  guest.client->identify();
  CHECK(guest.client->answered());
  REQUIRE(guest.session->end());
  CHECK(guest.device().violation_count() == 0);
}

// An I/O queue pair by hand: its queues and data in the four pages of `memory` from the fifth on.
struct IoPair {
  static constexpr std::uint64_t kIova = 0x20'0000;
  RawClient& client;
  std::byte* pages;

  IoPair(RawClient& owner, SharedFile& memory) : client(owner), pages(memory.data() + 4 * kPage) {
    std::memset(pages, 0, 2 * kPage);
    REQUIRE(client.map(kIova, 4 * kPage, {memory.fd()}, 4 * kPage) == 0);
    client.submit(create_cq_command(1, 16, kIova + kPage));
    REQUIRE(client.answered());
    client.submit(create_sq_command(1, 16, kIova, 1));
    REQUIRE(client.answered());
  }
  // Of the data in the third page; the only command of this queue's at that slot.
  nvme::StatusCode execute(std::uint32_t slot, nvme::IoOpcode opcode, std::uint64_t slba) {
    nvme::Command command = io_command(opcode, slba, 8, kIova + 2 * kPage);
    if (opcode == nvme::IoOpcode::flush) command = {.cdw0 = command.cdw0, .nsid = 1};
    command.cdw0 |= slot << 16;
    std::memcpy(pages + slot * sizeof command, &command, sizeof command);
    client.ring(2, slot + 1);
    auto* entry = reinterpret_cast<nvme::Completion*>(pages + kPage) + slot;
    const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
    while (nvme::cqe::kPhase.of(__atomic_load_n(&entry->tail, __ATOMIC_ACQUIRE)) == 0)
      REQUIRE(steady_clock().now_ns() < end_ns);
    client.ring(3, slot + 1);
    return status_of(*entry).code();
  }
};

TEST_CASE("blocks outlive the client that wrote them, and what was served is counted") {
  Guest guest;
  for (int i = 0; i < 2; ++i) {
    SharedFile memory(8 * kPage);
    guest.client->bring_up(memory);
    IoPair queue(*guest.client, memory);
    const std::span<std::byte> data(queue.pages + 2 * kPage, kPage);
    if (i == 0) {
      fill_pattern(data, 1);
      CHECK(queue.execute(0, nvme::IoOpcode::write, 16) == nvme::StatusCode::success);
      CHECK(queue.execute(1, nvme::IoOpcode::flush, 0) == nvme::StatusCode::success);
      guest.connect();
      REQUIRE_FALSE(guest.client->agree().header.is_error());
    } else {
      CHECK(queue.execute(0, nvme::IoOpcode::read, 16) == nvme::StatusCode::success);
      CHECK(has_pattern(data, 1));
      CHECK(queue.execute(1, nvme::IoOpcode::read, 1ull << 40) == nvme::StatusCode::lba_out_of_range);
    }
  }
  REQUIRE(guest.session->end());
  const ServedCommands served = guest.device().served();
  CHECK(served.reads == 1);  // what was refused is none
  CHECK(served.writes == 1);
  CHECK(served.others == 1);
  CHECK(guest.device().violation_count() == 0);
}

TEST_CASE("a reset stops the controller and leaves config space") {
  Guest guest;
  SharedFile memory(4 * kPage);
  guest.client->bring_up(memory);
  CHECK(guest.client->refusal(Command::device_reset) == 0);
  CHECK(guest.client->read(0, reg::kCsts, 4) == 0);
  CHECK(guest.client->read(kConfig, 4, 2) == 6);
  CHECK(guest.client->refusal(Command::device_reset, std::vector<std::byte>(1)) == EINVAL);
}

}  // namespace
}  // namespace pollux::softnvme
