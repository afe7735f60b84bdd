#include <algorithm>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/signals_held.hpp"
#include "pollux/tools/pollux/targets.hpp"

namespace pollux::cli {
namespace {

Result<void> tell(const std::vector<std::string>& bdfs, const Result<vfio::BindReport>& report,
                  std::string_view driver) {
  if (!report) return std::unexpected(report.error());
  for (const auto& bdf : bdfs) {
    const bool changed = std::ranges::find(report->changed, bdf) != report->changed.end();
    fmt::print("{} is bound to {}{}\n", bdf, driver, changed ? "" : " already");
  }
  for (const auto& notice : report->notices) fmt::print(stderr, "pollux: notice: {}\n", notice);
  return {};
}

}  // namespace

Result<void> bind(const std::vector<std::string>& words, vfio::BindWay way) {
  const vfio::Sysfs sysfs;
  const auto bdfs = targets(sysfs, words);
  if (!bdfs) return std::unexpected(bdfs.error());
  const SignalsHeld held;
  auto told = tell(*bdfs, vfio::bind(sysfs, *bdfs, way), vfio::kVfioDriver);
  if (told) fmt::print("next: pollux doctor {}\n", bdfs->front());
  return told;
}

Result<void> unbind(const std::vector<std::string>& words) {
  const vfio::Sysfs sysfs;
  const auto bdfs = targets(sysfs, words);
  if (!bdfs) return std::unexpected(bdfs.error());
  const SignalsHeld held;
  return tell(*bdfs, vfio::unbind(sysfs, *bdfs), vfio::kNvmeDriver);
}

}  // namespace pollux::cli
