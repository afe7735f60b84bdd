// Log pages beside libnvme's.
#include <nvme/types.h>

#include "layout.hpp"
#include "pollux/driver/spec/log.hpp"

namespace pollux::nvme::test {
namespace {

TEST_CASE("an Error Information entry has every field where libnvme has it") {
  using Ours = ErrorLogEntry;
  using Theirs = ::nvme_error_log_page;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(error_count),
      POLLUX_SAME(sqid),
      POLLUX_FIELD(cid, cmdid),
      POLLUX_FIELD(status, status_field),
      POLLUX_FIELD(parameter_error_location, parm_error_location),
      POLLUX_SAME(lba),
      POLLUX_SAME(nsid),
      POLLUX_FIELD(vendor_log, vs),
      POLLUX_SAME(trtype),
      POLLUX_FIELD(reserved30, rsvd),
      POLLUX_FIELD(command_specific, cs),
      POLLUX_FIELD(transport_specific, trtype_spec_info),
      POLLUX_FIELD(reserved42, rsvd2),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("the SMART log has every field where libnvme has it") {
  using Ours = SmartLog;
  using Theirs = ::nvme_smart_log;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(critical_warning),
      POLLUX_FIELD(composite_temperature, temperature),
      POLLUX_FIELD(available_spare, avail_spare),
      POLLUX_FIELD(available_spare_threshold, spare_thresh),
      POLLUX_FIELD(percentage_used, percent_used),
      POLLUX_FIELD(endurance_group_critical_warning, endu_grp_crit_warn_sumry),
      POLLUX_FIELD(reserved7, rsvd7),
      POLLUX_SAME(data_units_read),
      POLLUX_SAME(data_units_written),
      POLLUX_FIELD(host_read_commands, host_reads),
      POLLUX_FIELD(host_write_commands, host_writes),
      POLLUX_FIELD(controller_busy_time, ctrl_busy_time),
      POLLUX_SAME(power_cycles),
      POLLUX_SAME(power_on_hours),
      POLLUX_SAME(unsafe_shutdowns),
      POLLUX_SAME(media_errors),
      POLLUX_FIELD(error_log_entries, num_err_log_entries),
      POLLUX_FIELD(warning_temperature_time, warning_temp_time),
      POLLUX_FIELD(critical_temperature_time, critical_comp_time),
      POLLUX_FIELD(temperature_sensor, temp_sensor),
      POLLUX_FIELD(thermal_transition_count[0], thm_temp1_trans_count),
      POLLUX_FIELD(thermal_transition_count[1], thm_temp2_trans_count),
      POLLUX_FIELD(thermal_total_time[0], thm_temp1_total_time),
      POLLUX_FIELD(thermal_total_time[1], thm_temp2_total_time),
      POLLUX_FIELD(reserved232, rsvd232),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("the Firmware Slot log has every field where libnvme has it") {
  using Ours = FirmwareLog;
  using Theirs = ::nvme_firmware_slot;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(afi),
      POLLUX_FIELD(reserved1, rsvd1),
      POLLUX_SAME(frs),
      POLLUX_FIELD(reserved64, rsvd2),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

}  // namespace
}  // namespace pollux::nvme::test
