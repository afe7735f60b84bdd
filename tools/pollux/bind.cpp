#include <algorithm>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/signals_held.hpp"
#include "pollux/vfio/address.hpp"

namespace pollux::cli {
namespace {

Result<std::vector<std::string>> pci_functions(const std::vector<std::string>& addresses) {
  std::vector<std::string> bdfs;
  for (const auto& text : addresses) {
    auto address = vfio::Address::parse(text);
    if (!address) return std::unexpected(std::move(address.error()));
    if (!address->is_pci() || address->nsid)
      return fail(fmt::format("\"{}\" is not a PCI function", text), "a whole function is bound, as in 0000:02:00.0");
    if (std::ranges::find(bdfs, address->target) == bdfs.end()) bdfs.push_back(std::move(address->target));
  }
  return bdfs;
}

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

Result<void> bind(const std::vector<std::string>& addresses, vfio::BindWay way) {
  const auto bdfs = pci_functions(addresses);
  if (!bdfs) return std::unexpected(bdfs.error());
  const SignalsHeld held;
  return tell(*bdfs, vfio::bind(vfio::Sysfs(), *bdfs, way), vfio::kVfioDriver);
}

Result<void> unbind(const std::vector<std::string>& addresses) {
  const auto bdfs = pci_functions(addresses);
  if (!bdfs) return std::unexpected(bdfs.error());
  const SignalsHeld held;
  return tell(*bdfs, vfio::unbind(vfio::Sysfs(), *bdfs), vfio::kNvmeDriver);
}

}  // namespace pollux::cli
