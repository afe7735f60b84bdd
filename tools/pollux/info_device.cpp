#include <linux/vfio.h>

#include "pollux/tools/pollux/info.hpp"
#include "pollux/vfio/kernel/container.hpp"
#include "pollux/vfio/kernel/kernel_device.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::cli {
namespace {

constexpr const char* kRegionNames[] = {"BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "ROM", "config"};
constexpr const char* kInterruptNames[] = {"INTx", "MSI", "MSI-X", "error", "request"};

Tree flags_of(const vfio::KernelDevice& device) {
  struct Flag {
    std::uint32_t bit;
    const char* name;
  };
  constexpr Flag kFlags[] = {
      {VFIO_DEVICE_FLAGS_PCI, "PCI"}, {VFIO_DEVICE_FLAGS_RESET, "RESET"}, {VFIO_DEVICE_FLAGS_CAPS, "CAPS"}};
  Tree found = Tree::array();
  for (const auto& flag : kFlags)
    if ((device.flags() & flag.bit) != 0) found.push_back(flag.name);
  return found;
}

// Group and device as the kernel shows them; another backend has neither.
void add_kernel_facts(Tree& tree, const vfio::KernelDevice& device) {
  Tree& group = tree["group"];
  group["number"] = device.group();
  Tree members = Tree::array();
  for (const auto& member : vfio::Sysfs().group_members(device.group()))
    members.push_back(fmt::format("{} ({})", member.bdf, member.driver.empty() ? "no driver" : member.driver));
  group["members"] = members;
  Tree& facts = tree["device"];
  facts["flags"] = flags_of(device);
  facts["regions"] = device.region_count();
  facts["interrupts"] = device.interrupt_count();
}

Result<void> add_regions(Tree& tree, vfio::Device& device) {
  Tree rows = Tree::array();
  for (unsigned index = 0; index < std::size(kRegionNames); index++) {
    const auto region = device.region_info(static_cast<vfio::RegionIndex>(index));
    if (!region) return std::unexpected(region.error());
    if (region->size_bytes == 0) continue;
    Tree flags = Tree::array();
    if (region->readable) flags.push_back("read");
    if (region->writable) flags.push_back("write");
    if (region->msix_mappable) flags.push_back("msix-mappable");
    Tree areas = Tree::array();
    for (const auto& area : region->mappable) areas.push_back(fmt::format("{:#x}+{:#x}", area.offset, area.size_bytes));
    rows.push_back(
        {{"name", kRegionNames[index]}, {"size_bytes", region->size_bytes}, {"flags", flags}, {"mappable", areas}});
  }
  tree["regions"] = rows;
  return {};
}

Result<void> add_interrupts(Tree& tree, vfio::Device& device) {
  Tree rows = Tree::array();
  for (unsigned index = 0; index < std::size(kInterruptNames); index++) {
    const auto found = device.interrupt_info(static_cast<vfio::InterruptIndex>(index));
    if (!found) return std::unexpected(found.error());
    if (found->count == 0) continue;
    Tree flags = Tree::array();
    if (found->eventfd) flags.push_back("eventfd");
    if (found->maskable) flags.push_back("maskable");
    if (found->automasked) flags.push_back("automasked");
    if (found->noresize) flags.push_back("noresize");
    rows.push_back({{"kind", kInterruptNames[index]}, {"vectors", found->count}, {"flags", flags}});
  }
  tree["interrupts"] = rows;
  return {};
}

void add_dma(Tree& tree, const vfio::IoAddressSpace& space) {
  Tree& facts = tree["DMA"];
  Tree sizes = Tree::array();
  for (unsigned bit = 0; bit < 64; bit++)
    if ((space.page_sizes() >> bit & 1) != 0) sizes.push_back(binary_size(std::uint64_t{1} << bit));
  facts["page_sizes"] = sizes;
  Tree ranges = Tree::array();
  for (const auto& range : space.usable_ranges()) ranges.push_back(fmt::format("{:#x}-{:#x}", range.first, range.last));
  facts["iova_ranges"] = ranges;
  const auto left = space.mappings_left();
  facts["mappings_left"] = left ? Tree(*left) : Tree("no limit known");
}

Result<void> add_pci(Tree& tree, vfio::Device& device) {
  const auto ids = vfio::read_ids(device);
  if (!ids) return std::unexpected(ids.error());
  const auto command = vfio::read_config16(device, vfio::pci::kCommand);
  if (!command) return std::unexpected(command.error());
  Tree& facts = tree["PCI"];
  facts["id"] = fmt::format("{:04x}:{:04x}", ids->vendor, ids->device);
  facts["subsystem"] = fmt::format("{:04x}:{:04x}", ids->subsystem_vendor, ids->subsystem);
  facts["class"] = fmt::format("{:06x}", ids->class_code);
  facts["revision"] = fmt::format("{:02x}", ids->revision);
  facts["command"] = fmt::format("{:#06x}", *command);
  facts["bus_master"] = (*command & vfio::pci::kCommandBusMaster) != 0;
  const auto capabilities = vfio::read_capabilities(device);
  if (!capabilities) return std::unexpected(capabilities.error());
  Tree names = Tree::array();
  for (const auto& one : *capabilities) names.push_back(fmt::format("{:#x} {}", one.offset, vfio::name_of(one)));
  facts["capabilities"] = names;
  return {};
}

}  // namespace

Result<void> add_device(Tree& tree, vfio::IoAddressSpace& space, vfio::Device& device) {
  tree["container"] = space.describe();
  if (const auto* kernel = dynamic_cast<const vfio::KernelDevice*>(&device)) add_kernel_facts(tree, *kernel);
  if (auto added = add_regions(tree, device); !added) return added;
  if (auto added = add_interrupts(tree, device); !added) return added;
  add_dma(tree, space);
  return add_pci(tree, device);
}

}  // namespace pollux::cli
