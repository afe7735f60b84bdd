// Status codes beside libnvme's: the code is libnvme's value, under the status code type that it belongs to. A switch
// without a default, so that an enumerator that it lacks is a warning, and with it an error, when this is built.
#include <nvme/types.h>

#include <catch2/catch.hpp>

#include "pollux/driver/spec/status.hpp"

namespace pollux::nvme::test {
namespace {

constexpr int kNone = -1;
constexpr int kCodes = 1 << 11;

int generic(int code) { return NVME_SCT_GENERIC << NVME_SCT_SHIFT | code; }
int specific(int code) { return NVME_SCT_CMD_SPECIFIC << NVME_SCT_SHIFT | code; }
int media(int code) { return NVME_SCT_MEDIA << NVME_SCT_SHIFT | code; }
int path(int code) { return NVME_SCT_PATH << NVME_SCT_SHIFT | code; }

int theirs(StatusCode code) {
  using enum StatusCode;
  switch (code) {
    case success:
      return generic(NVME_SC_SUCCESS);
    case invalid_opcode:
      return generic(NVME_SC_INVALID_OPCODE);
    case invalid_field:
      return generic(NVME_SC_INVALID_FIELD);
    case command_id_conflict:
      return generic(NVME_SC_CMDID_CONFLICT);
    case data_transfer_error:
      return generic(NVME_SC_DATA_XFER_ERROR);
    case aborted_power_loss:
      return generic(NVME_SC_POWER_LOSS);
    case internal_error:
      return generic(NVME_SC_INTERNAL);
    case abort_requested:
      return generic(NVME_SC_ABORT_REQ);
    case aborted_sq_deletion:
      return generic(NVME_SC_ABORT_QUEUE);
    case aborted_failed_fused:
      return generic(NVME_SC_FUSED_FAIL);
    case aborted_missing_fused:
      return generic(NVME_SC_FUSED_MISSING);
    case invalid_namespace_or_format:
      return generic(NVME_SC_INVALID_NS);
    case command_sequence_error:
      return generic(NVME_SC_CMD_SEQ_ERROR);
    case invalid_sgl_segment:
      return generic(NVME_SC_SGL_INVALID_LAST);
    case invalid_sgl_count:
      return generic(NVME_SC_SGL_INVALID_COUNT);
    case data_sgl_length_invalid:
      return generic(NVME_SC_SGL_INVALID_DATA);
    case metadata_sgl_length_invalid:
      return generic(NVME_SC_SGL_INVALID_METADATA);
    case sgl_type_invalid:
      return generic(NVME_SC_SGL_INVALID_TYPE);
    case invalid_use_of_cmb:
      return generic(NVME_SC_CMB_INVALID_USE);
    case prp_offset_invalid:
      return generic(NVME_SC_PRP_INVALID_OFFSET);
    case atomic_write_unit_exceeded:
      return generic(NVME_SC_AWU_EXCEEDED);
    case operation_denied:
      return generic(NVME_SC_OP_DENIED);
    case sgl_offset_invalid:
      return generic(NVME_SC_SGL_INVALID_OFFSET);
    case host_id_inconsistent:
      return generic(NVME_SC_HOSTID_FORMAT);
    case keep_alive_expired:
      return generic(NVME_SC_KAT_EXPIRED);
    case keep_alive_invalid:
      return generic(NVME_SC_KAT_INVALID);
    case aborted_preempt:
      return generic(NVME_SC_CMD_ABORTED_PREMEPT);
    case sanitize_failed:
      return generic(NVME_SC_SANITIZE_FAILED);
    case sanitize_in_progress:
      return generic(NVME_SC_SANITIZE_IN_PROGRESS);
    case sgl_granularity_invalid:
      return generic(NVME_SC_SGL_INVALID_GRANULARITY);
    case not_supported_in_cmb_queue:
      return generic(NVME_SC_CMD_IN_CMBQ_NOT_SUPP);
    case namespace_write_protected:
      return generic(NVME_SC_NS_WRITE_PROTECTED);
    case command_interrupted:
      return generic(NVME_SC_CMD_INTERRUPTED);
    case transient_transport_error:
      return generic(NVME_SC_TRAN_TPORT_ERROR);
    case command_prohibited_by_lockdown:
      return generic(NVME_SC_PROHIBITED_BY_CMD_AND_FEAT);
    case admin_media_not_ready:
      return generic(NVME_SC_ADMIN_CMD_MEDIA_NOT_READY);
    case lba_out_of_range:
      return generic(NVME_SC_LBA_RANGE);
    case capacity_exceeded:
      return generic(NVME_SC_CAP_EXCEEDED);
    case namespace_not_ready:
      return generic(NVME_SC_NS_NOT_READY);
    case reservation_conflict:
      return generic(NVME_SC_RESERVATION_CONFLICT);
    case format_in_progress:
      return generic(NVME_SC_FORMAT_IN_PROGRESS);
    // Not in libnvme 1.3: the specifications' own numbers.
    case fdp_disabled:
      return generic(0x29);
    case invalid_placement_handle_list:
      return generic(0x2a);
    case invalid_value_size:
      return generic(0x85);
    case invalid_key_size:
      return generic(0x86);
    case key_does_not_exist:
      return generic(0x87);
    case unrecovered_error:
      return generic(0x88);
    case key_exists:
      return generic(0x89);
    case cq_invalid:
      return specific(NVME_SC_CQ_INVALID);
    case invalid_queue_identifier:
      return specific(NVME_SC_QID_INVALID);
    case invalid_queue_size:
      return specific(NVME_SC_QUEUE_SIZE);
    case abort_limit_exceeded:
      return specific(NVME_SC_ABORT_LIMIT);
    case async_event_limit_exceeded:
      return specific(NVME_SC_ASYNC_LIMIT);
    case invalid_firmware_slot:
      return specific(NVME_SC_FIRMWARE_SLOT);
    case invalid_firmware_image:
      return specific(NVME_SC_FIRMWARE_IMAGE);
    case invalid_interrupt_vector:
      return specific(NVME_SC_INVALID_VECTOR);
    case invalid_log_page:
      return specific(NVME_SC_INVALID_LOG_PAGE);
    case invalid_format:
      return specific(NVME_SC_INVALID_FORMAT);
    case firmware_needs_conventional_reset:
      return specific(NVME_SC_FW_NEEDS_CONV_RESET);
    case invalid_queue_deletion:
      return specific(NVME_SC_INVALID_QUEUE);
    case feature_not_saveable:
      return specific(NVME_SC_FEATURE_NOT_SAVEABLE);
    case feature_not_changeable:
      return specific(NVME_SC_FEATURE_NOT_CHANGEABLE);
    case feature_not_ns_specific:
      return specific(NVME_SC_FEATURE_NOT_PER_NS);
    case firmware_needs_subsystem_reset:
      return specific(NVME_SC_FW_NEEDS_SUBSYS_RESET);
    case firmware_needs_controller_reset:
      return specific(NVME_SC_FW_NEEDS_RESET);
    case firmware_needs_maximum_time_violation:
      return specific(NVME_SC_FW_NEEDS_MAX_TIME);
    case firmware_activation_prohibited:
      return specific(NVME_SC_FW_ACTIVATE_PROHIBITED);
    case overlapping_range:
      return specific(NVME_SC_OVERLAPPING_RANGE);
    case namespace_insufficient_capacity:
      return specific(NVME_SC_NS_INSUFFICIENT_CAP);
    case namespace_identifier_unavailable:
      return specific(NVME_SC_NS_ID_UNAVAILABLE);
    case namespace_already_attached:
      return specific(NVME_SC_NS_ALREADY_ATTACHED);
    case namespace_is_private:
      return specific(NVME_SC_NS_IS_PRIVATE);
    case namespace_not_attached:
      return specific(NVME_SC_NS_NOT_ATTACHED);
    case thin_provisioning_not_supported:
      return specific(NVME_SC_THIN_PROV_NOT_SUPP);
    case controller_list_invalid:
      return specific(NVME_SC_CTRL_LIST_INVALID);
    case self_test_in_progress:
      return specific(NVME_SC_SELF_TEST_IN_PROGRESS);
    case boot_partition_write_prohibited:
      return specific(NVME_SC_BP_WRITE_PROHIBITED);
    case invalid_controller_identifier:
      return specific(NVME_SC_INVALID_CTRL_ID);
    case invalid_secondary_controller_state:
      return specific(NVME_SC_INVALID_SEC_CTRL_STATE);
    case invalid_controller_resources:
      return specific(NVME_SC_INVALID_CTRL_RESOURCES);
    case invalid_resource_identifier:
      return specific(NVME_SC_INVALID_RESOURCE_ID);
    case sanitize_prohibited_by_pmr:
      return specific(NVME_SC_PMR_SAN_PROHIBITED);
    case ana_group_identifier_invalid:
      return specific(NVME_SC_ANA_GROUP_ID_INVALID);
    case ana_attach_failed:
      return specific(NVME_SC_ANA_ATTACH_FAILED);
    case insufficient_capacity:
      return specific(NVME_SC_INSUFFICIENT_CAP);
    case namespace_attachment_limit_exceeded:
      return specific(NVME_SC_NS_ATTACHMENT_LIMIT_EXCEEDED);
    case lockdown_not_supported:
      return specific(NVME_SC_PROHIBIT_CMD_EXEC_NOT_SUPPORTED);
    case io_command_set_not_supported:
      return specific(NVME_SC_IOCS_NOT_SUPPORTED);
    case io_command_set_not_enabled:
      return specific(NVME_SC_IOCS_NOT_ENABLED);
    case io_command_set_combination_rejected:
      return specific(NVME_SC_IOCS_COMBINATION_REJECTED);
    case invalid_io_command_set:
      return specific(NVME_SC_INVALID_IOCS);
    case identifier_unavailable:
      return specific(NVME_SC_ID_UNAVAILABLE);
    case conflicting_attributes:
      return specific(NVME_SC_BAD_ATTRIBUTES);
    case invalid_protection_information:
      return specific(NVME_SC_INVALID_PI);
    case write_to_read_only_range:
      return specific(NVME_SC_READ_ONLY);
    case command_size_limit_exceeded:
      return specific(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED);
    case invalid_zone_operation_request:
      return specific(NVME_SC_ZNS_INVALID_OP_REQUEST);
    case zrwa_resources_unavailable:
      return specific(NVME_SC_ZNS_ZRWA_RESOURCES_UNAVAILABLE);
    case zone_boundary_error:
      return specific(NVME_SC_ZNS_BOUNDARY_ERROR);
    case zone_is_full:
      return specific(NVME_SC_ZNS_FULL);
    case zone_is_read_only:
      return specific(NVME_SC_ZNS_READ_ONLY);
    case zone_is_offline:
      return specific(NVME_SC_ZNS_OFFLINE);
    case zone_invalid_write:
      return specific(NVME_SC_ZNS_INVALID_WRITE);
    case too_many_active_zones:
      return specific(NVME_SC_ZNS_TOO_MANY_ACTIVE);
    case too_many_open_zones:
      return specific(NVME_SC_ZNS_TOO_MANY_OPENS);
    case invalid_zone_state_transition:
      return specific(NVME_SC_ZNS_INVAL_TRANSITION);
    case write_fault:
      return media(NVME_SC_WRITE_FAULT);
    case unrecovered_read_error:
      return media(NVME_SC_READ_ERROR);
    case guard_check_error:
      return media(NVME_SC_GUARD_CHECK);
    case application_tag_check_error:
      return media(NVME_SC_APPTAG_CHECK);
    case reference_tag_check_error:
      return media(NVME_SC_REFTAG_CHECK);
    case compare_failure:
      return media(NVME_SC_COMPARE_FAILED);
    case access_denied:
      return media(NVME_SC_ACCESS_DENIED);
    case deallocated_or_unwritten:
      return media(NVME_SC_UNWRITTEN_BLOCK);
    case storage_tag_check_error:
      return media(NVME_SC_STORAGE_TAG_CHECK);
    case internal_path_error:
      return path(NVME_SC_ANA_INTERNAL_PATH_ERROR);
    case asymmetric_access_persistent_loss:
      return path(NVME_SC_ANA_PERSISTENT_LOSS);
    case asymmetric_access_inaccessible:
      return path(NVME_SC_ANA_INACCESSIBLE);
    case asymmetric_access_transition:
      return path(NVME_SC_ANA_TRANSITION);
    case controller_pathing_error:
      return path(NVME_SC_CTRL_PATH_ERROR);
    case host_pathing_error:
      return path(NVME_SC_HOST_PATH_ERROR);
    case aborted_by_host:
      return path(NVME_SC_CMD_ABORTED_BY_HOST);
  }
  return kNone;
}

TEST_CASE("every status code has libnvme's value, and a name") {
  int named = 0;
  for (int code = 0; code < kCodes; ++code) {
    const int expected = theirs(static_cast<StatusCode>(code));
    INFO("status code " << code);
    CHECK((status_name(static_cast<StatusCode>(code)) != nullptr) == (expected != kNone));
    if (expected == kNone) continue;
    CHECK(expected == code);
    ++named;
  }
  CHECK(named == 122);
}

TEST_CASE("the flags beside the code are libnvme's") {
  CHECK(Status::kCrd.mask() == NVME_SC_CRD);
  CHECK(Status::kMore.mask() == NVME_SC_MORE);
  CHECK(Status::kDnr.mask() == NVME_SC_DNR);
  CHECK(Status::kCode.mask() == (NVME_SCT_MASK << NVME_SCT_SHIFT | NVME_SC_MASK));
}

}  // namespace
}  // namespace pollux::nvme::test
