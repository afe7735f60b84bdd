// pollux list: the drives as `nvme list` shows them, and those that nvme-cli cannot see, as the kernel does not drive
// them. All of it is the kernel's own knowledge: nothing is opened, and nothing asked of a drive.
#include <string_view>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/list.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {
namespace {

constexpr std::uint64_t kSectorBytes = 512;  // of /sys/block/NAME/size, whatever the drive's own

Tree attribute_of(const vfio::Sysfs& sysfs, const std::string& path) {
  const std::string text = printable(sysfs.line(path));
  return text.empty() ? Tree() : Tree(text);
}

Tree number_of(const vfio::Sysfs& sysfs, const std::string& path) {
  const auto value = sysfs.number(path);
  return value ? Tree(*value) : Tree();
}

// A row in nvme-cli's names and order. `controller` and `disk` are empty where the kernel's nvme has none.
Tree row_of(const vfio::Sysfs& sysfs, const vfio::PciFunction& function, const std::string& controller,
            const std::string& disk) {
  const std::string about_controller = "/sys/class/nvme/" + controller;
  const std::string about_disk = "/sys/class/block/" + disk;
  const Tree sectors = number_of(sysfs, about_disk + "/size");
  const Tree sector_bytes = number_of(sysfs, about_disk + "/queue/logical_block_size");
  // Of a format that it does not drive (metadata without protection information) the kernel makes a disk of size 0.
  const bool known = !sector_bytes.is_null() && sector_bytes != 0;
  const bool sized = known && !sectors.is_null() && sectors != 0;
  const std::uint64_t bytes = sized ? sectors.get<std::uint64_t>() * kSectorBytes : 0;
  const Tree used_blocks = number_of(sysfs, about_disk + "/nuse");  // since Linux 6.8
  Tree row;
  row["NameSpace"] = number_of(sysfs, about_disk + "/nsid");
  row["DevicePath"] = disk.empty() ? Tree() : Tree("/dev/" + disk);
  row["Firmware"] = attribute_of(sysfs, about_controller + "/firmware_rev");
  row["ModelNumber"] = attribute_of(sysfs, about_controller + "/model");
  row["SerialNumber"] = attribute_of(sysfs, about_controller + "/serial");
  row["UsedBytes"] = known && !used_blocks.is_null()
                         ? Tree(used_blocks.get<std::uint64_t>() * sector_bytes.get<std::uint64_t>())
                         : Tree();
  row["MaximumLBA"] = sized ? Tree(bytes / sector_bytes.get<std::uint64_t>()) : Tree();
  row["PhysicalSize"] = sized ? Tree(bytes) : Tree();
  row["SectorSize"] = sector_bytes;
  row["Address"] = function.bdf;
  row["Id"] = fmt::format("{:04x}:{:04x}", function.vendor, function.device);
  row["Driver"] = function.driver.empty() ? Tree() : Tree(function.driver);
  return row;
}

Tree rows_of(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  const auto controllers = sysfs.names(vfio::function_folder(function.bdf) + "/nvme");
  const std::string controller = controllers.empty() ? std::string() : controllers.front();
  Tree rows = Tree::array();
  for (const auto& disk : function.block_devices) rows.push_back(row_of(sysfs, function, controller, disk));
  if (rows.empty()) rows.push_back(row_of(sysfs, function, controller, {}));
  return rows;
}

// For people: sizes with their units, as nvme-cli's columns have them.
Tree shown(const Tree& row) {
  const auto size = [](const Tree& bytes) {
    return bytes.is_null() ? std::string("-") : binary_size(bytes.get<std::uint64_t>());
  };
  Tree line;
  line["node"] = row["DevicePath"];
  line["SN"] = row["SerialNumber"];
  line["model"] = row["ModelNumber"];
  line["namespace"] = row["NameSpace"];
  line["usage"] = fmt::format("{} / {}", size(row["UsedBytes"]), size(row["PhysicalSize"]));
  line["format"] = row["SectorSize"].is_null() ? Tree() : Tree(size(row["SectorSize"]));
  line["FW_rev"] = row["Firmware"];
  for (const char* name : {"Address", "Id", "Driver"}) line[name] = row[name];
  return line;
}

}  // namespace

Tree list_of(const vfio::Sysfs& sysfs) {
  Tree devices = Tree::array();
  for (const auto& function : sysfs.nvm_functions())
    for (auto& row : rows_of(sysfs, function)) devices.push_back(std::move(row));
  return devices;
}

Result<void> list(Format format) {
  const Tree devices = list_of(vfio::Sysfs());
  if (format == Format::json) {
    print(Tree{{"Devices", devices}}, format);
  } else if (devices.empty()) {
    fmt::print("no NVMe function on this machine; the address soft:size=1GiB works without one\n");
  } else {
    Tree lines = Tree::array();
    for (const auto& row : devices) lines.push_back(shown(row));
    print_table(lines);
  }
  return {};
}

}  // namespace pollux::cli
