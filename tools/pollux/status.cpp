// pollux status: hugepages, and of each function whose it is, as SPDK's `setup.sh status` shows them; and besides what
// keeps pollux from it.
#include <algorithm>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/hugepages.hpp"
#include "pollux/tools/pollux/list.hpp"
#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {
namespace {

// The other members of the function's group whose drivers would keep pollux out.
Tree blockers(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  Tree found = Tree::array();
  for (const auto& member : vfio::foreign_neighbours(sysfs, function))
    found.push_back(fmt::format("{} is bound to {}", member.bdf, member.driver));
  return found;
}

Tree users(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  Tree found = vfio::uses_of(sysfs, function);
  if (function.group)
    for (const auto& process : vfio::group_holders(sysfs, *function.group)) found.push_back(vfio::describe({process}));
  return found;
}

Tree row_of(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  constexpr std::uint32_t kNvmExpress = 0x010802;
  const auto controllers = sysfs.names(vfio::function_folder(function.bdf) + "/nvme");
  Tree row;
  row["type"] = function.class_code == kNvmExpress ? "NVMe" : fmt::format("{:06x}", function.class_code);
  row["BDF"] = function.bdf;
  row["vendor"] = fmt::format("{:04x}", function.vendor);
  row["device"] = fmt::format("{:04x}", function.device);
  row["NUMA"] = function.numa_node < 0 ? Tree() : Tree(function.numa_node);
  row["driver"] = function.driver.empty() ? Tree() : Tree(function.driver);
  row["controller"] = controllers.empty() ? Tree() : Tree(controllers.front());
  row["block_devices"] = function.block_devices;
  row["group"] = function.group ? Tree(*function.group) : Tree();
  row["blocked_by"] = blockers(sysfs, function);
  row["viable"] = function.group.has_value() && row["blocked_by"].empty();
  row["in_use_by"] = users(sysfs, function);
  return row;
}

Tree hugepages(const vfio::Sysfs& sysfs) {
  Tree rows = Tree::array();
  for (const auto& pool : hugepage_pools(sysfs))
    rows.push_back({{"node", pool.node}, {"hugesize", pool.size}, {"free", pool.free}, {"total", pool.total}});
  return rows;
}

}  // namespace

Tree status_of(const vfio::Sysfs& sysfs) {
  Tree tree;
  tree["hugepages"] = hugepages(sysfs);
  tree["functions"] = Tree::array();
  for (const auto& function : sysfs.nvm_functions()) tree["functions"].push_back(row_of(sysfs, function));
  return tree;
}

Result<void> status(Format format) {
  const Tree tree = status_of(vfio::Sysfs());
  if (format == Format::json) {
    print(tree, format);
    return {};
  }
  if (!tree["hugepages"].empty()) {
    print_table(tree["hugepages"]);
    fmt::print("\n");
  }
  if (tree["functions"].empty())
    fmt::print("no NVMe function on this machine\n");
  else
    print_table(tree["functions"]);
  return {};
}

}  // namespace pollux::cli
