#include "pollux/vfio/user/pci_function.hpp"

#include <bit>

#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::vfio::user {
namespace {

// Bits of a 16-bit register: those of `mask` become those of `value`. What is so already is not written.
Result<void> change(Device& device, std::uint64_t offset, std::uint16_t mask, std::uint16_t value) {
  const auto now = read_config16(device, offset);
  if (!now) return std::unexpected(now.error());
  const auto wanted = static_cast<std::uint16_t>((*now & ~mask) | value);
  return wanted == *now ? Result<void>() : write_config16(device, offset, wanted);
}

// The same in a capability, where the function has it.
Result<void> change_in(Device& device, std::uint16_t id, std::uint64_t offset, std::uint16_t mask,
                       std::uint16_t value) {
  const auto capability = find_capability(device, id);
  if (!capability) return std::unexpected(capability.error());
  return *capability == 0 ? Result<void>() : change(device, *capability + offset, mask, value);
}

}  // namespace

Result<void> hand_over(Device& device) {
  constexpr std::uint16_t kWanted = pci::kCommandMemorySpace | pci::kCommandInterruptDisable;
  if (auto awake = change_in(device, pci::kCapabilityPower, pci::kPowerControl, pci::kPowerStateMask, 0); !awake)
    return awake;
  if (auto set = change(device, pci::kCommand, kWanted, kWanted); !set) return set;
  if (auto off = enable_interrupts(device, InterruptIndex::msi, 0); !off) return off;
  return enable_interrupts(device, InterruptIndex::msix, 0);
}

Result<void> enable_interrupts(Device& device, InterruptIndex kind, std::size_t vectors) {
  const bool on = vectors != 0;
  if (kind == InterruptIndex::intx) {
    constexpr std::uint16_t kDisable = pci::kCommandInterruptDisable;
    return change(device, pci::kCommand, kDisable, on ? 0 : kDisable);
  }
  if (kind == InterruptIndex::msix) {
    constexpr std::uint16_t kBoth = pci::kMsixEnable | pci::kMsixFunctionMask;
    return change_in(device, pci::kCapabilityMsix, pci::kMessageControl, kBoth, on ? pci::kMsixEnable : 0);
  }
  if (kind == InterruptIndex::msi) {
    const auto messages = static_cast<unsigned>(on ? std::countr_zero(std::bit_ceil(vectors)) : 0);
    const unsigned value = on ? pci::kMsiEnable | messages << pci::kMsiMessagesShift : 0;
    return change_in(device, pci::kCapabilityMsi, pci::kMessageControl, pci::kMsiEnable | pci::kMsiMessagesMask,
                     static_cast<std::uint16_t>(value));
  }
  return {};
}

}  // namespace pollux::vfio::user
