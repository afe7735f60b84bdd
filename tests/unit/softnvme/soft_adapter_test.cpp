// The adapter: a soft: device through vfio::Device and vfio::IoAddressSpace alone, its controller on a thread of its
// own. What the host shares with that thread goes through the doorbell page and DMA memory, so this runs under
// ThreadSanitizer too.
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/softnvme.hpp"
#include "pollux/tools/softnvme/device.hpp"
#include "pollux/tools/softnvme/space.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/eventfd.hpp"

namespace pollux::softnvme {
namespace {

using vfio::RegionIndex;
namespace reg = nvme::reg;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWaitNs = 20'000'000'000;
constexpr std::uint64_t kIova = 0x10'0000;
constexpr std::uint64_t kPages = 16;

vfio::Address soft_address(std::string target) { return {"soft:" + target, "soft", std::move(target), std::nullopt}; }

// An attached device with memory mapped for it, as a program has it.
struct Host {
  std::unique_ptr<vfio::IoAddressSpace> space;
  std::unique_ptr<vfio::Device> device;
  std::byte* memory = static_cast<std::byte*>(std::aligned_alloc(kPage, kPages* kPage));
  vfio::MappedArea doorbells;
  std::uint32_t sq_tail = 0;
  std::uint32_t cq_head = 0;

  explicit Host(const std::string& target = "size=1MiB") {
    std::memset(memory, 0, kPages * kPage);
    auto made = scheme().make_space(soft_address(target));
    REQUIRE(made);
    space = std::move(*made);
    auto attached = space->attach(soft_address(target));
    REQUIRE(attached);
    device = std::move(*attached);
    REQUIRE(space->map({memory, kIova, kPages * kPage}));
    auto area = device->map(RegionIndex::bar0, {reg::kDoorbells, kPage});
    REQUIRE(area);
    doorbells = std::move(*area);
  }
  ~Host() {
    doorbells = {};
    device.reset();
    std::free(memory);
  }

  std::uint64_t get(std::uint32_t offset, std::size_t bytes = 4, RegionIndex region = RegionIndex::bar0) {
    std::uint64_t value = 0;
    REQUIRE(device->read(region, offset, std::as_writable_bytes(std::span(&value, 1)).first(bytes)));
    return value;
  }
  void put(std::uint32_t offset, std::uint64_t value, std::size_t bytes = 4, RegionIndex region = RegionIndex::bar0) {
    REQUIRE(device->write(region, offset, std::as_bytes(std::span(&value, 1)).first(bytes)));
  }
  void set_bus_master(bool on) { put(4, on ? 6 : 2, 2, RegionIndex::config); }

  template <typename Done>
  bool wait(Done&& done) {
    const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
    while (!done()) {
      if (steady_clock().now_ns() > end_ns) return false;
      std::this_thread::yield();
    }
    return true;
  }

  // Admin queues of 16 entries in pages 0 and 1.
  void enable() {
    put(reg::kAqa, 0x000f'000f);
    put(reg::kAsq, kIova, 8);
    put(reg::kAcq, kIova + kPage, 8);
    put(reg::kCc, 1 | 6u << 16 | 4u << 20);
    REQUIRE(wait([&] { return nvme::csts::kRdy.of(get(reg::kCsts)) == 1; }));
  }

  void submit(nvme::Command command) {
    command.cdw0 |= sq_tail << 16;  // the slot as CID: no slot is used twice while a command is outstanding
    std::memcpy(memory + sq_tail * sizeof command, &command, sizeof command);
    sq_tail = (sq_tail + 1) % 16;
    ring(0, sq_tail);
  }
  void ring(std::uint32_t word, std::uint32_t value) {
    auto* words = reinterpret_cast<volatile std::uint32_t*>(doorbells.address());
    __atomic_store_n(words + word, value, __ATOMIC_RELEASE);
  }
  bool answered() const {
    auto* entry = reinterpret_cast<nvme::Completion*>(memory + kPage) + cq_head;
    return nvme::cqe::kPhase.of(__atomic_load_n(&entry->tail, __ATOMIC_ACQUIRE)) == 1;
  }
  // Identify Controller into page 2.
  static nvme::Command identify() {
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::identify);
    command.prp1 = kIova + 2 * kPage;
    command.cdw10 = 1;
    return command;
  }
};

TEST_CASE("soft: comes up through the seam alone, and answers a command by its mapped doorbell") {
  Host host("");
  host.set_bus_master(true);
  host.enable();
  host.submit(Host::identify());
  REQUIRE(host.wait([&] { return host.answered(); }));
  std::uint16_t vendor = 0;
  std::memcpy(&vendor, host.memory + 2 * kPage, sizeof vendor);
  CHECK(vendor == 0x1cc1);
  CHECK(soft_device(*host.device)->violation_count() == 0);
}

TEST_CASE("with bus master off RDY rises, and the command is answered only after it was switched on") {
  Host host;
  host.enable();
  host.submit(Host::identify());
  steady_clock().pause_ns(20'000'000);
  CHECK_FALSE(host.answered());
  host.set_bus_master(true);
  CHECK(host.wait([&] { return host.answered(); }));
}

TEST_CASE("an idle device costs little, and answers soon after a long nap") {
  Host host;
  host.set_bus_master(true);
  host.enable();
  steady_clock().pause_ns(100'000'000);  // it has gone to sleep by now
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  steady_clock().pause_ns(500'000'000);
  getrusage(RUSAGE_SELF, &after);
  const auto used_us = [](const rusage& r) {
    return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1'000'000l + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
  };
  CHECK(used_us(after) - used_us(before) < 100'000);  // a fifth of one processor, sanitizers included
  host.submit(Host::identify());
  CHECK(host.wait([&] { return host.answered(); }));
}

TEST_CASE("only the doorbells can be mapped; registers are reached by call") {
  Host host;
  const auto info = host.device->region_info(RegionIndex::bar0);
  REQUIRE(info);
  CHECK(info->size_bytes == 16384);
  REQUIRE(info->mappable.size() == 1);
  CHECK(info->mappable[0] == vfio::RegionArea{0x1000, 0x1000});
  CHECK_FALSE(host.device->map(RegionIndex::bar0, {0, 0x1000}));
  CHECK_FALSE(host.device->map(RegionIndex::config, {0, 0x1000}));
  CHECK(host.device->region_info(RegionIndex::config)->size_bytes == 4096);
  CHECK(host.device->region_info(RegionIndex::bar2)->size_bytes == 0);
  CHECK(host.device->region_info(RegionIndex::bar2)->mappable.empty());
}

TEST_CASE("registers are read in any width, and an access outside a region is refused") {
  Host host;
  CHECK(host.get(reg::kVs) == 0x0002'0000);
  CHECK(host.get(reg::kVs + 2, 2) == 0x0002);
  std::vector<std::byte> dump(0x48);
  REQUIRE(host.device->read(RegionIndex::bar0, 0, dump));
  std::uint64_t cap = 0;
  std::memcpy(&cap, dump.data(), sizeof cap);
  CHECK(cap == host.get(reg::kCap, 8));
  CHECK(soft_device(*host.device)->violation_count() == 0);
  std::uint32_t word = 0;
  const auto bytes = std::as_writable_bytes(std::span(&word, 1));
  CHECK_FALSE(host.device->read(RegionIndex::bar0, 16384, bytes));
  CHECK_FALSE(host.device->read(RegionIndex::bar0, 16382, bytes));
  CHECK_FALSE(host.device->read(RegionIndex::config, 4094, bytes));
  CHECK_FALSE(host.device->read(RegionIndex::bar1, 0, bytes));
  CHECK_FALSE(host.device->write(RegionIndex::rom, 0, bytes));
}

TEST_CASE("with memory space off BAR0 does not answer") {
  Host host;
  host.put(4, 4, 2, RegionIndex::config);
  std::uint32_t word = 0;
  const auto read = host.device->read(RegionIndex::bar0, 0, std::as_writable_bytes(std::span(&word, 1)));
  REQUIRE_FALSE(read);
  CHECK(read.error().os_error == EIO);
}

TEST_CASE("a reset takes the controller down and leaves bus master as it was; so does the bit in config space") {
  Host host;
  host.set_bus_master(true);
  host.enable();
  SECTION("by call") { REQUIRE(host.device->reset()); }
  SECTION("Initiate Function Level Reset") { host.put(0x68, 0xa810, 2, RegionIndex::config); }
  CHECK(host.get(reg::kCsts) == 0);
  CHECK(host.get(reg::kCc) == 0);
  CHECK(host.get(reg::kAqa) == 0);
  CHECK(host.get(4, 2, RegionIndex::config) == 6);
  host.sq_tail = host.cq_head = 0;
  std::memset(host.memory, 0, 2 * kPage);
  host.enable();
  host.submit(Host::identify());
  CHECK(host.wait([&] { return host.answered(); }));
}

TEST_CASE("violations are seen from outside, and can be cleared") {
  Host host;
  host.put(reg::kVs, 1);
  SoftDevice* soft = soft_device(*host.device);
  REQUIRE(soft != nullptr);
  REQUIRE(soft->violation_count() == 1);
  CHECK(soft->violations()[0].rule == Rule::register_read_only);
  soft->clear_violations();
  CHECK(soft->violations().empty());
}

TEST_CASE("mapping and unmapping while the controller works take no long time, and several devices share a space") {
  Host host;
  auto second = host.space->attach(soft_address("size=1MiB"));
  REQUIRE(second);
  host.set_bus_master(true);
  host.enable();
  alignas(4096) static std::byte page[kPage];
  const std::uint64_t start_ns = steady_clock().now_ns();
  for (unsigned i = 0; i < 200; ++i) {
    if (i < 15) host.submit(Host::identify());
    REQUIRE(host.space->map({page, 0x1000'0000, kPage}));
    REQUIRE(host.space->unmap(0x1000'0000, kPage));
  }
  CHECK(steady_clock().now_ns() - start_ns < kWaitNs / 2);
  CHECK(soft_device(*host.device)->violation_count() == 0);
}

TEST_CASE("the space has the ranges, page sizes and limits of an IOMMU, once a device is attached") {
  auto space = *scheme().make_space(soft_address(""));
  CHECK(space->usable_ranges().empty());
  CHECK(space->describe() == "software");
  CHECK_FALSE(space->demands().file_descriptor);
  auto device = space->attach(soft_address(""));
  REQUIRE(device);
  CHECK(space->usable_ranges() == std::vector<vfio::IovaRange>{{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}});
  CHECK(space->page_sizes() == 0x4020'1000);
  CHECK(space->mappings_left() == 65535);
  const auto hole = space->map({reinterpret_cast<void*>(0x1000), 0xfee0'0000, kPage});
  REQUIRE_FALSE(hole);
  CHECK(hole.error().os_error == EINVAL);
}

TEST_CASE("MSI-X has a vector a queue and one for the admin queue, MSI a power of two; INTx is not there") {
  Host host("size=1MiB,queues=3");
  CHECK(host.device->interrupt_info(vfio::InterruptIndex::msix)->count == 4);
  CHECK(host.device->interrupt_info(vfio::InterruptIndex::msix)->eventfd);
  CHECK(host.device->interrupt_info(vfio::InterruptIndex::intx)->count == 0);
  CHECK(host.device->interrupt_info(vfio::InterruptIndex::msi)->count == 4);
  CHECK(Host("size=1MiB,queues=16").device->interrupt_info(vfio::InterruptIndex::msi)->count == 32);
}

TEST_CASE("MSI signals as MSI-X does, and one of the two is installed at a time") {
  Host host;
  host.set_bus_master(true);
  const auto eventfd = *vfio::Eventfd::create();
  const int fds[] = {eventfd.fd()};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msi, fds));
  const auto other = host.device->set_interrupts(vfio::InterruptIndex::msix, fds);
  REQUIRE_FALSE(other);
  CHECK(other.error().os_error == EINVAL);
  CHECK(host.device->set_interrupts(vfio::InterruptIndex::msix, {}));  // and MSI stays
  host.enable();
  host.submit(Host::identify());
  REQUIRE(eventfd.wait(kWaitNs));
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msi, {}));
  CHECK(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
}

TEST_CASE("after a power cycle the function is as at first, and a mapping of the doorbells shows the new page") {
  Host host;
  host.set_bus_master(true);
  const auto eventfd = *vfio::Eventfd::create();
  const int fds[] = {eventfd.fd()};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  host.enable();
  host.submit(Host::identify());
  auto& device = static_cast<SoftDeviceThread&>(*host.device);
  REQUIRE(device.power_cycle());
  CHECK(host.get(reg::kCsts) == 0);
  CHECK(host.get(reg::kAsq, 8) == 0);
  CHECK(host.get(4, 2, RegionIndex::config) == 2);
  CHECK(*reinterpret_cast<volatile std::uint32_t*>(host.doorbells.address()) == 0);
  eventfd.drain();
  host.sq_tail = host.cq_head = 0;
  std::memset(host.memory, 0, 2 * kPage);
  host.set_bus_master(true);
  host.enable();
  host.submit(Host::identify());
  REQUIRE(host.wait([&] { return host.answered(); }));
  CHECK(host.get(reg::kCsts) == 1);  // the thread has ended its step
  CHECK(eventfd.drain() == 0);
  CHECK(device.violation_count() == 0);
}

TEST_CASE("a space has other ranges where its maker wants them, up to the last page below 2^64") {
  SoftSpace space({{0, ~0ull}});
  const auto device = space.attach(soft_address("size=1MiB"));
  REQUIRE(device);
  alignas(4096) static std::byte page[2 * kPage];
  CHECK(space.usable_ranges() == std::vector<vfio::IovaRange>{{0, ~0ull}});
  CHECK(space.map({page, 0xfee0'0000, kPage}));
  CHECK(space.map({page, 0 - kPage, kPage}));
  CHECK_FALSE(space.map({page, 0 - kPage, kPage}));
  CHECK_FALSE(space.map({page, 0 - 2 * kPage, 2 * kPage}));
  CHECK(space.map({page, 0 - 2 * kPage, kPage}));
}

TEST_CASE("an eventfd of vector 0 is signalled by the admin queue until it is taken off, and over a reset") {
  Host host;
  host.set_bus_master(true);
  auto eventfd = *vfio::Eventfd::create();
  const int fds[] = {eventfd.fd(), -1};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  host.enable();
  CHECK(eventfd.drain() == 0);
  host.submit(Host::identify());
  REQUIRE(eventfd.wait(kWaitNs));
  CHECK(host.answered());
  CHECK(eventfd.drain() == 1);

  REQUIRE(host.device->reset());
  host.sq_tail = host.cq_head = 0;
  std::memset(host.memory, 0, 2 * kPage);
  host.enable();
  host.submit(Host::identify());
  REQUIRE(eventfd.wait(kWaitNs));
  CHECK(eventfd.drain() == 1);

  host.cq_head = 1;
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, {}));
  host.submit(Host::identify());
  REQUIRE(host.wait([&] { return host.answered(); }));
  CHECK(host.get(reg::kCsts) == 1);  // the thread has ended its step
  CHECK(eventfd.drain() == 0);
}

TEST_CASE("an interrupt of a vector without an eventfd is pending, and comes when it has one") {
  Host host;
  host.set_bus_master(true);
  int fds[] = {-1};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  host.enable();
  host.submit(Host::identify());
  REQUIRE(host.wait([&] { return host.answered(); }));
  CHECK(host.get(reg::kCsts) == 1);  // the thread has ended its step
  auto eventfd = *vfio::Eventfd::create();
  fds[0] = eventfd.fd();
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  CHECK(eventfd.drain() == 1);
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  CHECK(eventfd.drain() == 0);
}

TEST_CASE("the device keeps an eventfd that its owner has closed, and touches no file that gets the number then") {
  Host host;
  host.set_bus_master(true);
  auto eventfd = std::make_unique<vfio::Eventfd>(*vfio::Eventfd::create());
  const int fds[] = {eventfd->fd()};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, fds));
  host.enable();
  eventfd.reset();
  const auto other = *vfio::Eventfd::create();
  REQUIRE(other.fd() == fds[0]);
  host.submit(Host::identify());
  REQUIRE(host.wait([&] { return host.answered(); }));
  CHECK(host.get(reg::kCsts) == 1);  // the thread has ended its step
  CHECK(other.drain() == 0);
}

TEST_CASE("eventfds that do not fit the device are refused, and the others stay") {
  Host host("size=1MiB,queues=1");
  host.set_bus_master(true);
  const auto eventfd = *vfio::Eventfd::create();
  const int fds[] = {eventfd.fd(), eventfd.fd(), eventfd.fd()};
  REQUIRE(host.device->set_interrupts(vfio::InterruptIndex::msix, std::span(fds).first(2)));
  const auto more = host.device->set_interrupts(vfio::InterruptIndex::msix, fds);
  REQUIRE_FALSE(more);
  CHECK(more.error().message() == "3 eventfds for the MSI-X interrupts of soft:size=1MiB,queues=1: it has 2 vectors");
  CHECK_FALSE(host.device->set_interrupts(vfio::InterruptIndex::intx, std::span(fds).first(1)));
  const int closed[] = {1'000'000};
  const auto no_file = host.device->set_interrupts(vfio::InterruptIndex::msix, closed);
  REQUIRE_FALSE(no_file);
  CHECK(no_file.error().os_error == EBADF);
  CHECK(host.device->set_interrupts(vfio::InterruptIndex::intx, {}));
  host.enable();
  host.submit(Host::identify());
  CHECK(eventfd.wait(kWaitNs));
}

TEST_CASE("an address that cannot be served says why, and leaves no file behind") {
  auto space = *scheme().make_space(soft_address(""));
  const auto wrong = space->attach(soft_address("blok=512"));
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message().find("blok=512") != std::string::npos);
  vfio::Address second = soft_address("size=1MiB");
  second.nsid = 2;
  const auto no_namespace = space->attach(second);
  REQUIRE_FALSE(no_namespace);
  CHECK(no_namespace.error().message().find("there is no namespace 2") != std::string::npos);
}

TEST_CASE("a file keeps its blocks from one device to the next, and is the same drive by its serial number") {
  const std::string path = std::filesystem::temp_directory_path() / ("pollux-soft-" + std::to_string(getpid()));
  std::string serials[2];
  for (std::string& serial : serials) {
    Host host("size=1MiB,file=" + path);
    host.set_bus_master(true);
    host.enable();
    host.submit(Host::identify());
    REQUIRE(host.wait([&] { return host.answered(); }));
    serial.assign(reinterpret_cast<const char*>(host.memory + 2 * kPage + 4), 20);
    CHECK(soft_device(*host.device)->store_error().empty());
  }
  std::filesystem::remove(path);
  CHECK(serials[0] == serials[1]);
  CHECK(serials[0].rfind("PF", 0) == 0);
}

}  // namespace
}  // namespace pollux::softnvme
