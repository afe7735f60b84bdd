// DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS: ranges of vectors, one kind at a time.
#include <fcntl.h>
#include <linux/vfio.h>

#include <cerrno>

#include "guest.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/eventfd.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint64_t kPage = RawClient::kPageBytes;
constexpr std::uint32_t kMsi = VFIO_PCI_MSI_IRQ_INDEX, kMsix = VFIO_PCI_MSIX_IRQ_INDEX, kIntx = VFIO_PCI_INTX_IRQ_INDEX;
constexpr std::uint32_t kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;
constexpr std::uint32_t kEventfd = VFIO_IRQ_SET_DATA_EVENTFD | kTrigger;
constexpr std::uint32_t kNone = VFIO_IRQ_SET_DATA_NONE | kTrigger;
constexpr std::uint32_t kBool = VFIO_IRQ_SET_DATA_BOOL | kTrigger;

struct Eventfds {
  std::vector<vfio::Eventfd> list;
  explicit Eventfds(unsigned count) {
    for (unsigned i = 0; i < count; ++i) list.push_back(*vfio::Eventfd::create());
  }
  std::vector<int> range(std::size_t first, std::size_t count) const {
    std::vector<int> fds;
    for (std::size_t i = first; i < first + count; ++i) fds.push_back(list[i].fd());
    return fds;
  }
  std::vector<std::uint64_t> drain() const {
    std::vector<std::uint64_t> counts;
    for (const vfio::Eventfd& one : list) counts.push_back(one.drain());
    return counts;
  }
};
using Counts = std::vector<std::uint64_t>;

// MSI-X Enable or MSI Enable.
void enable(RawClient& client, std::uint32_t index, bool on) {
  const std::uint64_t control = index == kMsix ? 0x52 : 0xa2;
  const std::uint64_t bit = index == kMsix ? 0x8000 : 1;
  client.write(VFIO_PCI_CONFIG_REGION_INDEX, control, on ? bit : 0, 2);
}

vfio_irq_info ask(RawClient& client, std::uint32_t index) {
  vfio_irq_info asked{};
  asked.argsz = sizeof asked;
  asked.index = index;
  const Message reply = client.ask(Command::device_get_irq_info, bytes_of(asked));
  CHECK(reply.payload.size() == sizeof asked);
  return part_of<vfio_irq_info>(reply);
}

TEST_CASE("there is MSI-X with a vector a queue, MSI with a power of two, and nothing else") {
  Guest guest("size=1MiB,queues=4");
  CHECK(ask(*guest.client, kMsix).count == 5);
  CHECK(ask(*guest.client, kMsix).flags == VFIO_IRQ_INFO_EVENTFD);
  CHECK(ask(*guest.client, kMsi).count == 8);
  for (const std::uint32_t index : {kIntx, 3u, 4u}) CHECK(ask(*guest.client, index).count == 0);
  vfio_irq_info wrong{};
  wrong.argsz = sizeof wrong;
  wrong.index = 5;
  CHECK(guest.client->refusal(Command::device_get_irq_info, bytes_of(wrong)) == EINVAL);
  CHECK(guest.client->refusal(Command::device_get_irq_info, std::vector<std::byte>(15)) == EINVAL);
  wrong.argsz = 15;
  wrong.index = 0;
  CHECK(guest.client->refusal(Command::device_get_irq_info, bytes_of(wrong)) == EINVAL);
}

TEST_CASE("vectors get, change and lose their eventfds in ranges, and are triggered in ranges") {
  Guest guest;  // 4 vectors
  RawClient& client = *guest.client;
  const std::uint32_t index = GENERATE(kMsix, kMsi);
  const Eventfds fds(5);
  CHECK(client.set_irqs(index, kNone, 0, 4) == EINVAL);  // nothing is installed
  REQUIRE(client.set_irqs(index, kEventfd, 0, 2, fds.range(0, 2)) == 0);
  REQUIRE(client.set_irqs(index, kEventfd, 3, 1, fds.range(3, 1)) == 0);  // one by one, and beyond those before
  REQUIRE(client.set_irqs(index, kNone, 0, 4) == 0);
  CHECK(fds.drain() == Counts{1, 1, 0, 1, 0});
  REQUIRE(client.set_irqs(index, kEventfd, 1, 1, fds.range(4, 1)) == 0);
  REQUIRE(client.set_irqs(index, kEventfd, 0, 1) == 0);  // without descriptors
  REQUIRE(client.set_irqs(index, kNone, 0, 2) == 0);
  CHECK(fds.drain() == Counts{0, 0, 0, 0, 1});
  REQUIRE(client.set_irqs(index, kBool, 1, 3, {}, {std::byte{1}, std::byte{1}, std::byte{0}}) == 0);
  CHECK(fds.drain() == Counts{0, 0, 0, 0, 1});
  REQUIRE(client.set_irqs(index, kNone, 0, 0) == 0);  // off
  CHECK(client.set_irqs(index, kNone, 0, 4) == EINVAL);
  CHECK(fds.drain() == Counts(5));
}

TEST_CASE(
    "a completion signals the vector that was set for it, alone or in a set, and one that came first stays pending") {
  Guest guest;
  RawClient& client = *guest.client;
  const std::uint32_t index = GENERATE(kMsix, kMsi);
  const Eventfds fds(3);
  REQUIRE(client.set_irqs(index, kEventfd, 1, 2, fds.range(1, 2)) == 0);
  enable(client, index, true);
  SharedFile memory(4 * kPage);
  client.bring_up(memory);
  client.identify();
  REQUIRE(client.answered());
  static_cast<void>(client.read(0, nvme::reg::kCsts, 4));  // the controller has ended its step
  REQUIRE(client.set_irqs(index, kEventfd, 0, 1, fds.range(0, 1)) == 0);
  CHECK(fds.drain() == Counts{1, 0, 0});
  // Another vector changes: the first stays as it is.
  REQUIRE(client.set_irqs(index, kEventfd, 2, 1) == 0);
  client.identify();
  REQUIRE(fds.list[0].wait(kWaitNs));
  CHECK(client.answered());
  CHECK(fds.drain() == Counts{1, 0, 0});
  CHECK(guest.device().violation_count() == 0);
}

// As on hardware (PCI Local Bus 3.0, 6.8.2.3): the eventfds alone are nothing but a table that is filled in.
TEST_CASE("no vector is signalled while its kind is not enabled in config space") {
  Guest guest;
  RawClient& client = *guest.client;
  const std::uint32_t index = GENERATE(kMsix, kMsi);
  const Eventfds fds(2);
  REQUIRE(client.set_irqs(index, kEventfd, 0, 2, fds.range(0, 2)) == 0);
  SharedFile memory(4 * kPage);
  client.bring_up(memory);
  const auto signalled = [&] {
    client.identify();
    REQUIRE(client.answered());
    static_cast<void>(client.read(0, nvme::reg::kCsts, 4));  // the controller has ended its step
    return fds.drain()[0];
  };
  CHECK(signalled() == 0);
  enable(client, index, true);
  CHECK(fds.drain()[0] == 0);  // what was posted before is not made up for
  CHECK(signalled() == 1);
  enable(client, index, false);
  CHECK(signalled() == 0);
  enable(client, index == kMsix ? kMsi : kMsix, true);  // the other kind, which has no eventfds
  CHECK(signalled() == 0);
}

TEST_CASE("with MSI-X masked as a whole what comes stays pending until it is not") {
  Guest guest;
  RawClient& client = *guest.client;
  const Eventfds fds(1);
  REQUIRE(client.set_irqs(kMsix, kEventfd, 0, 1, fds.range(0, 1)) == 0);
  constexpr std::uint64_t kMsixControl = 0x52;
  client.write(VFIO_PCI_CONFIG_REGION_INDEX, kMsixControl, 0xc000, 2);
  SharedFile memory(4 * kPage);
  client.bring_up(memory);
  client.identify();
  REQUIRE(client.answered());
  static_cast<void>(client.read(0, nvme::reg::kCsts, 4));
  CHECK(fds.drain() == Counts{0});
  client.write(VFIO_PCI_CONFIG_REGION_INDEX, kMsixControl, 0x8000, 2);
  CHECK(fds.drain() == Counts{1});
}

TEST_CASE("one kind of interrupts is installed at a time") {
  Guest guest;
  RawClient& client = *guest.client;
  const Eventfds fds(1);
  REQUIRE(client.set_irqs(kMsix, kEventfd, 0, 1, fds.range(0, 1)) == 0);
  CHECK(client.set_irqs(kMsi, kEventfd, 0, 1, fds.range(0, 1)) == EINVAL);
  CHECK(client.set_irqs(kMsi, kNone, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsi, kNone, 0, 0) == 0);  // off already, and the others stay
  CHECK(client.set_irqs(kMsix, kNone, 0, 1) == 0);
  CHECK(fds.drain() == Counts{1});
  REQUIRE(client.set_irqs(kMsix, kNone, 0, 0) == 0);
  CHECK(client.set_irqs(kMsi, kEventfd, 0, 1, fds.range(0, 1)) == 0);
}

TEST_CASE("ranges that are not there, flags that are none and descriptors that do not fit are refused") {
  Guest guest;  // 4 vectors
  RawClient& client = *guest.client;
  const Eventfds fds(5);
  CHECK(client.set_irqs(kMsix, kEventfd, 0, 5, fds.range(0, 5)) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, 4, 1, fds.range(0, 1)) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, ~0u, 2, fds.range(0, 2)) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, 1, ~0u, fds.range(0, 1)) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, 0, 3, fds.range(0, 2)) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, 0, 1, fds.range(0, 2)) == EINVAL);
  CHECK(client.set_irqs(kIntx, kEventfd, 0, 1, fds.range(0, 1)) == EINVAL);
  CHECK(client.set_irqs(5, kNone, 0, 0) == EINVAL);
  CHECK(client.set_irqs(~0u, kNone, 0, 0) == EINVAL);
  CHECK(client.set_irqs(kMsix, kTrigger, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsix, kNone | kBool, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsix, VFIO_IRQ_SET_DATA_NONE, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsix, kNone | 1u << 6, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsix, kNone | VFIO_IRQ_SET_ACTION_MASK, 0, 1) == EINVAL);
  CHECK(client.set_irqs(kMsix, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, 0, 1) == EOPNOTSUPP);
  CHECK(client.set_irqs(kMsix, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1) == EOPNOTSUPP);
  CHECK(client.set_irqs(kMsix, kBool, 0, 2, {}, {std::byte{1}}) == EINVAL);
  CHECK(client.refusal(Command::device_set_irqs, std::vector<std::byte>(19)) == EINVAL);
  const vfio::FileDescriptor file(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(client.set_irqs(kMsix, kEventfd, 0, 1, {file.get()}) == EINVAL);
  CHECK(client.set_irqs(kMsix, kEventfd, 0, 2) == 0);    // takes off what is not there
  CHECK(client.set_irqs(kMsix, kNone, 0, 1) == EINVAL);  // so nothing is installed by all this
  CHECK(guest.served);
}

TEST_CASE("an eventfd that is full does not stop a trigger, and the client's interrupts end with it") {
  Guest guest;
  RawClient& client = *guest.client;
  const Eventfds fds(1);
  REQUIRE(client.set_irqs(kMsix, kEventfd, 0, 1, fds.range(0, 1)) == 0);
  const std::uint64_t full = ~0ull - 1;
  REQUIRE(fcntl(fds.list[0].fd(), F_SETFL, 0) == 0);  // a write would wait
  REQUIRE(write(fds.list[0].fd(), &full, sizeof full) == sizeof full);
  CHECK(client.set_irqs(kMsix, kNone, 0, 1) == 0);
  CHECK(fds.drain() == Counts{full});

  guest.connect();
  REQUIRE_FALSE(guest.client->agree().header.is_error());
  CHECK(guest.client->set_irqs(kMsix, kNone, 0, 1) == EINVAL);
  SharedFile memory(4 * kPage);
  guest.client->bring_up(memory);
  guest.client->identify();
  CHECK(guest.client->answered());
  REQUIRE(fcntl(fds.list[0].fd(), F_SETFL, O_NONBLOCK) == 0);
  CHECK(fds.drain() == Counts{0});
}

}  // namespace
}  // namespace pollux::softnvme
