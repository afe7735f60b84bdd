// The features that the application has set: a reset of the controller takes them (NVMe base 2.0c, 5.27.1), so they are
// kept here, and set again before any owner hears that the controller is up.
#include <algorithm>
#include <cstdint>

#include "pollux/driver/controller/controller.hpp"

namespace pollux::nvme {
namespace {

FeatureId feature_of(const Command& command) { return static_cast<FeatureId>(features::kFid.of(command.cdw10)); }

bool is_kept(const Command& command) {
  if (static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0)) != AdminOpcode::set_features) return false;
  switch (feature_of(command)) {
    case FeatureId::number_of_queues:
    case FeatureId::host_memory_buffer:
    case FeatureId::timestamp:
    case FeatureId::interrupt_vector_configuration:  // its queue is made later
      return false;
    default:
      return true;
  }
}

// Whether the later of two sets what the earlier has set: one temperature threshold of several is chosen by bits of
// CDW11, figure 321.
bool replaces(const Command& later, const Command& earlier) {
  constexpr std::uint32_t kWhichThreshold = 0x003f'0000;  // TMPSEL, THSEL
  if (feature_of(later) != feature_of(earlier) || later.nsid != earlier.nsid) return false;
  return feature_of(later) != FeatureId::temperature_threshold ||
         (later.cdw11 & kWhichThreshold) == (earlier.cdw11 & kWhichThreshold);
}

}  // namespace

Result<void> Controller::room_for_setting(const Command& command) const {
  if (!is_kept(command) || settings_.size() < kMaxSettings) return {};
  const auto replaced = [&](const Setting& setting) { return replaces(command, setting.command); };
  if (std::any_of(settings_.begin(), settings_.end(), replaced)) return {};
  return fail(fmt::format("{} different features are set: no more are kept over a reset", kMaxSettings),
              "set fewer features");
}

// Those of a namespace that the command has deleted or detached.
void Controller::forget_settings(const Command& command) {
  const auto opcode = static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0));
  if (opcode != AdminOpcode::namespace_management && opcode != AdminOpcode::namespace_attachment) return;
  const std::uint32_t nsid = namespace_changed_by(command);
  std::erase_if(settings_, [&](const Setting& setting) {
    return setting.command.nsid != 0 && setting.command.nsid != kNsidAll &&
           (nsid == kNsidAll || setting.command.nsid == nsid);
  });
}

void Controller::remember_setting(const Command& command, std::span<const std::byte> data, DataDirection direction) {
  if (!is_kept(command)) return;
  std::erase_if(settings_, [&](const Setting& setting) { return replaces(command, setting.command); });
  settings_.push_back({command, {data.begin(), data.end()}, direction});
}

// One that the controller refuses now, having taken it before, is no small thing: the application may rely on it, as on
// a write cache that is off.
Result<void> Controller::restore_settings() {
  for (Setting& setting : settings_) {
    const auto result = admin_locked(setting.command, setting.data, setting.direction);
    if (!result) return std::unexpected(result.error());
    if (result->status.ok()) continue;
    return fail(fmt::format("after the reset the controller refuses feature {:02X}h, which was set before: {}",
                            features::kFid.of(setting.command.cdw10), result->status.text()),
                "open the drive anew");
  }
  return {};
}

}  // namespace pollux::nvme
