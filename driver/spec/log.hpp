// Log pages. NVMe base 2.0c, 5.16.1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/driver/spec/identify.hpp"

namespace pollux::nvme {

// Error Information, LID 01h, figure 206.
struct ErrorLogEntry {
  std::uint64_t error_count;  // 0: the entry is not valid
  std::uint16_t sqid;
  std::uint16_t cid;
  std::uint16_t status;  // phase tag in bit 0
  std::uint16_t parameter_error_location;
  std::uint64_t lba;
  std::uint32_t nsid;
  std::uint8_t vendor_log;
  std::uint8_t trtype;
  std::uint8_t reserved30[2];
  std::uint64_t command_specific;
  std::uint16_t transport_specific;
  std::uint8_t reserved42[22];
};
static_assert(sizeof(ErrorLogEntry) == 64);

// SMART / Health Information, LID 02h, figure 207. Packed for composite_temperature, which lies at an odd offset: copy
// that one, a reference to it would be misaligned.
#pragma pack(push, 1)
struct alignas(8) SmartLog {
  std::uint8_t critical_warning;
  std::uint16_t composite_temperature;  // kelvin
  std::uint8_t available_spare;         // percent
  std::uint8_t available_spare_threshold;
  std::uint8_t percentage_used;
  std::uint8_t endurance_group_critical_warning;
  std::uint8_t reserved7[25];
  Uint128 data_units_read;  // 1000 times 512 bytes
  Uint128 data_units_written;
  Uint128 host_read_commands;
  Uint128 host_write_commands;
  Uint128 controller_busy_time;  // minutes
  Uint128 power_cycles;
  Uint128 power_on_hours;
  Uint128 unsafe_shutdowns;
  Uint128 media_errors;
  Uint128 error_log_entries;
  std::uint32_t warning_temperature_time;  // minutes
  std::uint32_t critical_temperature_time;
  std::uint16_t temperature_sensor[8];
  std::uint32_t thermal_transition_count[2];
  std::uint32_t thermal_total_time[2];
  std::uint8_t reserved232[280];
};
#pragma pack(pop)
static_assert(sizeof(SmartLog) == 512);
static_assert(offsetof(SmartLog, data_units_read) == 32 && offsetof(SmartLog, temperature_sensor) == 200);

// Firmware Slot Information, LID 03h, figure 208.
struct FirmwareLog {
  std::uint8_t afi;
  std::uint8_t reserved1[7];
  char frs[7][8];
  std::uint8_t reserved64[448];
};
static_assert(sizeof(FirmwareLog) == 512);

}  // namespace pollux::nvme
