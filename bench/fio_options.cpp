#include "pollux/bench/fio_options.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace pollux::bench {
namespace {

// Of all options and aliases of fio 3.42's, of those of io_uring and libaio, and of its own flags: what is neither here
// nor an alias of what is.
constexpr std::string_view kOthers =
    " "
    "alloc-size allow_file_create allow_mounted_write allrandrepeat append-terse apptag apptag_mask atomic "
    "aux-path ba bandwidth-log block_error_percentiles blockalign blocksize_range blocksize_unaligned "
    "bs_is_seq_rand bs_unaligned bsrange bssplit buffer_compress_chunk buffer_compress_percentage buffer_pattern "
    "buffered bwavgtime cdb_len cgroup cgroup_nodelete cgroup_weight clat_percentiles client clocksource cmd_type "
    "cmdhelp cmdprio cmdprio_bssplit cmdprio_class cmdprio_hint cmdprio_percentage comm cpuclock-test cpumask "
    "cpus_allowed cpus_allowed_policy crctest create_fsync create_on_open create_only create_serialize daemonize "
    "data_placement dataplacement deac debug dedupe_global dedupe_mode dedupe_percentage "
    "dedupe_working_set_percentage description direct directory disable_bw disable_bw_measurement disable_clat "
    "disable_lat disable_slat disk_util do_verify dp_scheme end_fsync end_syncfs enghelp error_dump eta "
    "eta-interval eta-newline exec_postrun exec_prerun exit_what exitall exitall_on_error experimental_verify "
    "fadvise_hint fallocate fdatasync fdp fdp_pli fdp_pli_select file_append file_service_type filename_format "
    "filesize filetype fill_device fill_fs fixedbufs flow flow_id flow_sleep flow_watermark force_async fsync "
    "fsync_on_close gid gpu_dev_id gtod_cpu gtod_reduce hipri hugepage-size idle-prof ignore_error "
    "ignore_zone_limits inflate-log invalidate io_limit io_size io_submit_mode iodepth_batch "
    "iodepth_batch_complete iodepth_batch_complete_max iodepth_batch_complete_min iodepth_batch_submit "
    "iodepth_low ioengine iomem iomem_align iopsavgtime ioscheduler job_max_open_zones job_start_clock_id kb_base "
    "lat_percentiles latency-log latency_percentile latency_run latency_target latency_window libaio_vectored "
    "lockfile lockmem log_alternate_epoch log_alternate_epoch_clock_id log_avg_msec log_compression "
    "log_compression_cpus log_entries log_hist_coarseness log_hist_msec log_issue_time log_max_value log_offset "
    "log_prio log_store_compressed log_unix_epoch log_window_value loops max-jobs max_latency max_open_zones "
    "md_per_io_size mem mem_align memcpytest merge-blktrace-only merge_blktrace_file merge_blktrace_iters "
    "merge_blktrace_scalars minimal new_group nice nonvectored nowait nr_files nrfiles num_range numa_cpu_nodes "
    "numa_mem_policy offset_align offset_increment opendir openfiles overwrite parse-only per_job_logs "
    "percentage_random percentage_sequential percentile_list pi_act pi_chk plid_select plids pre_read prio "
    "prioclass priohint profile ramp_size random_distribution random_generator random_sequence_stride randrepeat "
    "rate rate_cycle rate_ignore_thinktime rate_iops rate_iops_min rate_min rate_process ratecycle ratemin "
    "read_beyond_wp read_iolog read_iolog_chunked read_mode readfua readonly recover_zbd_write_error "
    "refill_buffers registerfiles remote-config replay_align replay_no_stall replay_redirect replay_scale "
    "replay_skip replay_time_scale rw_sequencer rwmixcycle rwmixwrite scramble_buffers section serialize_overlap "
    "server server-internal showcmd significant_figures slat_percentiles softrandommap spr_cs spr_num_regions "
    "spr_op sprandom sqthread_poll sqthread_poll_cpu ss ss_dur ss_interval ss_ramp startdelay stats "
    "status-interval steadystate steadystate_check_interval steadystate_duration steadystate_ramp_time stonewall "
    "sync sync_file_range terse-version thinkcycles thinktime thinktime_blocks thinktime_blocks_type "
    "thinktime_iotime thinktime_spin trigger trigger-file trigger-remote trigger-timeout trim_backlog "
    "trim_backlog_batch trim_percentage trim_verify_zero uid uncached unified_rw_reporting unique_filename "
    "unit_base unlink unlink_each_loop userspace_reap verify_async verify_async_cpus verify_backlog "
    "verify_backlog_batch verify_bytchk verify_dump verify_fatal verify_header_seed verify_interval verify_mode "
    "verify_offset verify_only verify_pattern verify_pattern_interval verify_policy verify_state_load "
    "verify_state_save verify_write_sequence verifysort verifysort_nr wait_for wait_for_previous warnings-fatal "
    "write_barrier write_bw_log write_hint write_hist_log write_iolog write_iops_log write_lat_log write_mode "
    "write_zone_remainder writefua zero_buffers zone_reset_frequency zone_reset_threshold zonecapacity zonemode "
    "zonerange zonesize zoneskip ";

struct Alias {
  std::string_view alias, name;
};

constexpr Alias kAliases[] = {
    {"blocksize", "bs"},
    {"fileoffset", "offset"},
    {"readwrite", "rw"},
    {"timeout", "runtime"},
};

}  // namespace

std::string_view without_alias(std::string_view name) {
  const auto* found = std::ranges::find(kAliases, name, &Alias::alias);
  return found == std::end(kAliases) ? name : found->name;
}

bool is_other_fio_option(std::string_view name) {
  if (name.empty() || name.contains(' ')) return false;
  for (std::size_t at = kOthers.find(name); at != std::string_view::npos; at = kOthers.find(name, at + 1))
    if (kOthers[at - 1] == ' ' && kOthers[at + name.size()] == ' ') return true;
  return false;
}

}  // namespace pollux::bench
