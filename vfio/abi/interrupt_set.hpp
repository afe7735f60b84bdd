// The argument of VFIO_DEVICE_SET_IRQS, packed, and its answer read. Apart from the call, so that both can be tested
// without a device. Source: linux/vfio.h, struct vfio_irq_set; the kernel's vfio_pci_set_msi_trigger().
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// Whether what Device::set_interrupts() was given fits a device with this `info`. `target` names the device in errors:
// it has no such interrupts, or takes no eventfds for them; more eventfds than vectors; a negative fd other than −1.
Result<void> check_eventfds(std::string_view target, InterruptIndex index, const InterruptInfo& info,
                            std::span<const int> eventfds);

// The bytes of a vfio_irq_set that installs `eventfds` from vector 0 on; with none, one that turns the interrupts off.
std::vector<std::byte> pack_interrupt_set(InterruptIndex index, std::span<const int> eventfds);

// The bytes of one that does `action` (VFIO_IRQ_SET_ACTION_…) to `count` vectors from 0 on and carries nothing else.
std::vector<std::byte> pack_interrupt_action(InterruptIndex index, std::uint32_t action, std::uint32_t count);

// What the call returned, and errno if that was −1. More than 0 is a refusal too: so many vectors the kernel has.
Result<void> interrupt_set_result(std::string_view target, InterruptIndex index, std::size_t eventfds, int returned,
                                  int os_error);

}  // namespace pollux::vfio
