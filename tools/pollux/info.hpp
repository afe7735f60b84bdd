// The two halves of `pollux info`: what VFIO and PCI tell of a device, and what the controller tells of itself.
#pragma once

#include "pollux/driver/controller/controller.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::cli {

// In the order in which opening a device meets them: container, group, device, regions, interrupts, DMA, PCI.
Result<void> add_device(Tree& tree, vfio::IoAddressSpace& space, vfio::Device& device);

// Identity, registers, queues and namespaces.
Result<void> add_controller(Tree& tree, nvme::Controller& controller);

}  // namespace pollux::cli
