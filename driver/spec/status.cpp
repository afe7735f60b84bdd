// The specification's names of status codes, in one table that a search by code can halve.
#include "pollux/driver/spec/status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace pollux::nvme {
namespace {

struct Row {
  StatusCode code;
  const char* name;
};

using enum StatusCode;

constexpr Row kNames[] = {
    {success, "Successful Completion"},
    {invalid_opcode, "Invalid Command Opcode"},
    {invalid_field, "Invalid Field in Command"},
    {command_id_conflict, "Command ID Conflict"},
    {data_transfer_error, "Data Transfer Error"},
    {aborted_power_loss, "Commands Aborted due to Power Loss Notification"},
    {internal_error, "Internal Error"},
    {abort_requested, "Command Abort Requested"},
    {aborted_sq_deletion, "Command Aborted due to SQ Deletion"},
    {aborted_failed_fused, "Command Aborted due to Failed Fused Command"},
    {aborted_missing_fused, "Command Aborted due to Missing Fused Command"},
    {invalid_namespace_or_format, "Invalid Namespace or Format"},
    {command_sequence_error, "Command Sequence Error"},
    {invalid_sgl_segment, "Invalid SGL Segment Descriptor"},
    {invalid_sgl_count, "Invalid Number of SGL Descriptors"},
    {data_sgl_length_invalid, "Data SGL Length Invalid"},
    {metadata_sgl_length_invalid, "Metadata SGL Length Invalid"},
    {sgl_type_invalid, "SGL Descriptor Type Invalid"},
    {invalid_use_of_cmb, "Invalid Use of Controller Memory Buffer"},
    {prp_offset_invalid, "PRP Offset Invalid"},
    {atomic_write_unit_exceeded, "Atomic Write Unit Exceeded"},
    {operation_denied, "Operation Denied"},
    {sgl_offset_invalid, "SGL Offset Invalid"},
    {host_id_inconsistent, "Host Identifier Inconsistent Format"},
    {keep_alive_expired, "Keep Alive Timer Expired"},
    {keep_alive_invalid, "Keep Alive Timeout Invalid"},
    {aborted_preempt, "Command Aborted due to Preempt and Abort"},
    {sanitize_failed, "Sanitize Failed"},
    {sanitize_in_progress, "Sanitize In Progress"},
    {sgl_granularity_invalid, "SGL Data Block Granularity Invalid"},
    {not_supported_in_cmb_queue, "Command Not Supported for Queue in CMB"},
    {namespace_write_protected, "Namespace is Write Protected"},
    {command_interrupted, "Command Interrupted"},
    {transient_transport_error, "Transient Transport Error"},
    {command_prohibited_by_lockdown, "Command Prohibited by Command and Feature Lockdown"},
    {admin_media_not_ready, "Admin Command Media Not Ready"},
    {fdp_disabled, "FDP Disabled"},
    {invalid_placement_handle_list, "Invalid Placement Handle List"},
    {lba_out_of_range, "LBA Out of Range"},
    {capacity_exceeded, "Capacity Exceeded"},
    {namespace_not_ready, "Namespace Not Ready"},
    {reservation_conflict, "Reservation Conflict"},
    {format_in_progress, "Format In Progress"},
    {invalid_value_size, "Invalid Value Size"},
    {invalid_key_size, "Invalid Key Size"},
    {key_does_not_exist, "KV Key Does Not Exist"},
    {unrecovered_error, "Unrecovered Error"},
    {key_exists, "Key Exists"},
    {cq_invalid, "Completion Queue Invalid"},
    {invalid_queue_identifier, "Invalid Queue Identifier"},
    {invalid_queue_size, "Invalid Queue Size"},
    {abort_limit_exceeded, "Abort Command Limit Exceeded"},
    {async_event_limit_exceeded, "Asynchronous Event Request Limit Exceeded"},
    {invalid_firmware_slot, "Invalid Firmware Slot"},
    {invalid_firmware_image, "Invalid Firmware Image"},
    {invalid_interrupt_vector, "Invalid Interrupt Vector"},
    {invalid_log_page, "Invalid Log Page"},
    {invalid_format, "Invalid Format"},
    {firmware_needs_conventional_reset, "Firmware Activation Requires Conventional Reset"},
    {invalid_queue_deletion, "Invalid Queue Deletion"},
    {feature_not_saveable, "Feature Identifier Not Saveable"},
    {feature_not_changeable, "Feature Not Changeable"},
    {feature_not_ns_specific, "Feature Not Namespace Specific"},
    {firmware_needs_subsystem_reset, "Firmware Activation Requires NVM Subsystem Reset"},
    {firmware_needs_controller_reset, "Firmware Activation Requires Controller Level Reset"},
    {firmware_needs_maximum_time_violation, "Firmware Activation Requires Maximum Time Violation"},
    {firmware_activation_prohibited, "Firmware Activation Prohibited"},
    {overlapping_range, "Overlapping Range"},
    {namespace_insufficient_capacity, "Namespace Insufficient Capacity"},
    {namespace_identifier_unavailable, "Namespace Identifier Unavailable"},
    {namespace_already_attached, "Namespace Already Attached"},
    {namespace_is_private, "Namespace Is Private"},
    {namespace_not_attached, "Namespace Not Attached"},
    {thin_provisioning_not_supported, "Thin Provisioning Not Supported"},
    {controller_list_invalid, "Controller List Invalid"},
    {self_test_in_progress, "Device Self-test In Progress"},
    {boot_partition_write_prohibited, "Boot Partition Write Prohibited"},
    {invalid_controller_identifier, "Invalid Controller Identifier"},
    {invalid_secondary_controller_state, "Invalid Secondary Controller State"},
    {invalid_controller_resources, "Invalid Number of Controller Resources"},
    {invalid_resource_identifier, "Invalid Resource Identifier"},
    {sanitize_prohibited_by_pmr, "Sanitize Prohibited While Persistent Memory Region is Enabled"},
    {ana_group_identifier_invalid, "ANA Group Identifier Invalid"},
    {ana_attach_failed, "ANA Attach Failed"},
    {insufficient_capacity, "Insufficient Capacity"},
    {namespace_attachment_limit_exceeded, "Namespace Attachment Limit Exceeded"},
    {lockdown_not_supported, "Prohibition of Command Execution Not Supported"},
    {io_command_set_not_supported, "I/O Command Set Not Supported"},
    {io_command_set_not_enabled, "I/O Command Set Not Enabled"},
    {io_command_set_combination_rejected, "I/O Command Set Combination Rejected"},
    {invalid_io_command_set, "Invalid I/O Command Set"},
    {identifier_unavailable, "Identifier Unavailable"},
    {conflicting_attributes, "Conflicting Attributes"},
    {invalid_protection_information, "Invalid Protection Information"},
    {write_to_read_only_range, "Attempted Write to Read Only Range"},
    {command_size_limit_exceeded, "Command Size Limit Exceeded"},
    {invalid_zone_operation_request, "Invalid Zone Operation Request"},
    {zrwa_resources_unavailable, "ZRWA Resources Unavailable"},
    {zone_boundary_error, "Zone Boundary Error"},
    {zone_is_full, "Zone Is Full"},
    {zone_is_read_only, "Zone Is Read Only"},
    {zone_is_offline, "Zone Is Offline"},
    {zone_invalid_write, "Zone Invalid Write"},
    {too_many_active_zones, "Too Many Active Zones"},
    {too_many_open_zones, "Too Many Open Zones"},
    {invalid_zone_state_transition, "Invalid Zone State Transition"},
    {write_fault, "Write Fault"},
    {unrecovered_read_error, "Unrecovered Read Error"},
    {guard_check_error, "End-to-end Guard Check Error"},
    {application_tag_check_error, "End-to-end Application Tag Check Error"},
    {reference_tag_check_error, "End-to-end Reference Tag Check Error"},
    {compare_failure, "Compare Failure"},
    {access_denied, "Access Denied"},
    {deallocated_or_unwritten, "Deallocated or Unwritten Logical Block"},
    {storage_tag_check_error, "End-to-end Storage Tag Check Error"},
    {internal_path_error, "Internal Path Error"},
    {asymmetric_access_persistent_loss, "Asymmetric Access Persistent Loss"},
    {asymmetric_access_inaccessible, "Asymmetric Access Inaccessible"},
    {asymmetric_access_transition, "Asymmetric Access Transition"},
    {controller_pathing_error, "Controller Pathing Error"},
    {host_pathing_error, "Host Pathing Error"},
    {aborted_by_host, "Command Aborted By Host"},
};
static_assert(std::ranges::is_sorted(kNames, {}, &Row::code));

}  // namespace

const char* status_name(StatusCode code) {
  const Row* row = std::ranges::lower_bound(kNames, code, {}, &Row::code);
  return row != std::end(kNames) && row->code == code ? row->name : nullptr;
}

bool Status::may_have_reached_media() const {
  if (kReached.of(bits) != 0) return true;
  switch (code()) {
    case invalid_opcode:
    case invalid_field:
    case command_id_conflict:
    case invalid_namespace_or_format:
    case invalid_sgl_segment:
    case invalid_sgl_count:
    case data_sgl_length_invalid:
    case metadata_sgl_length_invalid:
    case sgl_type_invalid:
    case prp_offset_invalid:
    case atomic_write_unit_exceeded:
    case operation_denied:
    case sgl_offset_invalid:
    case namespace_write_protected:
    case command_prohibited_by_lockdown:
    case lba_out_of_range:
    case namespace_not_ready:
    case reservation_conflict:
    case format_in_progress:
    case conflicting_attributes:
    case invalid_protection_information:
    case write_to_read_only_range:
    case command_size_limit_exceeded:
    case host_pathing_error:
      return false;
    default:
      return true;
  }
}

std::string Status::text() const {
  const char* name = status_name(code());
  return fmt::format("{} (SCT {:X}h, SC {:02X}h{}{})", name != nullptr ? name : "status", type(), bits & 0xff,
                     more() ? ", more in the error log" : "", do_not_retry() ? ", do not retry" : "");
}

}  // namespace pollux::nvme
