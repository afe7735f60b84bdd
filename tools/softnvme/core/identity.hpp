// Who the software controller says it is, and what it offers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "pollux/driver/spec/identify.hpp"
#include "pollux/tools/softnvme/core/config.hpp"

namespace pollux::softnvme {

inline constexpr std::uint16_t kVendorId = 0x1cc1;
inline constexpr std::uint16_t kDeviceId = 0x0021;
inline constexpr char kFirmware[9] = "0.1.0   ";  // 8 characters, padded
inline constexpr std::string_view kModel = "pollux software controller";

inline constexpr std::uint32_t kHmbPreferredUnits = 8192;  // HMPRE, of 4 KiB: 32 MiB
inline constexpr std::uint32_t kHmbMinimumUnits = 256;     // HMMIN: 1 MiB
inline constexpr std::uint16_t kHmbMaxDescriptors = 1024;  // HMMAXD
inline constexpr std::uint8_t kAbortLimit = 3;             // ACL, 0's based

nvme::IdentifyController identify_controller(const Config& config);
nvme::IdentifyNamespace identify_namespace(const NamespaceConfig& ns);

// The NGUID and EUI-64 of a namespace of this controller.
void namespace_ids(const Config& config, std::uint32_t nsid, std::span<std::uint8_t, 16> nguid,
                   std::span<std::uint8_t, 8> eui64);

}  // namespace pollux::softnvme
