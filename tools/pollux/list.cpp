#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/sysfs.hpp"

namespace pollux::cli {

Result<void> list(Format format) {
  constexpr std::uint32_t kNvmExpress = 0x010802;
  Tree rows = Tree::array();
  for (const auto& function : vfio::Sysfs().nvm_functions()) {
    Tree row;
    row["type"] = function.class_code == kNvmExpress ? "NVMe" : fmt::format("{:06x}", function.class_code);
    row["BDF"] = function.bdf;
    row["vendor"] = fmt::format("{:04x}", function.vendor);
    row["device"] = fmt::format("{:04x}", function.device);
    row["NUMA"] = function.numa_node < 0 ? Tree() : Tree(function.numa_node);
    row["driver"] = function.driver.empty() ? Tree() : Tree(function.driver);
    row["group"] = function.group ? Tree(*function.group) : Tree();
    row["link"] = function.link.empty() ? Tree() : Tree(function.link);
    row["block_devices"] = function.block_devices;
    rows.push_back(std::move(row));
  }
  if (format == Format::json)
    print(rows, format);
  else if (rows.empty())
    fmt::print("no NVMe function on this machine; the address soft:size=1GiB works without one\n");
  else
    print_table(rows);
  return {};
}

}  // namespace pollux::cli
