// The status field of a completion. NVMe base 2.0c, 3.3.3.2.1; values: figures 94 to 102, NVM command set 1.0c,
// figure 16; those of the Key Value and Zoned Namespace command sets and of flexible data placement (TP4146), so that
// they are told by name where a controller answers with one.
#pragma once

#include <cstdint>
#include <string>

#include "pollux/driver/spec/field.hpp"

namespace pollux::nvme {

// Status code type in bits 10:8, status code in bits 7:0: how the specification writes a status value.
enum class StatusCode : std::uint16_t {
  // generic command status
  success = 0x000,
  invalid_opcode = 0x001,
  invalid_field = 0x002,
  command_id_conflict = 0x003,
  data_transfer_error = 0x004,
  aborted_power_loss = 0x005,
  internal_error = 0x006,
  abort_requested = 0x007,
  aborted_sq_deletion = 0x008,
  aborted_failed_fused = 0x009,
  aborted_missing_fused = 0x00a,
  invalid_namespace_or_format = 0x00b,
  command_sequence_error = 0x00c,
  invalid_sgl_segment = 0x00d,
  invalid_sgl_count = 0x00e,
  data_sgl_length_invalid = 0x00f,
  metadata_sgl_length_invalid = 0x010,
  sgl_type_invalid = 0x011,
  invalid_use_of_cmb = 0x012,
  prp_offset_invalid = 0x013,
  atomic_write_unit_exceeded = 0x014,
  operation_denied = 0x015,
  sgl_offset_invalid = 0x016,
  host_id_inconsistent = 0x018,
  keep_alive_expired = 0x019,
  keep_alive_invalid = 0x01a,
  aborted_preempt = 0x01b,
  sanitize_failed = 0x01c,
  sanitize_in_progress = 0x01d,
  sgl_granularity_invalid = 0x01e,
  not_supported_in_cmb_queue = 0x01f,
  namespace_write_protected = 0x020,
  command_interrupted = 0x021,
  transient_transport_error = 0x022,
  command_prohibited_by_lockdown = 0x023,
  admin_media_not_ready = 0x024,
  fdp_disabled = 0x029,
  invalid_placement_handle_list = 0x02a,
  lba_out_of_range = 0x080,
  capacity_exceeded = 0x081,
  namespace_not_ready = 0x082,
  reservation_conflict = 0x083,
  format_in_progress = 0x084,
  // of the key value command set
  invalid_value_size = 0x085,
  invalid_key_size = 0x086,
  key_does_not_exist = 0x087,
  unrecovered_error = 0x088,
  key_exists = 0x089,
  // command specific status
  cq_invalid = 0x100,
  invalid_queue_identifier = 0x101,
  invalid_queue_size = 0x102,
  abort_limit_exceeded = 0x103,
  async_event_limit_exceeded = 0x105,
  invalid_firmware_slot = 0x106,
  invalid_firmware_image = 0x107,
  invalid_interrupt_vector = 0x108,
  invalid_log_page = 0x109,
  invalid_format = 0x10a,
  firmware_needs_conventional_reset = 0x10b,
  invalid_queue_deletion = 0x10c,
  feature_not_saveable = 0x10d,
  feature_not_changeable = 0x10e,
  feature_not_ns_specific = 0x10f,
  firmware_needs_subsystem_reset = 0x110,
  firmware_needs_controller_reset = 0x111,
  firmware_needs_maximum_time_violation = 0x112,
  firmware_activation_prohibited = 0x113,
  overlapping_range = 0x114,
  namespace_insufficient_capacity = 0x115,
  namespace_identifier_unavailable = 0x116,
  namespace_already_attached = 0x118,
  namespace_is_private = 0x119,
  namespace_not_attached = 0x11a,
  thin_provisioning_not_supported = 0x11b,
  controller_list_invalid = 0x11c,
  self_test_in_progress = 0x11d,
  boot_partition_write_prohibited = 0x11e,
  invalid_controller_identifier = 0x11f,
  invalid_secondary_controller_state = 0x120,
  invalid_controller_resources = 0x121,
  invalid_resource_identifier = 0x122,
  sanitize_prohibited_by_pmr = 0x123,
  ana_group_identifier_invalid = 0x124,
  ana_attach_failed = 0x125,
  insufficient_capacity = 0x126,
  namespace_attachment_limit_exceeded = 0x127,
  lockdown_not_supported = 0x128,
  io_command_set_not_supported = 0x129,
  io_command_set_not_enabled = 0x12a,
  io_command_set_combination_rejected = 0x12b,
  invalid_io_command_set = 0x12c,
  identifier_unavailable = 0x12d,
  conflicting_attributes = 0x180,
  invalid_protection_information = 0x181,
  write_to_read_only_range = 0x182,
  command_size_limit_exceeded = 0x183,
  // of the zoned namespace command set
  invalid_zone_operation_request = 0x1b6,
  zrwa_resources_unavailable = 0x1b7,
  zone_boundary_error = 0x1b8,
  zone_is_full = 0x1b9,
  zone_is_read_only = 0x1ba,
  zone_is_offline = 0x1bb,
  zone_invalid_write = 0x1bc,
  too_many_active_zones = 0x1bd,
  too_many_open_zones = 0x1be,
  invalid_zone_state_transition = 0x1bf,
  // media and data integrity errors
  write_fault = 0x280,
  unrecovered_read_error = 0x281,
  guard_check_error = 0x282,
  application_tag_check_error = 0x283,
  reference_tag_check_error = 0x284,
  compare_failure = 0x285,
  access_denied = 0x286,
  deallocated_or_unwritten = 0x287,
  storage_tag_check_error = 0x288,
  // path related status
  internal_path_error = 0x300,
  asymmetric_access_persistent_loss = 0x301,
  asymmetric_access_inaccessible = 0x302,
  asymmetric_access_transition = 0x303,
  controller_pathing_error = 0x360,
  host_pathing_error = 0x370,
  aborted_by_host = 0x371,
};

// The 15 bits above the phase tag, by value. Success is all that `ok()` tells: the rest matters to whoever handles an
// error.
struct Status {
  std::uint16_t bits = 0;

  static constexpr Field kCode{0, 11};  // SCT and SC together, as StatusCode
  static constexpr Field kCrd{11, 2};   // which of Identify's CRDTs to wait before a retry
  static constexpr Field kMore{13, 1};
  static constexpr Field kDnr{14, 1};
  // The one bit that is not the controller's, whose statuses have 15: an earlier time that the command was sent, or
  // another command of a request that was split, may have changed the medium.
  static constexpr Field kReached{15, 1};

  // A status that the host itself gives, as in "aborted by host".
  static constexpr Status from(StatusCode code, bool do_not_retry = false) {
    return {kDnr.put(static_cast<std::uint16_t>(code), do_not_retry ? 1 : 0)};
  }

  constexpr bool ok() const { return kCode.of(bits) == 0; }
  constexpr StatusCode code() const { return static_cast<StatusCode>(kCode.of(bits)); }
  constexpr unsigned type() const { return bits >> 8 & 7; }
  constexpr bool do_not_retry() const { return kDnr.of(bits) != 0; }
  constexpr bool more() const { return kMore.of(bits) != 0; }
  constexpr unsigned retry_delay_index() const { return static_cast<unsigned>(kCrd.of(bits)); }

  // Whether a request that ended so may have changed the medium, in whole or in part. False only for what was refused
  // before it began, each time that it was sent, and for what the controller was never told of, which pollux answers
  // with Host Pathing Error.
  bool may_have_reached_media() const;
  constexpr Status having_reached_media() const { return {kReached.put(bits, 1)}; }

  // "LBA Out of Range (SCT 0h, SC 80h, do not retry)"; a code without a name: "status (SCT 7h, SC 12h)".
  std::string text() const;

  friend constexpr bool operator==(Status, Status) = default;
};

// The specification's name, or nullptr for a code that this table lacks.
const char* status_name(StatusCode code);

}  // namespace pollux::nvme
