// Asynchronous events. NVMe base 2.0c, 5.2 (the request and its completion), 5.27.1.8 (their configuration).
#pragma once

#include <cstdint>

#include "pollux/driver/spec/field.hpp"

namespace pollux::nvme {

// Completion dword 0 of Asynchronous Event Request, figure 146.
namespace async_event {
inline constexpr Field kType{0, 3};
inline constexpr Field kInformation{8, 8};
inline constexpr Field kLid{16, 8};
}  // namespace async_event

// Figure 146.
enum class AsyncEventType : std::uint8_t { error = 0, health = 1, notice = 2, io_command_set = 6, vendor = 7 };

// Information of a notice, figure 149.
enum class Notice : std::uint8_t { namespace_attribute_changed = 0x00, firmware_activation_starting = 0x01 };

// Set Features, Asynchronous Event Configuration, CDW11, figure 328. Identify's OAES offers the notices at the same
// bits.
namespace async_event_configuration {
inline constexpr std::uint32_t kHealth = 0x1f;  // every critical warning that NVMe 1.0 knew
inline constexpr std::uint32_t kNamespaceAttribute = 1u << 8;
inline constexpr std::uint32_t kFirmwareActivation = 1u << 9;
}  // namespace async_event_configuration

}  // namespace pollux::nvme
