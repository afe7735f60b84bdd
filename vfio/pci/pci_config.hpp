// The config space of a Device, typed: ids, the command register, the standard and the extended capability list.
// Every access is a call on the Device: nothing is remembered. The device writes the lists, so each walk visits an
// offset once at most. Source: PCI Local Bus 3.0, 6.1 and 6.7; PCI Express Base 3.0, 7.9.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

namespace pci {
inline constexpr std::uint64_t kVendor = 0x00;
inline constexpr std::uint64_t kDevice = 0x02;
inline constexpr std::uint64_t kCommand = 0x04;
inline constexpr std::uint64_t kStatus = 0x06;
inline constexpr std::uint64_t kRevision = 0x08;  // and the class code in the 24 bits above
inline constexpr std::uint64_t kSubsystemVendor = 0x2c;
inline constexpr std::uint64_t kSubsystem = 0x2e;
inline constexpr std::uint64_t kCapabilities = 0x34;
inline constexpr std::uint64_t kExtendedCapabilities = 0x100;

inline constexpr std::uint16_t kCommandMemorySpace = 1u << 1;
inline constexpr std::uint16_t kCommandBusMaster = 1u << 2;
inline constexpr std::uint16_t kCommandInterruptDisable = 1u << 10;  // of INTx
inline constexpr std::uint16_t kStatusCapabilities = 1u << 4;

inline constexpr std::uint16_t kCapabilityPower = 0x01;  // power management; its PMCSR (PCI PM 1.2, 3.2.4):
inline constexpr std::uint16_t kPowerControl = 4;
inline constexpr std::uint8_t kPowerStateMask = 3;
inline constexpr std::uint8_t kPowerStateD3 = 3;
inline constexpr std::uint16_t kCapabilityMsi = 0x05;
inline constexpr std::uint16_t kCapabilityMsix = 0x11;
inline constexpr std::uint16_t kMessageControl = 2;  // of either (PCI Local Bus 3.0, 6.8.1.3 and 6.8.2.3)
inline constexpr std::uint16_t kMsiEnable = 1u << 0;
inline constexpr std::uint16_t kMsiMessagesShift = 4;  // Multiple Message Enable: a power of two
inline constexpr std::uint16_t kMsiMessagesMask = 7u << kMsiMessagesShift;
inline constexpr std::uint16_t kMsixEnable = 1u << 15;
inline constexpr std::uint16_t kMsixFunctionMask = 1u << 14;
}  // namespace pci

struct PciIds {
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint16_t subsystem_vendor = 0;
  std::uint16_t subsystem = 0;
  std::uint32_t class_code = 0;  // 24 bits
  std::uint8_t revision = 0;
};

struct PciCapability {
  std::uint16_t id;
  std::uint8_t version;  // extended capabilities have one, standard ones 0
  std::uint16_t offset;
  bool extended;
};

// One register of config space, little-endian. Errors: outside of the device's config space, the device's own.
Result<std::uint8_t> read_config8(Device& device, std::uint64_t offset);
Result<std::uint16_t> read_config16(Device& device, std::uint64_t offset);
Result<std::uint32_t> read_config32(Device& device, std::uint64_t offset);
Result<void> write_config16(Device& device, std::uint64_t offset, std::uint16_t value);

// Error: the function does not answer (all ones).
Result<PciIds> read_ids(Device& device);

// Both lists, in the order of their walk. Errors: a list that leads outside of config space, or back to itself.
Result<std::vector<PciCapability>> read_capabilities(Device& device);

// Where the standard capability of this id lies; 0: there is none. Errors: as of read_capabilities().
Result<std::uint16_t> find_capability(Device& device, std::uint16_t id);

// The specification's name of a capability, or "unknown".
std::string_view name_of(const PciCapability& capability);

// Bus Master Enable: without it the device's DMA, and with it every command, goes nowhere. Reads back what it wrote.
// Error: the bit does not hold.
Result<void> set_bus_master(Device& device, bool on);
Result<bool> bus_master(Device& device);

}  // namespace pollux::vfio
