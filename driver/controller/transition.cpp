#include "pollux/driver/controller/transition.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/async_event.hpp"
#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {
namespace {

constexpr const char* kGoneAdvice = "the device was removed, lost power or fell off the bus";
constexpr const char* kOfflineAdvice = "bring it online from its primary controller, that of the physical function";

// CAP.TO bounds enabling and disabling alike; a controller that reports 0 still gets one unit.
std::uint64_t ready_bound_ns(std::uint64_t cap) {
  return std::max<std::uint64_t>(cap::kTo.of(cap), 1) * cap::kTimeoutUnitMs * kNsPerMs;
}

// An administrative controller has none (NVMe base 2.0c, 3.1.2.3).
bool has_io_commands(std::uint64_t cap) { return (cap::kCss.of(cap) & (cap::kCssNvm | cap::kCssIoSets)) != 0; }

constexpr std::uint32_t kAdminQueueSizes =
    aqa::kAcqs.put(aqa::kAsqs.put(0u, AdminQueue::kEntries - 1), AdminQueue::kEntries - 1);

}  // namespace

Result<std::uint32_t> read_csts(Registers& registers) {
  const auto status = registers.read32(reg::kCsts);
  if (!status) return status;
  if (*status == kAllOnes) return fail("the controller's registers read as all ones", kGoneAdvice);
  if (*status == 0) {
    const auto version = registers.read32(reg::kVs);
    if (!version) return version;
    if (*version == 0) return fail("the controller's registers read as zeros", kGoneAdvice);
  }
  return status;
}

Result<bool> has_admin_queue(Registers& registers, const AdminQueue& admin) {
  const auto sizes = registers.read32(reg::kAqa);
  if (!sizes) return std::unexpected(sizes.error());
  const auto submissions = registers.read64(reg::kAsq);
  if (!submissions) return std::unexpected(submissions.error());
  const auto completions = registers.read64(reg::kAcq);
  if (!completions) return std::unexpected(completions.error());
  return *sizes == kAdminQueueSizes && *submissions == admin.submissions_iova() &&
         *completions == admin.completions_iova();
}

Result<void> still_ready(Registers& registers) {
  const auto status = read_csts(registers);
  if (!status) return std::unexpected(status.error());
  if (csts::kRdy.of(*status) != 0 && csts::kCfs.of(*status) == 0) return {};
  return fail(fmt::format("the controller stopped in the middle of a command (CSTS {:#x})", *status),
              "reset it or power it off and on");
}

Result<bool> Disable::step(std::uint64_t now_ns) {
  if (now_ns < quiet_until_ns_) return false;
  const auto status = read_csts(registers_);
  if (!status) return std::unexpected(status.error());
  const bool is_ready = csts::kRdy.of(*status) != 0;
  const bool is_fatal = csts::kCfs.of(*status) != 0;
  if (is_fatal) was_well_ = false;

  if (stage_ == Stage::look) {
    const auto cap = registers_.read64(reg::kCap);
    if (!cap) return std::unexpected(cap.error());
    bound_ns_ = ready_bound_ns(*cap);
    deadline_ns_ = now_ns + bound_ns_;
    stage_ = Stage::wait_ready;
  }
  if (stage_ == Stage::wait_ready) {
    const auto config = registers_.read32(reg::kCc);
    if (!config) return std::unexpected(config.error());
    if (cc::kEn.of(*config) == 0) was_well_ = false;
    if (cc::kEn.of(*config) != 0) {
      // EN may go to 0 only when RDY has reached 1; a controller that never gets there is told all the same.
      if (!is_ready && !is_fatal && now_ns < deadline_ns_) return false;
      const std::uint32_t disabled = cc::kShn.put(cc::kEn.put(*config, 0), cc::kShnNone);
      if (const auto written = registers_.write32(reg::kCc, disabled); !written) {
        return std::unexpected(written.error());
      }
      quiet_until_ns_ = now_ns + delay_ms_ * kNsPerMs;
    }
    deadline_ns_ = std::max(now_ns, quiet_until_ns_) + bound_ns_;
    stage_ = Stage::wait_not_ready;
    return false;
  }
  if (!is_ready) return true;
  if (now_ns < deadline_ns_) return false;
  return fail(
      fmt::format("the controller did not become disabled within {} ms (CSTS {:#x})", bound_ns_ / kNsPerMs, *status),
      "power it off and on");
}

Result<void> BringUp::enable(std::uint64_t now_ns) {
  const auto cap = registers_.read64(reg::kCap);
  if (!cap) return std::unexpected(cap.error());
  const auto version = registers_.read32(reg::kVs);
  if (!version) return std::unexpected(version.error());
  if (*version == 0 || *version == kAllOnes) {
    // NVMe base 2.0c, 8.26.3: CSTS.CFS is all that a secondary controller tells while it is offline.
    const auto status = registers_.read32(reg::kCsts);
    if (status && *status != kAllOnes && csts::kCfs.of(*status) != 0)
      return fail(fmt::format("a secondary controller (virtual function) that is offline: CSTS {:#x}, VS {:#x}",
                              *status, *version),
                  kOfflineAdvice);
    return fail(fmt::format("VS reads as {:#x}", *version), kGoneAdvice);
  }
  facts_.cap = *cap;
  facts_.version = *version;

  if (cap::kMpsmin.of(*cap) != 0) {
    return fail(fmt::format("the controller's smallest page is {} KiB, this host's pages have 4 KiB",
                            4u << cap::kMpsmin.of(*cap)),
                "pollux cannot drive this controller");
  }
  const std::uint64_t sets = cap::kCss.of(*cap);
  if (!has_io_commands(*cap) && (sets & cap::kCssAdminOnly) == 0) {
    return fail(fmt::format("the controller offers no command set that pollux knows (CAP.CSS {:#x})", sets),
                "pollux cannot drive this controller");
  }

  const auto dstrd = static_cast<unsigned>(cap::kDstrd.of(*cap));
  const std::uint64_t submission_offset = submission_doorbell_offset(0, dstrd);
  auto submission_doorbell = registers_.doorbell(submission_offset);
  if (!submission_doorbell) return std::unexpected(submission_doorbell.error());
  const std::uint64_t completion_offset = completion_doorbell_offset(0, dstrd);
  auto completion_doorbell = registers_.doorbell(completion_offset);
  if (!completion_doorbell) return std::unexpected(completion_doorbell.error());
  if (shadows_ != nullptr) {
    // From the first command on: when the controller learns of the shadows they agree with the registers.
    shadows_->clear();
    *submission_doorbell = shadows_->shadow(*submission_doorbell, submission_offset, true);
    *completion_doorbell = shadows_->shadow(*completion_doorbell, completion_offset, true);
  }
  admin_.restart(*submission_doorbell, *completion_doorbell);

  std::uint32_t config = cc::kIosqes.put(0u, 6);  // 64-byte commands
  config = cc::kIocqes.put(config, 4);            // 16-byte completions
  const std::uint32_t all_sets = has_io_commands(*cap) ? cc::kCssAll : cc::kCssAdminOnly;
  config = cc::kCss.put(config, (sets & cap::kCssNvm) != 0 ? cc::kCssNvm : all_sets);
  config = cc::kEn.put(config, 1);
  const auto kept = has_admin_queue(registers_, admin_);
  if (!kept) return std::unexpected(kept.error());
  facts_.kept_admin_queue = *kept;
  if (auto written = registers_.write32(reg::kAqa, kAdminQueueSizes); !written) return written;
  if (auto written = registers_.write64(reg::kAsq, admin_.submissions_iova()); !written) return written;
  if (auto written = registers_.write64(reg::kAcq, admin_.completions_iova()); !written) return written;
  if (auto written = registers_.write32(reg::kCc, config); !written) return written;

  ready_bound_ns_ = ready_bound_ns(*cap);
  if (cap::kCrms.of(*cap) != 0) {
    const auto timeouts = registers_.read32(reg::kCrto);
    if (!timeouts) return std::unexpected(timeouts.error());
    const std::uint64_t bound_ms = std::min(crto::kCrwmt.of(*timeouts) * cap::kTimeoutUnitMs, kLongestBoundMs);
    ready_bound_ns_ = std::max(ready_bound_ns_, bound_ms * kNsPerMs);
  }
  deadline_ns_ = now_ns + ready_bound_ns_;
  return {};
}

Result<bool> BringUp::ready(std::uint64_t now_ns) {
  const auto status = read_csts(registers_);
  if (!status) return std::unexpected(status.error());
  if (csts::kCfs.of(*status) != 0) {
    return fail(fmt::format("the controller reports a fatal status while it is enabled (CSTS {:#x})", *status),
                fmt::format("reset it or power it off and on; a virtual function: {}", kOfflineAdvice));
  }
  if (csts::kRdy.of(*status) != 0) return true;
  if (now_ns < deadline_ns_) return false;
  return fail(fmt::format("the controller did not become ready within its own bound, {} ms (CSTS {:#x})",
                          ready_bound_ns_ / kNsPerMs, *status),
              "reset it or power it off and on");
}

void BringUp::ask_for_events(std::uint64_t now_ns) {
  namespace events = async_event_configuration;
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::set_features);
  command.cdw10 = features::kFid.put(0u, static_cast<std::uint64_t>(FeatureId::async_event_configuration));
  command.cdw11 =
      events::kHealth | (facts_.identity.oaes & (events::kNamespaceAttribute | events::kFirmwareActivation));
  admin_.start(command, {}, DataDirection::none, now_ns);
  stage_ = Stage::set_events;
}

Result<bool> BringUp::step(std::uint64_t now_ns) {
  if (stage_ != Stage::enable && stage_ != Stage::wait_ready) {
    if (const auto ready = still_ready(registers_); !ready) return std::unexpected(ready.error());
  }
  switch (stage_) {
    case Stage::enable: {
      if (const auto enabled = enable(now_ns); !enabled) return std::unexpected(enabled.error());
      stage_ = Stage::wait_ready;
      return false;
    }
    case Stage::wait_ready: {
      const auto is_ready = ready(now_ns);
      if (!is_ready || !*is_ready) return is_ready;
      Command command;
      command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::identify);
      command.cdw10 = identify::kCns.put(0u, static_cast<std::uint64_t>(Cns::controller));
      admin_.start(command, {}, DataDirection::from_controller, now_ns);
      stage_ = Stage::identify;
      return false;
    }
    case Stage::identify: {
      const auto result = admin_.step(now_ns);
      if (!result) return std::unexpected(result.error());
      if (!*result) return false;
      if (!(*result)->status.ok()) return fail("Identify Controller failed: " + (*result)->status.text());
      std::memcpy(&facts_.identity, admin_.data().data(), sizeof facts_.identity);
      if (!has_io_commands(facts_.cap)) {
        ask_for_events(now_ns);
        return false;
      }
      Command command;
      command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::set_features);
      command.cdw10 = features::kFid.put(0u, static_cast<std::uint64_t>(FeatureId::number_of_queues));
      const std::uint64_t wanted = io_queues_wanted_ - 1u;  // 0's based
      command.cdw11 = features::kNsqr.put(features::kNcqr.put(0u, wanted), wanted);
      admin_.start(command, {}, DataDirection::none, now_ns);
      stage_ = Stage::set_queues;
      return false;
    }
    case Stage::set_queues: {
      const auto result = admin_.step(now_ns);
      if (!result) return std::unexpected(result.error());
      if (!*result) return false;
      facts_.queues_refused = (*result)->status;
      // Submission and completion queues are granted apart, and more than asked for may be granted. One that refuses
      // is good for admin commands, which may be what it needs.
      const std::uint64_t granted =
          std::min(features::kNsqr.of((*result)->dw0), features::kNcqr.of((*result)->dw0)) + 1;
      if ((*result)->status.ok())
        facts_.io_queue_pairs = static_cast<std::uint16_t>(std::min<std::uint64_t>(granted, io_queues_wanted_));
      ask_for_events(now_ns);
      return false;
    }
    case Stage::set_events: {
      // One that refuses reports what it reports.
      const auto result = admin_.step(now_ns);
      if (!result) return std::unexpected(result.error());
      if (!*result) return false;
      if (shadows_ == nullptr || (facts_.identity.oacs & oacs::kDoorbellBufferConfig) == 0) {
        stage_ = Stage::done;
        return true;
      }
      Command command;
      command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::doorbell_buffer_config);
      command.prp1 = shadows_->shadows_iova();
      command.prp2 = shadows_->events_iova();
      admin_.start(command, {}, DataDirection::none, now_ns);
      stage_ = Stage::configure_shadows;
      return false;
    }
    case Stage::configure_shadows: {
      const auto result = admin_.step(now_ns);
      if (!result) return std::unexpected(result.error());
      if (!*result) return false;
      facts_.shadow_doorbells = (*result)->status.ok();  // one that refuses goes on with its registers
      if (facts_.shadow_doorbells) shadows_->keep_events();
      stage_ = Stage::done;
      return true;
    }
    case Stage::done:
      return true;
  }
  return true;
}

ShutDown::ShutDown(Registers& registers, std::uint32_t rtd3e_us)
    : registers_(registers), bound_ms_(std::clamp<std::uint64_t>(rtd3e_us / 1000, kShutdownFloorMs, kLongestBoundMs)) {}

Result<bool> ShutDown::step(std::uint64_t now_ns) {
  const auto status = read_csts(registers_);
  if (!status) return std::unexpected(status.error());
  if (deadline_ns_ == 0) {
    const auto config = registers_.read32(reg::kCc);
    if (!config) return std::unexpected(config.error());
    if (cc::kEn.of(*config) == 0) return true;  // nothing runs that could be shut down
    if (const auto written = registers_.write32(reg::kCc, cc::kShn.put(*config, cc::kShnNormal)); !written) {
      return std::unexpected(written.error());
    }
    deadline_ns_ = now_ns + bound_ms_ * kNsPerMs;
    return false;
  }
  if (csts::kShst.of(*status) == csts::kShstComplete) return true;
  if (now_ns < deadline_ns_) return false;
  return fail(fmt::format("the controller did not finish its shutdown within {} ms (CSTS {:#x})", bound_ms_, *status),
              "data that was not flushed may be lost");
}

}  // namespace pollux::nvme
