// Get Features and Set Features. NVMe base 2.0c, 5.15 and 5.27; NVM command set 1.0c, 4.1.3.
#include <fmt/format.h>

#include <algorithm>

#include "pollux/tools/softnvme/core/admin.hpp"

namespace pollux::softnvme {
namespace {

using nvme::FeatureId;
using nvme::StatusCode;

constexpr std::uint32_t kCdw10GetReserved = 0xffff'f800;  // above SEL
constexpr std::uint32_t kCdw10SetReserved = 0x7fff'ff00;  // between FID and SV
constexpr Field kVector{0, 16};
constexpr Field kCoalescingDisable{16, 1};
constexpr Field kPowerState{0, 5};
constexpr Field kDulbe{16, 1};
constexpr std::uint64_t kCompositeTemperature = 0;
constexpr std::uint64_t kAllTemperatures = 0xf;

constexpr StatusCode kUnknownFeature = StatusCode::invalid_field;
// The numbers are 0's based, so a controller that has no queue to give can but fail: as one whose firmware is broken.
constexpr StatusCode kNoQueues = StatusCode::internal_error;

bool namespace_specific(FeatureId id) { return id == FeatureId::error_recovery; }

}  // namespace

Reply AdminCommands::get_features(const nvme::Command& command) {
  state_.expect_zero((command.cdw10 & kCdw10GetReserved) | command.cdw12 | command.cdw13 | command.cdw15,
                     "CDW10, CDW12, CDW13 or CDW15 of Get Features");
  const auto id = static_cast<FeatureId>(nvme::features::kFid.of(command.cdw10));
  const auto select = static_cast<FeatureSelect>(nvme::features::kSel.of(command.cdw10));
  if (select > FeatureSelect::capabilities) return refuse(StatusCode::invalid_field);
  if (namespace_specific(id) && state_.find_namespace(command.nsid) == nullptr) {
    return refuse(state_.why_absent(command.nsid));
  }
  // Nothing is saveable: what is saved is the default (5.15).
  const Features defaults(state_.config);
  const Features& features = select == FeatureSelect::current ? state_.features : defaults;
  const bool capabilities = select == FeatureSelect::capabilities;
  const auto value = [&](std::uint32_t dw0) { return success(capabilities ? kFeatureChangeable : dw0); };

  switch (id) {
    case FeatureId::arbitration:
      return value(features.arbitration);
    case FeatureId::power_management:
      return value(features.power_management);
    case FeatureId::temperature_threshold:
      if (kTmpsel.of(command.cdw11) != kCompositeTemperature || kThsel.of(command.cdw11) > 1) {
        return refuse(StatusCode::invalid_field);
      }
      return value(kThsel.of(command.cdw11) == 0 ? features.over_kelvin : features.under_kelvin);
    case FeatureId::error_recovery:
      return value(features.error_recovery);
    case FeatureId::volatile_write_cache:
      if (!state_.config.volatile_write_cache) return refuse(StatusCode::invalid_field);  // 5.27.1.4
      return value(features.volatile_write_cache);
    case FeatureId::number_of_queues:
      if (state_.config.io_queues == 0) return refuse(kNoQueues);
      return value((features.granted_sqs - 1) | (features.granted_cqs - 1) << nvme::features::kNcqr.shift);
    case FeatureId::interrupt_coalescing:
      return value(features.interrupt_coalescing);
    case FeatureId::interrupt_vector_configuration: {
      const std::uint64_t vector = kVector.of(command.cdw11);
      if (vector >= features.coalescing_disabled.size()) return refuse(StatusCode::invalid_field);
      return value(kCoalescingDisable.put(static_cast<std::uint32_t>(vector), features.coalescing_disabled[vector]));
    }
    case FeatureId::write_atomicity:
      return value(features.write_atomicity);
    case FeatureId::async_event_configuration:
      return value(features.async_event_configuration);
    case FeatureId::host_memory_buffer: {
      if (capabilities) return value(0);
      Reply reply = send(command, sizeof features.hmb, std::as_bytes(std::span(&features.hmb, 1)));
      reply.dw0 = features.hmb_enabled ? 1 : 0;
      return reply;
    }
    default:
      return refuse(kUnknownFeature);
  }
}

Reply AdminCommands::set_features(const nvme::Command& command) {
  state_.expect_zero(command.cdw10 & kCdw10SetReserved, "CDW10 of Set Features");
  const auto id = static_cast<FeatureId>(nvme::features::kFid.of(command.cdw10));
  const std::uint32_t cdw11 = command.cdw11;
  Features& features = state_.features;
  if (nvme::features::kSv.of(command.cdw10) != 0) return refuse(StatusCode::feature_not_saveable);
  if (namespace_specific(id)) {
    if (command.nsid != nvme::kNsidAll && state_.find_namespace(command.nsid) == nullptr) {
      return refuse(state_.why_absent(command.nsid));
    }
  } else if (command.nsid != 0 && command.nsid != nvme::kNsidAll) {
    return refuse(StatusCode::feature_not_ns_specific);
  }

  switch (id) {
    case FeatureId::arbitration:
      features.arbitration = cdw11;
      return success();
    case FeatureId::power_management:
      if (kPowerState.of(cdw11) != 0) return refuse(StatusCode::invalid_field);  // NPSS is 0
      features.power_management = cdw11;
      return success();
    case FeatureId::temperature_threshold:
      return set_temperature_threshold(cdw11);
    case FeatureId::error_recovery:
      if (kDulbe.of(cdw11) != 0) return refuse(StatusCode::invalid_field);  // NSFEAT offers no such error
      features.error_recovery = cdw11;
      return success();
    case FeatureId::volatile_write_cache:
      if (!state_.config.volatile_write_cache) return refuse(StatusCode::invalid_field);
      state_.expect_zero(cdw11 & ~1u, "CDW11 of Volatile Write Cache");
      features.volatile_write_cache = cdw11 & 1;
      return success();
    case FeatureId::number_of_queues:
      return set_number_of_queues(cdw11);
    case FeatureId::interrupt_coalescing:
      features.interrupt_coalescing = cdw11 & 0xffff;
      return success();
    case FeatureId::interrupt_vector_configuration: {
      const std::uint64_t vector = kVector.of(cdw11);
      if (vector >= features.coalescing_disabled.size()) return refuse(StatusCode::invalid_field);
      features.coalescing_disabled[vector] = kCoalescingDisable.of(cdw11) != 0;
      return success();
    }
    case FeatureId::write_atomicity:
      features.write_atomicity = cdw11 & 1;
      return success();
    case FeatureId::async_event_configuration:
      features.async_event_configuration = cdw11;
      return success();
    case FeatureId::host_memory_buffer:
      return set_host_memory_buffer(command);
    default:
      return refuse(kUnknownFeature);
  }
}

// 5.27.1.5.
Reply AdminCommands::set_number_of_queues(std::uint32_t cdw11) {
  const auto cqs = static_cast<std::uint32_t>(nvme::features::kNcqr.of(cdw11));
  const auto sqs = static_cast<std::uint32_t>(nvme::features::kNsqr.of(cdw11));
  constexpr std::uint32_t kTooMany = 0xffff;  // 65,536 queues: one more than there are identifiers
  if (cqs == kTooMany || sqs == kTooMany) return refuse(StatusCode::invalid_field);
  if (state_.config.io_queues == 0) return refuse(kNoQueues);
  if (state_.queues.any_io_queue()) {
    return violate(
        Rule::number_of_queues_late, StatusCode::command_sequence_error,
        fmt::format("{} submission and {} completion queues asked for while I/O queues exist", sqs + 1, cqs + 1));
  }
  state_.features.granted_cqs = std::min(cqs + 1, state_.config.io_queues);
  state_.features.granted_sqs = std::min(sqs + 1, state_.config.io_queues);
  return success((state_.features.granted_sqs - 1) | (state_.features.granted_cqs - 1) << nvme::features::kNcqr.shift);
}

// 5.27.1.3.
Reply AdminCommands::set_temperature_threshold(std::uint32_t cdw11) {
  const std::uint64_t sensor = kTmpsel.of(cdw11);
  if (sensor != kCompositeTemperature && sensor != kAllTemperatures) return refuse(StatusCode::invalid_field);
  if (kThsel.of(cdw11) > 1) return refuse(StatusCode::invalid_field);
  const auto kelvin = static_cast<std::uint16_t>(kTmpth.of(cdw11));
  (kThsel.of(cdw11) == 0 ? state_.features.over_kelvin : state_.features.under_kelvin) = kelvin;
  return success();
}

}  // namespace pollux::softnvme
