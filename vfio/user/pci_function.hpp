// What vfio-pci does with config space for its user, and nobody does behind a socket: a server keeps config space over
// its clients, and some raise an interrupt while INTx is not disabled or MSI-X is enabled, wherever that leads.
// Source: the kernel's vfio_pci_core_enable(), vfio_msi_enable() and vfio_intx_enable(); PCI Local Bus 3.0, 6.2.2, 6.8.
#pragma once

#include <cstddef>

#include "pollux/vfio/device.hpp"

namespace pollux::vfio::user {

// Makes of a function, whatever the client before did to it, what vfio-pci hands over: in D0, with memory space on,
// INTx disabled, MSI and MSI-X not enabled. Bus mastering stays as it is. Errors: the device's own, a list of
// capabilities that leads astray.
Result<void> hand_over(Device& device);

// Lets interrupts of this kind leave the function, or stops them: `vectors` are installed, 0: none. To be called when
// their eventfds are there, and before they go. Kinds that config space knows nothing of need nothing.
Result<void> enable_interrupts(Device& device, InterruptIndex kind, std::size_t vectors);

}  // namespace pollux::vfio::user
