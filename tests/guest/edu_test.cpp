// Interrupts of a function that has MSI: QEMU's "edu" device, since its NVMe has none. POLLUX_TEST_DEVICE names it.
// Source: QEMU, docs/specs/edu.rst (registers 60h, raise, and 64h, acknowledge).
#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>

#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/eventfd.hpp"
#include "pollux/vfio/kernel/kernel.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::vfio {
namespace {

constexpr std::uint64_t kRaise = 0x60, kAcknowledge = 0x64;
constexpr std::uint64_t kQuickNs = 5000 * kNsPerMs, kQuietNs = 100 * kNsPerMs;

struct Edu {
  Edu() {
    const char* const text = std::getenv("POLLUX_TEST_DEVICE");
    REQUIRE(text != nullptr);
    const auto address = Address::parse(text);
    REQUIRE(address);
    for (const Scheme& scheme : kernel_schemes()) {
      if (scheme.name != address->scheme) continue;
      auto made = scheme.make_space(*address);
      if (!made) FAIL(made.error().message());
      space = std::move(*made);
    }
    REQUIRE(space);
    auto attached = space->attach(*address);
    if (!attached) FAIL(attached.error().message());
    device = std::move(*attached);
    REQUIRE(set_bus_master(*device, true));  // an MSI is a write to memory
  }

  void put(std::uint64_t offset, std::uint32_t value) {
    REQUIRE(device->write(RegionIndex::bar0, offset, std::as_bytes(std::span(&value, 1))));
  }
  void raise() {
    put(kRaise, 1);
    put(kAcknowledge, 1);
  }

  std::unique_ptr<IoAddressSpace> space;
  std::unique_ptr<Device> device;
  Eventfd eventfd = *Eventfd::create();
  const int fds[1] = {eventfd.fd()};
};

}  // namespace

TEST_CASE_METHOD(Edu, "MSI signals its eventfd each time, needs no unmasking, and excludes INTx", "[edu]") {
  const auto info = device->interrupt_info(InterruptIndex::msi);
  REQUIRE(info);
  REQUIRE(info->count >= 1);
  REQUIRE(device->set_interrupts(InterruptIndex::msi, fds));
  for (int i = 0; i < 3; ++i) {
    raise();
    REQUIRE(eventfd.wait(kQuickNs));
    eventfd.drain();
  }
  CHECK_FALSE(device->set_interrupts(InterruptIndex::intx, fds));
  REQUIRE(device->trigger_interrupts(InterruptIndex::msi));
  CHECK(eventfd.drain() == 1);
  REQUIRE(device->set_interrupts(InterruptIndex::msi, {}));
  raise();
  CHECK_FALSE(eventfd.wait(kQuietNs));
}

TEST_CASE_METHOD(Edu, "INTx is masked with each interrupt and comes again once it is unmasked", "[edu]") {
  REQUIRE(device->set_interrupts(InterruptIndex::intx, fds));
  put(kRaise, 1);
  REQUIRE(eventfd.wait(kQuickNs));
  put(kAcknowledge, 1);  // not earlier: a line that has fallen again by the time the kernel looks was never raised
  eventfd.drain();
  put(kRaise, 1);
  CHECK_FALSE(eventfd.wait(kQuietNs));
  REQUIRE(device->unmask_interrupt(InterruptIndex::intx));
  CHECK(eventfd.wait(kQuickNs));  // the line is still raised
  put(kAcknowledge, 1);
}

}  // namespace pollux::vfio
