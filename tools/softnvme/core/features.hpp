// The features' current values. Nothing is saveable: a reset brings every default back. NVMe base 2.0c, 5.27.1; NVM
// command set 1.0c, 4.1.3.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/core/fields.hpp"

namespace pollux::softnvme {

struct Features {
  static constexpr std::uint16_t kDefaultOverKelvin = 343;  // WCTEMP

  explicit Features(const Config& config)
      : volatile_write_cache(config.volatile_write_cache ? 1 : 0),
        granted_sqs(config.io_queues),
        granted_cqs(config.io_queues),
        coalescing_disabled(config.interrupt_vectors, false) {}

  std::uint32_t arbitration = 0;
  std::uint32_t power_management = 0;
  std::uint16_t over_kelvin = kDefaultOverKelvin;
  std::uint16_t under_kelvin = 0;
  std::uint32_t error_recovery = 0;
  std::uint32_t volatile_write_cache;  // enabled
  std::uint32_t granted_sqs;           // I/O submission queues, and completion queues
  std::uint32_t granted_cqs;
  std::uint32_t interrupt_coalescing = 0;
  std::vector<bool> coalescing_disabled;  // a vector each
  std::uint32_t write_atomicity = 0;
  std::uint32_t async_event_configuration = 0;
  bool hmb_enabled = false;
  HmbAttributes hmb{};

  // SMART's critical warning for a temperature.
  static constexpr std::uint8_t kTemperatureWarning = 1u << 1;
  std::uint8_t critical_warning(std::uint16_t kelvin) const {
    return kelvin >= over_kelvin || kelvin <= under_kelvin ? kTemperatureWarning : 0;
  }
};

}  // namespace pollux::softnvme
