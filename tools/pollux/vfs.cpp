#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/tools/pollux/signals_held.hpp"
#include "pollux/vfio/address.hpp"
#include "pollux/vfio/pci/virtual_functions.hpp"

namespace pollux::cli {

Result<void> vfs(const std::string& text, std::optional<unsigned> count, Format format) {
  const auto address = vfio::Address::parse(text);
  if (!address) return std::unexpected(address.error());
  if (!address->is_pci()) return fail(fmt::format("\"{}\" is not a PCI function", text));
  const std::string& bdf = address->target;
  const vfio::Sysfs sysfs;
  const SignalsHeld held;
  const auto found = count ? vfio::set_virtual_functions(sysfs, bdf, *count) : vfio::virtual_functions(sysfs, bdf);
  if (!found) return std::unexpected(found.error());

  Tree rows = Tree::array();
  for (std::size_t i = 0; i < found->bdfs.size(); ++i) {
    const auto function = sysfs.function(found->bdfs[i]);
    if (!function) return std::unexpected(function.error());
    Tree row;
    row["number"] = i + 1;
    row["BDF"] = function->bdf;
    row["driver"] = function->driver.empty() ? Tree() : Tree(function->driver);
    row["group"] = function->group ? Tree(*function->group) : Tree();
    rows.push_back(std::move(row));
  }
  if (format == Format::json)
    print(rows, format);
  else if (rows.empty())
    fmt::print("{} has no virtual functions; it may have {}\n", bdf, found->total);
  else
    print_table(rows);
  return {};
}

}  // namespace pollux::cli
