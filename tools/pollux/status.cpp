#include <algorithm>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/in_use.hpp"
#include "pollux/vfio/readiness.hpp"
#include "pollux/vfio/sysfs.hpp"

namespace pollux::cli {
namespace {

// The other members of the function's group whose drivers would keep pollux out.
Tree blockers(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  Tree found = Tree::array();
  if (!function.group) return found;
  for (const auto& member : vfio::foreign_members(sysfs, *function.group))
    if (member.bdf != function.bdf) found.push_back(fmt::format("{} is bound to {}", member.bdf, member.driver));
  return found;
}

Tree users(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  Tree found = vfio::uses_of(sysfs, function);
  if (function.group)
    for (const auto& process : vfio::group_holders(sysfs, *function.group)) found.push_back(vfio::describe({process}));
  return found;
}

std::string joined(const Tree& list) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + one.get<std::string>();
  return text;
}

std::string line(const Tree& row) {
  const std::string driver = row["driver"].is_null() ? "no driver" : row["driver"].get<std::string>();
  std::string text = fmt::format("{}  {}", row["BDF"].get<std::string>(), driver);
  if (row["group"].is_null())
    text += ", no IOMMU group";
  else
    text += fmt::format(", group {}, {}", row["group"].get<unsigned>(),
                        row["viable"].get<bool>() ? "viable" : "not viable: " + joined(row["blocked_by"]));
  return text + (row["in_use_by"].empty() ? ", not in use" : ", in use: " + joined(row["in_use_by"]));
}

}  // namespace

Result<void> status(Format format) {
  const vfio::Sysfs sysfs;
  Tree rows = Tree::array();
  for (const auto& function : sysfs.nvm_functions()) {
    Tree row;
    row["BDF"] = function.bdf;
    row["driver"] = function.driver.empty() ? Tree() : Tree(function.driver);
    row["bound"] = function.driver == vfio::kVfioDriver;
    row["group"] = function.group ? Tree(*function.group) : Tree();
    row["blocked_by"] = blockers(sysfs, function);
    row["viable"] = function.group.has_value() && row["blocked_by"].empty();
    row["in_use_by"] = users(sysfs, function);
    rows.push_back(std::move(row));
  }
  if (format == Format::json)
    print(rows, format);
  else if (rows.empty())
    fmt::print("no NVMe function on this machine\n");
  else
    for (const auto& row : rows) fmt::print("{}\n", line(row));
  return {};
}

}  // namespace pollux::cli
