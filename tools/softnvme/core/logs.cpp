#include "pollux/tools/softnvme/core/logs.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/tools/softnvme/core/fields.hpp"
#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::softnvme {
namespace {

using nvme::AdminOpcode;
using nvme::FeatureId;
using nvme::IoOpcode;
using nvme::LogId;

constexpr std::uint64_t kNsPerMinute = 60'000'000'000;
constexpr std::uint64_t kNsPerHour = 60 * kNsPerMinute;
constexpr std::uint64_t kDataUnitBytes = 512'000;

constexpr std::uint8_t kPages[] = {
    static_cast<std::uint8_t>(LogId::supported),
    static_cast<std::uint8_t>(LogId::error_information),
    static_cast<std::uint8_t>(LogId::smart),
    static_cast<std::uint8_t>(LogId::firmware_slot),
    static_cast<std::uint8_t>(LogId::changed_ns_list),
    static_cast<std::uint8_t>(LogId::commands_supported),
    kLidFeatureEffects,
};

constexpr AdminOpcode kAdminCommands[] = {
    AdminOpcode::delete_sq,    AdminOpcode::create_sq,
    AdminOpcode::get_log_page, AdminOpcode::delete_cq,
    AdminOpcode::create_cq,    AdminOpcode::identify,
    AdminOpcode::abort,        AdminOpcode::set_features,
    AdminOpcode::get_features, AdminOpcode::async_event_request,
};

struct IoEffect {
  IoOpcode opcode;
  bool changes_content;
};
constexpr IoEffect kIoCommands[] = {
    {IoOpcode::flush, false},   {IoOpcode::write, true},        {IoOpcode::read, false},
    {IoOpcode::compare, false}, {IoOpcode::write_zeroes, true}, {IoOpcode::dataset_management, true},
    {IoOpcode::verify, false},
};

constexpr FeatureId kFeatures[] = {
    FeatureId::arbitration,           FeatureId::power_management,
    FeatureId::temperature_threshold, FeatureId::error_recovery,
    FeatureId::volatile_write_cache,  FeatureId::number_of_queues,
    FeatureId::interrupt_coalescing,  FeatureId::interrupt_vector_configuration,
    FeatureId::write_atomicity,       FeatureId::async_event_configuration,
    FeatureId::host_memory_buffer,
};

// Pages of one dword an identifier: supported logs (5.16.1.1), commands (5.16.1.6), features (5.16.1.18).
void put_dword(std::span<std::byte, kMaxLogBytes> page, std::size_t index, std::uint32_t value) {
  std::memcpy(page.data() + 4 * index, &value, sizeof value);
}

template <typename T>
void put(std::span<std::byte, kMaxLogBytes> page, std::size_t offset, const T& value) {
  static_assert(sizeof(T) <= kMaxLogBytes);
  std::memcpy(page.data() + offset, &value, sizeof value);
}

}  // namespace

void Logs::note_error(std::uint16_t sqid, std::uint16_t cid, std::uint16_t status, std::uint32_t nsid,
                      std::uint64_t lba) {
  nvme::ErrorLogEntry& entry = errors_[error_count_ % kErrorLogEntries];
  entry = {};
  entry.error_count = ++error_count_;
  entry.sqid = sqid;
  entry.cid = cid;
  entry.status = static_cast<std::uint16_t>(status << 1);
  entry.parameter_error_location = 0xffff;  // not specific to a field
  entry.lba = lba;
  entry.nsid = nsid;
}

void Logs::note_namespace_change(std::uint32_t nsid) {
  const auto place = std::lower_bound(changed_namespaces_.begin(), changed_namespaces_.end(), nsid);
  if (place == changed_namespaces_.end() || *place != nsid) changed_namespaces_.insert(place, nsid);
}

void Logs::fill_smart(const Conditions& now, nvme::SmartLog& smart) const {
  const auto units = [](std::uint64_t bytes) { return (bytes + kDataUnitBytes - 1) / kDataUnitBytes; };
  smart.critical_warning = now.critical_warning;
  smart.composite_temperature = now.temperature_kelvin;
  smart.available_spare = 100;
  smart.available_spare_threshold = 10;
  smart.data_units_read.low = units(health_.bytes_read);
  smart.data_units_written.low = units(health_.bytes_written);
  smart.host_read_commands.low = health_.read_commands;
  smart.host_write_commands.low = health_.write_commands;
  smart.power_cycles.low = 1;
  smart.power_on_hours.low = now.powered_ns / kNsPerHour;
  smart.unsafe_shutdowns.low = health_.unsafe_shutdowns;
  smart.media_errors.low = health_.media_errors;
  smart.error_log_entries.low = error_count_;
}

std::optional<std::size_t> Logs::fill(std::uint8_t lid, const Conditions& now,
                                      std::span<std::byte, kMaxLogBytes> page) const {
  constexpr std::size_t kDwordPerId = 256 * 4;
  switch (lid) {
    case static_cast<std::uint8_t>(LogId::supported):
      for (const std::uint8_t id : kPages) put_dword(page, id, kCommandSupported);
      return kDwordPerId;
    case static_cast<std::uint8_t>(LogId::error_information): {
      const std::uint64_t kept = error_count_ < kErrorLogEntries ? error_count_ : kErrorLogEntries;
      for (std::uint64_t i = 0; i < kept; ++i) {  // the newest first
        put(page, i * sizeof(nvme::ErrorLogEntry), errors_[(error_count_ - 1 - i) % kErrorLogEntries]);
      }
      return kErrorLogEntries * sizeof(nvme::ErrorLogEntry);
    }
    case static_cast<std::uint8_t>(LogId::smart): {
      nvme::SmartLog smart{};
      fill_smart(now, smart);
      put(page, 0, smart);
      return sizeof smart;
    }
    case static_cast<std::uint8_t>(LogId::firmware_slot): {
      nvme::FirmwareLog firmware{};
      firmware.afi = 1;  // slot 1 is active
      std::memcpy(firmware.frs[0], kFirmware, sizeof firmware.frs[0]);
      put(page, 0, firmware);
      return sizeof firmware;
    }
    case static_cast<std::uint8_t>(LogId::changed_ns_list):
      std::ranges::copy(std::as_bytes(std::span(changed_namespaces_)), page.begin());
      return kMaxLogBytes;
    case static_cast<std::uint8_t>(LogId::commands_supported):
      for (const AdminOpcode opcode : kAdminCommands)
        put_dword(page, static_cast<std::size_t>(opcode), kCommandSupported);
      if (now.shadow_doorbells) {
        put_dword(page, static_cast<std::size_t>(AdminOpcode::doorbell_buffer_config), kCommandSupported);
      }
      for (const IoEffect& io : kIoCommands) {
        put_dword(page, 256 + static_cast<std::size_t>(io.opcode),
                  kCommandSupported | (io.changes_content ? kContentChange : 0));
      }
      return kMaxLogBytes;
    case kLidFeatureEffects:
      for (const FeatureId id : kFeatures) put_dword(page, static_cast<std::size_t>(id), kCommandSupported);
      return kDwordPerId;
    default:
      return std::nullopt;
  }
}

}  // namespace pollux::softnvme
