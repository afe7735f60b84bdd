// Fields of commands that only a controller reads, beside those of driver/spec. NVMe base 2.0c and NVM command
// set 1.0c, sections at each.
#pragma once

#include <cstdint>

#include "pollux/driver/spec/field.hpp"

namespace pollux::softnvme {

using nvme::Field;

// CDW0 bits that no command defines, figure 88.
inline constexpr Field kCdw0Reserved{10, 4};

// Get Log Page, 5.16: LSP in CDW10, LSI in CDW11, the offset type in CDW14.
inline constexpr Field kLogSpecific{8, 7};
inline constexpr Field kLogOffsetType{23, 1};

// Get Features SEL, 5.15.
enum class FeatureSelect : std::uint8_t { current = 0, defaults = 1, saved = 2, capabilities = 3 };

// Supported capabilities, figure 194: bit 2 changeable, bit 1 namespace specific, bit 0 saveable.
inline constexpr std::uint32_t kFeatureChangeable = 1u << 2;

// Temperature Threshold, 5.27.1.3, CDW11.
inline constexpr Field kTmpth{0, 16};
inline constexpr Field kTmpsel{16, 4};
inline constexpr Field kThsel{20, 2};

// Host Memory Buffer, 5.27.1.10, CDW11.
inline constexpr Field kEhm{0, 1};

struct HmbDescriptor {
  std::uint64_t address;
  std::uint32_t pages;  // of CC.MPS
  std::uint32_t reserved;
};
static_assert(sizeof(HmbDescriptor) == 16);

struct HmbAttributes {
  std::uint32_t hsize;
  std::uint32_t hmdlal;
  std::uint32_t hmdlau;
  std::uint32_t hmdlec;
  std::uint8_t reserved[4080];
};
static_assert(sizeof(HmbAttributes) == 4096);

// Asynchronous events, 5.2.1: the completion's dword 0 is type, information in bits 15:8, log page in bits 23:16.
enum class EventType : std::uint8_t { error = 0, smart = 1, notice = 2 };

// Commands Supported and Effects, 5.16.1.6.
inline constexpr std::uint32_t kCommandSupported = 1u << 0;
inline constexpr std::uint32_t kContentChange = 1u << 1;

// Log pages beside those that driver/spec names.
inline constexpr std::uint8_t kLidFeatureEffects = 0x12;

}  // namespace pollux::softnvme
