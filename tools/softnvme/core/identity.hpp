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

// The limits of the NVM command set, small enough for a test to meet them.
inline constexpr std::uint8_t kWzsl = 10;            // Write Zeroes: 2^n units of 4 KiB, 4 MiB
inline constexpr std::uint8_t kDmrl = 16;            // Dataset Management: ranges of a command,
inline constexpr std::uint32_t kDmrsl = 1024;        // blocks of a range
inline constexpr std::uint64_t kDmsl = 12 * kDmrsl;  // and blocks of a command

nvme::IdentifyController identify_controller(const Config& config);
nvme::IdentifyControllerNvm identify_nvm();
nvme::IdentifyNamespace identify_namespace(const NamespaceConfig& ns);

// The NGUID and EUI-64 of a namespace of this controller.
void namespace_ids(const Config& config, std::uint32_t nsid, std::span<std::uint8_t, 16> nguid,
                   std::span<std::uint8_t, 8> eui64);

}  // namespace pollux::softnvme
