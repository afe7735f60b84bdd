// pollux info --kernel: what opening a device has built in the kernel, drawn; each line with the call that told it, and
// with the function of Linux 6.12 that answers (tests/guest/info-kernel looks for each in the kernel's symbols).
#include <fmt/format.h>

#include <pollux/block.hpp>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/info.hpp"
#include "pollux/vfio/kernel/kernel_device.hpp"

namespace pollux::cli {
namespace {

struct Line {
  int depth;
  std::string what;
  std::string call;      // system call, ioctl or file
  std::string function;  // in the kernel
};

// The calls of a door: how an address space and a device are opened by it, and who answers in the kernel.
struct Door {
  Line space, driver, ranges, mappings, attach, group, device;
};

const Door kGroupDoor = {
    {0, "container", "open /dev/vfio/vfio", "vfio_fops_open"},
    {1, "IOMMU driver", "VFIO_SET_IOMMU", "vfio_fops_unl_ioctl, vfio_iommu_type1_open"},
    {1, "IOVA", "VFIO_IOMMU_GET_INFO", "vfio_iommu_type1_ioctl"},
    {1, "mapping", "VFIO_IOMMU_MAP_DMA", "vfio_iommu_type1_ioctl"},
    {1, "domain", "VFIO_GROUP_SET_CONTAINER", "vfio_container_attach_group, vfio_iommu_type1_attach_group"},
    {1, "group", "VFIO_GROUP_GET_STATUS", "vfio_group_fops_unl_ioctl"},
    {2, "device", "VFIO_GROUP_GET_DEVICE_FD", "vfio_group_fops_unl_ioctl, vfio_df_open"},
};

const Door kIommufdDoor = {
    {0, "I/O address space", "open /dev/iommu", "iommufd_fops_open"},
    {1, "IOAS", "IOMMU_IOAS_ALLOC", "iommufd_ioas_alloc_ioctl"},
    {1, "IOVA", "IOMMU_IOAS_IOVA_RANGES", "iommufd_ioas_iova_ranges"},
    {1, "mapping", "IOMMU_IOAS_MAP", "iommufd_ioas_map"},
    {1, "domain", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "vfio_df_ioctl_attach_pt, iommufd_device_attach"},
    {1, "group", "readlink iommu_group", "iommu_group_add_device"},
    {2, "device", "VFIO_DEVICE_BIND_IOMMUFD", "vfio_df_ioctl_bind_iommufd, vfio_df_open"},
};

std::string joined(const Tree& list) {
  std::string text;
  for (const auto& one : list) text += (text.empty() ? "" : ", ") + one.get<std::string>();
  return text.empty() ? "none" : text;
}

Line line(Line base, std::string what) {
  base.what += " " + std::move(what);
  return base;
}

// The ranges that the IOMMU translates, and what lies between and above them.
std::vector<Line> iova_lines(const Door& door, const vfio::IoAddressSpace& space) {
  std::vector<Line> lines;
  vfio::Iova next = 0;
  for (const auto& range : space.usable_ranges()) {
    if (range.first > next)
      lines.push_back(line(door.ranges, fmt::format("hole   {:#x}-{:#x}", next, range.first - 1)));
    lines.push_back(line(door.ranges, fmt::format("range  {:#x}-{:#x}", range.first, range.last)));
    next = range.last + 1;
  }
  if (next != 0) lines.push_back(line(door.ranges, fmt::format("hole   from {:#x} on", next)));
  return lines;
}

std::vector<Line> mapping_lines(const Door& door, dma::Space& space) {
  std::vector<Line> lines;
  for (const auto& [address, mapping] : space.mappings())
    lines.push_back(
        line(door.mappings, fmt::format("{:#x} → {:#x}, {}", mapping.iova, address, binary_size(mapping.size_bytes))));
  const auto left = space.io().mappings_left();
  if (left) lines.push_back(line(door.ranges, fmt::format("mappings left: {}", *left)));
  return lines;
}

std::vector<Line> group_lines(const Door& door, const vfio::Sysfs& sysfs, const vfio::KernelDevice& device) {
  const std::string folder = fmt::format("/sys/kernel/iommu_groups/{}", device.group());
  std::vector<Line> lines = {line(door.group, std::to_string(device.group()))};
  for (const auto& member : sysfs.group_members(device.group()))
    lines.push_back({2,
                     fmt::format("member {}, {}{}", member.bdf, member.driver.empty() ? "no driver" : member.driver,
                                 member.bdf == device.address().target ? ", this one" : ""),
                     folder + "/devices", "iommu_group_add_device"});
  const std::string type = sysfs.line(folder + "/type");
  if (!type.empty())
    lines.push_back(
        {2, fmt::format("the kernel's own domain for it, {}, waits", type), folder + "/type", "iommu_group_show_type"});
  return lines;
}

std::vector<Line> device_lines(const Door& door, const Tree& tree, const vfio::KernelDevice& device) {
  std::vector<Line> lines = {line(door.device, device.address().target)};
  lines.push_back({3, "flags " + joined(tree["device"]["flags"]), "VFIO_DEVICE_GET_INFO", "vfio_pci_core_ioctl"});
  for (const auto& region : tree["regions"])
    lines.push_back({3,
                     fmt::format("region {}, {}: {}; may be mapped: {}", region["name"].get<std::string>(),
                                 binary_size(region["size_bytes"].get<std::uint64_t>()), joined(region["flags"]),
                                 joined(region["mappable"])),
                     "VFIO_DEVICE_GET_REGION_INFO", "vfio_pci_core_ioctl"});
  for (const auto& kind : tree["interrupts"])
    lines.push_back(
        {3,
         fmt::format("interrupt {}, {} vector{}: {}", kind["kind"].get<std::string>(), kind["vectors"].get<unsigned>(),
                     kind["vectors"] == 1u ? "" : "s", joined(kind["flags"])),
         "VFIO_DEVICE_GET_IRQ_INFO", "vfio_pci_core_ioctl"});
  lines.push_back({3, fmt::format("config space, command {}", tree["PCI"]["command"].get<std::string>()),
                   "pread at the config region", "vfio_pci_core_read, vfio_pci_config_rw"});
  return lines;
}

std::vector<Line> lines_of(const Door& door, const Tree& tree, Drive& drive, const vfio::KernelDevice& device) {
  std::vector<Line> lines = {door.space, line(door.driver, tree["container"].get<std::string>())};
  lines.push_back(line(door.ranges, "pages " + joined(tree["DMA"]["page_sizes"])));
  const auto add = [&](std::vector<Line> more) {
    for (auto& one : more) lines.push_back(std::move(one));
  };
  add(iova_lines(door, drive.space()->io()));
  add(mapping_lines(door, *drive.space()));
  lines.push_back(line(door.attach, fmt::format("of this {} alone", door.space.what)));
  add(group_lines(door, vfio::Sysfs(), device));
  add(device_lines(door, tree, device));
  return lines;
}

// Whether another line of that depth follows before the drawing goes back up.
bool goes_on(const std::vector<Line>& lines, std::size_t after, int depth) {
  for (std::size_t i = after + 1; i < lines.size() && lines[i].depth >= depth; i++)
    if (lines[i].depth == depth) return true;
  return false;
}

void draw(const std::vector<Line>& lines) {
  std::vector<std::string> drawn;
  std::vector<std::size_t> columns;  // as wide as they look: a box character is one column and three bytes
  std::size_t width = 0;
  for (std::size_t i = 0; i < lines.size(); i++) {
    const Line& one = lines[i];
    std::string text;
    for (int depth = 1; depth < one.depth; depth++) text += goes_on(lines, i, depth) ? "│  " : "   ";
    if (one.depth > 0) text += goes_on(lines, i, one.depth) ? "├─ " : "└─ ";
    text += one.what;
    columns.push_back(static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; })));
    width = std::max(width, columns.back());
    drawn.push_back(std::move(text));
  }
  std::size_t call_width = 0;
  for (const auto& one : lines) call_width = std::max(call_width, one.call.size());
  for (std::size_t i = 0; i < lines.size(); i++)
    fmt::print("{}{:{}}  {:{}}  {}\n", drawn[i], "", width - columns[i], lines[i].call, call_width, lines[i].function);
}

}  // namespace

Result<void> info_kernel(const std::string& address, Format format) {
  const auto parsed = vfio::Address::parse(address);
  if (!parsed) return std::unexpected(parsed.error());
  if (!parsed->is_pci() || parsed->scheme == "noiommu")
    return fail(fmt::format("no IOMMU of the kernel's stands behind {}", address),
                fmt::format("\"pollux info {}\" tells what it is", address));
  auto drive = Drive::open(address);
  if (!drive) return std::unexpected(std::move(drive.error()));
  auto& device = dynamic_cast<vfio::KernelDevice&>((*drive)->controller().device());
  const std::string space = (*drive)->space()->io().describe();
  Tree tree;
  if (auto added = add_device(tree, (*drive)->space()->io(), device); !added) return added;
  const auto lines = lines_of(space == "iommufd" ? kIommufdDoor : kGroupDoor, tree, **drive, device);
  if (auto down = (*drive)->shutdown(); !down) return down;
  if (format == Format::text) {
    draw(lines);
    return {};
  }
  Tree rows = Tree::array();
  for (const auto& one : lines)
    rows.push_back({{"depth", one.depth}, {"what", one.what}, {"call", one.call}, {"function", one.function}});
  print(rows, format);
  return {};
}

}  // namespace pollux::cli
