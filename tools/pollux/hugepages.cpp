#include "pollux/tools/pollux/hugepages.hpp"

#include <algorithm>

namespace pollux::cli {
namespace {

void add_pools(const vfio::Sysfs& sysfs, const std::string& node, const std::string& folder,
               std::vector<HugepagePool>& pools) {
  constexpr std::string_view kPrefix = "hugepages-";
  for (const auto& size : sysfs.names(folder)) {
    if (!size.starts_with(kPrefix)) continue;
    const std::string pool = fmt::format("{}/{}", folder, size);
    pools.push_back({node, size.substr(kPrefix.size()), pool, sysfs.number(pool + "/free_hugepages").value_or(0),
                     sysfs.number(pool + "/nr_hugepages").value_or(0)});
  }
}

}  // namespace

std::vector<HugepagePool> hugepage_pools(const vfio::Sysfs& sysfs) {
  constexpr std::string_view kNodes = "/sys/devices/system/node";
  std::vector<HugepagePool> pools;
  auto nodes = sysfs.names(kNodes);
  std::ranges::sort(nodes, vfio::counts_before);
  for (const auto& node : nodes)
    if (node.starts_with("node")) add_pools(sysfs, node, fmt::format("{}/{}/hugepages", kNodes, node), pools);
  // A kernel without NUMA.
  if (pools.empty()) add_pools(sysfs, "node0", "/sys/kernel/mm/hugepages", pools);
  return pools;
}

}  // namespace pollux::cli
