// PCI configuration space of the software controller: 4 KiB with a type 0 header and the capabilities PM, MSI, MSI-X
// and PCI Express. What a real function lets the host write, it may write. PCI Local Bus 3.0, 6.1 and 6.8; PCI Express
// base 4.0, 7.5; identity: NVMe over PCIe transport 1.0c, 3.8.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pollux/vfio/device.hpp"

namespace pollux::softnvme {

inline constexpr std::size_t kConfigSpaceBytes = 4096;
inline constexpr std::uint32_t kBar0Bytes = 16 * 1024;  // registers, doorbells, MSI-X table, pending bits: a page each
inline constexpr std::uint32_t kMsixTableOffset = 0x2000;
inline constexpr std::uint32_t kMsixPendingOffset = 0x3000;

// Of a function with so many MSI-X vectors. MSI asks for a power of two, and for 32 at most (PCI Local
// Bus 3.0, 6.8.1.3).
constexpr std::uint32_t msi_vectors(std::uint32_t vectors) { return std::min(std::bit_ceil(vectors), 32u); }

class ConfigSpace {
 public:
  // `vectors`: MSI-X vectors, at least 1.
  explicit ConfigSpace(std::uint32_t vectors);

  // The range lies in the space.
  void read(std::uint64_t offset, std::span<std::byte> into) const;
  // True: the write asked for a function level reset.
  bool write(std::uint64_t offset, std::span<const std::byte> from);

  // Neither in D3hot: there a function answers configuration requests alone, and makes none (PCI Express base 4.0,
  // 5.3.1.4.1).
  bool bus_master() const;
  bool memory_space() const;

  // Whether interrupts of a kind leave the function: MSI-X Enable, MSI Enable, Interrupt Disable clear. Of INTx only
  // the bit is told: there is no pin. MSI-X may be on and masked as a whole, and then its interrupts stay pending.
  bool interrupts_enabled(vfio::InterruptIndex kind) const;
  bool msix_masked() const;
  // As a host does who installs or removes a kind of interrupt: the bit that interrupts_enabled() looks at.
  void enable_interrupts(vfio::InterruptIndex kind, bool on);

 private:
  std::uint8_t power_state() const;
  void set_power_state(std::uint8_t state);
  void put(std::size_t offset, std::uint32_t value, unsigned bytes, std::uint32_t writable = 0);

  std::array<std::uint8_t, kConfigSpaceBytes> bytes_{};
  std::array<std::uint8_t, kConfigSpaceBytes> writable_{};  // a bit that the host may change is set
};

}  // namespace pollux::softnvme
