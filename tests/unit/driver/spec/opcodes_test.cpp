// Opcodes and identifiers beside libnvme's. Each translation is a switch without a default, so that an enumerator that
// it lacks is a warning, and with it an error, when this is built.
#include <nvme/types.h>

#include <catch2/catch.hpp>

#include "pollux/driver/spec/async_event.hpp"
#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/identify.hpp"

namespace pollux::nvme::test {
namespace {

constexpr int kNone = -1;

int theirs(AdminOpcode value) {
  using enum AdminOpcode;
  switch (value) {
    case delete_sq:
      return nvme_admin_delete_sq;
    case create_sq:
      return nvme_admin_create_sq;
    case get_log_page:
      return nvme_admin_get_log_page;
    case delete_cq:
      return nvme_admin_delete_cq;
    case create_cq:
      return nvme_admin_create_cq;
    case identify:
      return nvme_admin_identify;
    case abort:
      return nvme_admin_abort_cmd;
    case set_features:
      return nvme_admin_set_features;
    case get_features:
      return nvme_admin_get_features;
    case async_event_request:
      return nvme_admin_async_event;
    case namespace_management:
      return nvme_admin_ns_mgmt;
    case firmware_commit:
      return nvme_admin_fw_commit;
    case namespace_attachment:
      return nvme_admin_ns_attach;
    case virtualization_management:
      return nvme_admin_virtual_mgmt;
    case doorbell_buffer_config:
      return nvme_admin_dbbuf;
    case format_nvm:
      return nvme_admin_format_nvm;
    case sanitize:
      return nvme_admin_sanitize_nvm;
  }
  return kNone;
}

int theirs(IoOpcode value) {
  using enum IoOpcode;
  switch (value) {
    case flush:
      return nvme_cmd_flush;
    case write:
      return nvme_cmd_write;
    case read:
      return nvme_cmd_read;
    case write_uncorrectable:
      return nvme_cmd_write_uncor;
    case compare:
      return nvme_cmd_compare;
    case write_zeroes:
      return nvme_cmd_write_zeroes;
    case dataset_management:
      return nvme_cmd_dsm;
    case verify:
      return nvme_cmd_verify;
  }
  return kNone;
}

int theirs(Cns value) {
  using enum Cns;
  switch (value) {
    case ns:
      return NVME_IDENTIFY_CNS_NS;
    case controller:
      return NVME_IDENTIFY_CNS_CTRL;
    case active_ns_list:
      return NVME_IDENTIFY_CNS_NS_ACTIVE_LIST;
    case ns_descriptors:
      return NVME_IDENTIFY_CNS_NS_DESC_LIST;
    case command_set_controller:
      return NVME_IDENTIFY_CNS_CSI_CTRL;
    case command_set_active_ns_list:
      return NVME_IDENTIFY_CNS_CSI_NS_ACTIVE_LIST;
    case allocated_ns_list:
      return NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST;
    case primary_controller_capabilities:
      return NVME_IDENTIFY_CNS_PRIMARY_CTRL_CAP;
    case secondary_controller_list:
      return NVME_IDENTIFY_CNS_SECONDARY_CTRL_LIST;
  }
  return kNone;
}

int theirs(LogId value) {
  using enum LogId;
  switch (value) {
    case supported:
      return NVME_LOG_LID_SUPPORTED_LOG_PAGES;
    case error_information:
      return NVME_LOG_LID_ERROR;
    case smart:
      return NVME_LOG_LID_SMART;
    case firmware_slot:
      return NVME_LOG_LID_FW_SLOT;
    case changed_ns_list:
      return NVME_LOG_LID_CHANGED_NS;
    case commands_supported:
      return NVME_LOG_LID_CMD_EFFECTS;
  }
  return kNone;
}

int theirs(FeatureId value) {
  using enum FeatureId;
  switch (value) {
    case arbitration:
      return NVME_FEAT_FID_ARBITRATION;
    case power_management:
      return NVME_FEAT_FID_POWER_MGMT;
    case temperature_threshold:
      return NVME_FEAT_FID_TEMP_THRESH;
    case error_recovery:
      return NVME_FEAT_FID_ERR_RECOVERY;
    case volatile_write_cache:
      return NVME_FEAT_FID_VOLATILE_WC;
    case number_of_queues:
      return NVME_FEAT_FID_NUM_QUEUES;
    case interrupt_coalescing:
      return NVME_FEAT_FID_IRQ_COALESCE;
    case interrupt_vector_configuration:
      return NVME_FEAT_FID_IRQ_CONFIG;
    case write_atomicity:
      return NVME_FEAT_FID_WRITE_ATOMIC;
    case async_event_configuration:
      return NVME_FEAT_FID_ASYNC_EVENT;
    case host_memory_buffer:
      return NVME_FEAT_FID_HOST_MEM_BUF;
    case timestamp:
      return NVME_FEAT_FID_TIMESTAMP;
  }
  return kNone;
}

int theirs(NsIdType value) {
  using enum NsIdType;
  switch (value) {
    case eui64:
      return NVME_NIDT_EUI64;
    case nguid:
      return NVME_NIDT_NGUID;
    case uuid:
      return NVME_NIDT_UUID;
    case csi:
      return NVME_NIDT_CSI;
  }
  return kNone;
}

int theirs(CommandSet value) {
  using enum CommandSet;
  switch (value) {
    case nvm:
      return NVME_CSI_NVM;
    case key_value:
      return NVME_CSI_KV;
    case zoned:
      return NVME_CSI_ZNS;
    case local_memory:  // not in libnvme 1.3
      return 3;
    case computational_programs:
      return 4;
  }
  return kNone;
}

int theirs(VirtualizationAction value) {
  using enum VirtualizationAction;
  switch (value) {
    case primary_flexible_allocation:
      return NVME_VIRT_MGMT_ACT_PRIM_CTRL_FLEX_ALLOC;
    case secondary_offline:
      return NVME_VIRT_MGMT_ACT_OFFLINE_SEC_CTRL;
    case secondary_assign:
      return NVME_VIRT_MGMT_ACT_ASSIGN_SEC_CTRL;
    case secondary_online:
      return NVME_VIRT_MGMT_ACT_ONLINE_SEC_CTRL;
  }
  return kNone;
}

int theirs(ResourceType value) {
  using enum ResourceType;
  switch (value) {
    case vq:
      return NVME_VIRT_MGMT_RT_VQ_RESOURCE;
    case vi:
      return NVME_VIRT_MGMT_RT_VI_RESOURCE;
  }
  return kNone;
}

int theirs(AsyncEventType value) {
  using enum AsyncEventType;
  switch (value) {
    case error:
      return NVME_AER_ERROR;
    case health:
      return NVME_AER_SMART;
    case notice:
      return NVME_AER_NOTICE;
    case io_command_set:
      return NVME_AER_CSS;
    case vendor:
      return NVME_AER_VS;
  }
  return kNone;
}

int theirs(Notice value) {
  using enum Notice;
  switch (value) {
    case namespace_attribute_changed:
      return NVME_AER_NOTICE_NS_CHANGED;
    case firmware_activation_starting:
      return NVME_AER_NOTICE_FW_ACT_STARTING;
  }
  return kNone;
}

// How many of the 256 values have a name with us; each must be the value that libnvme gives the name.
template <typename Enum>
unsigned check_all() {
  unsigned named = 0;
  for (int value = 0; value < 256; ++value) {
    const int expected = theirs(static_cast<Enum>(value));
    if (expected == kNone) continue;
    CHECK(expected == value);
    ++named;
  }
  return named;
}

TEST_CASE("an admin opcode has libnvme's value") { CHECK(check_all<AdminOpcode>() == 17); }

TEST_CASE("an I/O opcode has libnvme's value") { CHECK(check_all<IoOpcode>() == 8); }

TEST_CASE("a command set identifier has libnvme's value") { CHECK(check_all<CommandSet>() == 5); }
TEST_CASE("a CNS value has libnvme's value") { CHECK(check_all<Cns>() == 9); }

TEST_CASE("a log page identifier has libnvme's value") { CHECK(check_all<LogId>() == 6); }

TEST_CASE("a feature identifier has libnvme's value") { CHECK(check_all<FeatureId>() == 12); }

TEST_CASE("a namespace identifier type has libnvme's value") { CHECK(check_all<NsIdType>() == 4); }

TEST_CASE("an action of Virtualization Management has libnvme's value") {
  CHECK(check_all<VirtualizationAction>() == 4);
}

TEST_CASE("a type of asynchronous event has libnvme's value") { CHECK(check_all<AsyncEventType>() == 5); }

TEST_CASE("a notice has libnvme's value, and its bit of Identify's OAES too") {
  CHECK(check_all<Notice>() == 2);
  CHECK(async_event_configuration::kNamespaceAttribute == NVME_CTRL_OAES_NA);
  CHECK(async_event_configuration::kFirmwareActivation == NVME_CTRL_OAES_FA);
}

TEST_CASE("a resource type has libnvme's value") { CHECK(check_all<ResourceType>() == 2); }

TEST_CASE("optional commands are reported by libnvme's bits") {
  CHECK(oacs::kDoorbellBufferConfig == NVME_CTRL_OACS_DBBUF_CFG);
  CHECK(oncs::kCompare == NVME_CTRL_ONCS_COMPARE);
  CHECK(oncs::kWriteUncorrectable == NVME_CTRL_ONCS_WRITE_UNCORRECTABLE);
  CHECK(oncs::kDatasetManagement == NVME_CTRL_ONCS_DSM);
  CHECK(oncs::kWriteZeroes == NVME_CTRL_ONCS_WRITE_ZEROES);
  CHECK(oncs::kSaveAndSelect == NVME_CTRL_ONCS_SAVE_FEATURES);
  CHECK(oncs::kTimestamp == NVME_CTRL_ONCS_TIMESTAMP);
  CHECK(oncs::kVerify == NVME_CTRL_ONCS_VERIFY);
}

TEST_CASE("a namespace's features and format are told by libnvme's bits") {
  CHECK(nsfeat::kThinp.mask() == NVME_NS_FEAT_THIN);
  CHECK(nsfeat::kNsabp.mask() == NVME_NS_FEAT_NATOMIC);
  CHECK(nsfeat::kOptperf.mask() == NVME_NS_FEAT_IO_OPT);
  CHECK(flbas::kIndexLow.mask() == NVME_NS_FLBAS_LOWER_MASK);
  CHECK(flbas::kExtended.mask() == NVME_NS_FLBAS_META_EXT);
  CHECK(flbas::kIndexHigh.mask() == NVME_NS_FLBAS_HIGHER_MASK);
  CHECK(dps::kPit.mask() == NVME_NS_DPS_PI_MASK);
}

TEST_CASE("the broadcast namespace is libnvme's") { CHECK(kNsidAll == NVME_NSID_ALL); }

}  // namespace
}  // namespace pollux::nvme::test
