// What a client asks of the device before it uses it: DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO.
// Errors carry the errno that the reply wants. Source: the specification, and the structures of linux/vfio.h.
#pragma once

#include <cstddef>
#include <span>

#include "pollux/tools/softnvme/device.hpp"
#include "pollux/tools/softnvme/server/session.hpp"

namespace pollux::softnvme::server {

Result<Reply> device_information(std::span<const std::byte> payload);

// With the areas that can be mapped, and the file to map, where the client has room for them (argsz); else with the
// size that it needs, and neither.
Result<Reply> region_information(SoftDeviceThread& device, std::span<const std::byte> payload);

Result<Reply> interrupt_information(vfio::Device& device, std::span<const std::byte> payload);

}  // namespace pollux::softnvme::server
