#include "pollux/tools/softnvme/config_space.hpp"

#include <bit>
#include <cstring>

#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::softnvme {
namespace {

// The header.
constexpr std::size_t kCommand = 0x04;
constexpr std::uint8_t kMemorySpace = 1u << 1;
constexpr std::uint8_t kBusMaster = 1u << 2;
constexpr std::uint8_t kInterruptDisable = 1u << 2;  // of the register's upper byte: bit 10
constexpr std::uint32_t kCommandWritable = 0x0546;   // memory space, bus master, parity, SERR#, interrupt disable
constexpr std::uint32_t kStatusCapabilities = 0x0010;
constexpr std::uint32_t kClassNvme = 0x010802;
constexpr std::uint32_t kBarMemory64 = 0x4;

// The capabilities, one behind the other.
constexpr std::size_t kPm = 0x40;
constexpr std::size_t kPowerState = kPm + 4;
constexpr std::uint8_t kPowerStateMask = 0x03;
constexpr std::uint8_t kD0 = 0;
constexpr std::uint8_t kD3hot = 3;
constexpr std::size_t kMsix = 0x50;
constexpr std::size_t kMsixControl = kMsix + 3;  // the upper byte of Message Control
constexpr std::uint8_t kMsixEnable = 1u << 7;
constexpr std::uint8_t kMsixFunctionMask = 1u << 6;
constexpr std::size_t kPcie = 0x60;
constexpr std::size_t kMsi = 0xa0;
constexpr std::size_t kMsiControl = kMsi + 2;
constexpr std::uint8_t kMsiEnable = 1u << 0;
constexpr std::size_t kDeviceControl = kPcie + 8;
constexpr std::uint32_t kMsi64Bit = 1u << 7;
constexpr std::uint32_t kFlrCapable = 1u << 28;
constexpr std::uint16_t kInitiateFlr = 1u << 15;

}  // namespace

ConfigSpace::ConfigSpace(std::uint32_t vectors) {
  put(0x00, kVendorId | std::uint32_t{kDeviceId} << 16, 4);
  put(kCommand, kMemorySpace, 2, kCommandWritable);  // bus master is off, as the kernel hands a function over
  put(0x06, kStatusCapabilities, 2);
  put(0x08, kClassNvme << 8 | 0x01, 4);  // revision 1
  put(0x0c, 0, 1, 0xff);                 // cache line size
  put(0x10, kBarMemory64, 4, ~(kBar0Bytes - 1));
  put(0x14, 0, 4, 0xffff'ffff);
  put(0x2c, kVendorId | std::uint32_t{kDeviceId} << 16, 4);
  put(0x34, kPm, 1);
  put(0x3c, 0, 1, 0xff);  // interrupt line
  // The interrupt pin stays 0: there is no INTx.

  put(kPm, 0x01 | kMsix << 8 | 0x0003u << 16, 4);      // version 3
  put(kPowerState, 0x0008 | kD0, 4, kPowerStateMask);  // no soft reset: nothing is forgotten in D3hot

  put(kMsix, 0x11 | kPcie << 8 | (vectors - 1) << 16, 4, 0xc000'0000);  // enable, function mask
  put(kMsix + 4, kMsixTableOffset, 4);
  put(kMsix + 8, kMsixPendingOffset, 4);

  put(kPcie, 0x10 | kMsi << 8 | 0x0002u << 16, 4);  // endpoint, version 2
  put(kPcie + 4, kFlrCapable | 0x8000 | 0x1, 4);    // role-based errors, 256-byte payloads
  put(kDeviceControl, 0x2810, 2, 0x7fff);
  put(kPcie + 0x0c, 0x0043'f843, 4);  // link: x4, 8 GT/s
  put(kPcie + 0x10, 0, 2, 0x01ff);
  put(kPcie + 0x12, 0x1043, 2);
  put(kPcie + 0x2c, 0x0e, 4);  // 2.5 to 8 GT/s

  // The last capability. Multiple Message Capable; enable and Multiple Message Enable may be written.
  const auto messages = static_cast<std::uint32_t>(std::countr_zero(msi_vectors(vectors)));
  put(kMsi, 0x05 | (kMsi64Bit | messages << 1) << 16, 4, 0x0071'0000);
  put(kMsi + 4, 0, 4, 0xffff'fffc);  // address
  put(kMsi + 8, 0, 4, 0xffff'ffff);
  put(kMsi + 12, 0, 2, 0xffff);  // data
}

void ConfigSpace::put(std::size_t offset, std::uint32_t value, unsigned bytes, std::uint32_t writable) {
  std::memcpy(&bytes_[offset], &value, bytes);
  std::memcpy(&writable_[offset], &writable, bytes);
}

void ConfigSpace::read(std::uint64_t offset, std::span<std::byte> into) const {
  std::memcpy(into.data(), &bytes_[offset], into.size());
}

bool ConfigSpace::write(std::uint64_t offset, std::span<const std::byte> from) {
  bool reset = false;
  const std::uint8_t state_before = power_state();
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto value = static_cast<std::uint8_t>(from[i]);
    const std::uint8_t mask = writable_[offset + i];
    bytes_[offset + i] = static_cast<std::uint8_t>((bytes_[offset + i] & ~mask) | (value & mask));
    if (offset + i == kDeviceControl + 1 && (value & kInitiateFlr >> 8) != 0) reset = true;
  }
  if (reset) {
    set_power_state(kD0);
  } else if (power_state() != kD0 && power_state() != kD3hot) {
    set_power_state(state_before);  // the optional states: the write is discarded (7.5.2.2)
  }
  return reset;
}

std::uint8_t ConfigSpace::power_state() const { return bytes_[kPowerState] & kPowerStateMask; }

void ConfigSpace::set_power_state(std::uint8_t state) {
  bytes_[kPowerState] = static_cast<std::uint8_t>((bytes_[kPowerState] & ~kPowerStateMask) | state);
}

bool ConfigSpace::interrupts_enabled(vfio::InterruptIndex kind) const {
  if (kind == vfio::InterruptIndex::msix) return (bytes_[kMsixControl] & kMsixEnable) != 0;
  if (kind == vfio::InterruptIndex::msi) return (bytes_[kMsiControl] & kMsiEnable) != 0;
  return (bytes_[kCommand + 1] & kInterruptDisable) == 0;
}

bool ConfigSpace::msix_masked() const { return (bytes_[kMsixControl] & kMsixFunctionMask) != 0; }

void ConfigSpace::enable_interrupts(vfio::InterruptIndex kind, bool on) {
  const auto set = [&](std::size_t offset, std::uint8_t bit, bool value) {
    bytes_[offset] = static_cast<std::uint8_t>(value ? bytes_[offset] | bit : bytes_[offset] & ~bit);
  };
  if (kind == vfio::InterruptIndex::msix) set(kMsixControl, kMsixEnable, on);
  if (kind == vfio::InterruptIndex::msi) set(kMsiControl, kMsiEnable, on);
  if (kind == vfio::InterruptIndex::intx) set(kCommand + 1, kInterruptDisable, !on);
}

bool ConfigSpace::bus_master() const { return power_state() == kD0 && (bytes_[kCommand] & kBusMaster) != 0; }
bool ConfigSpace::memory_space() const { return power_state() == kD0 && (bytes_[kCommand] & kMemorySpace) != 0; }

}  // namespace pollux::softnvme
