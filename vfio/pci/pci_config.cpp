#include "pollux/vfio/pci/pci_config.hpp"

#include <bitset>

namespace pollux::vfio {
namespace {

constexpr std::size_t kConfigBytes = 256;
constexpr std::size_t kExtendedConfigBytes = 4096;
constexpr std::uint16_t kFirstCapability = 0x40;  // behind the header of type 0

template <typename Value>
Result<Value> read_config(Device& device, std::uint64_t offset) {
  Value value = 0;
  auto done = device.read(RegionIndex::config, offset, std::as_writable_bytes(std::span(&value, 1)));
  if (!done) return std::unexpected(std::move(done.error()));
  return value;
}

// Offsets that a walk has seen. Both lists are made of dwords, so a walk is as long as config space at most.
class Visited {
 public:
  // False for an offset that was seen before.
  bool add(std::uint16_t offset) {
    if (seen_[offset / 4]) return false;
    seen_[offset / 4] = true;
    return true;
  }

 private:
  std::bitset<kExtendedConfigBytes / 4> seen_;
};

Result<void> walk_standard(Device& device, std::vector<PciCapability>& found) {
  const auto status = read_config16(device, pci::kStatus);
  if (!status) return std::unexpected(status.error());
  if ((*status & pci::kStatusCapabilities) == 0) return {};
  auto next = read_config8(device, pci::kCapabilities);
  Visited visited;
  while (next) {
    const auto offset = static_cast<std::uint16_t>(*next & 0xfc);  // the low two bits are reserved
    if (offset == 0) return {};
    if (offset < kFirstCapability)
      return fail(
          fmt::format("the capability list of {} leads into the header, {:#x}", device.address().target, offset));
    if (!visited.add(offset))
      return fail(fmt::format("the capability list of {} comes back to {:#x}", device.address().target, offset));
    const auto header = read_config16(device, offset);
    if (!header) return std::unexpected(header.error());
    found.push_back({static_cast<std::uint16_t>(*header & 0xff), 0, offset, false});
    next = static_cast<std::uint8_t>(*header >> 8);
  }
  return std::unexpected(next.error());
}

Result<void> walk_extended(Device& device, std::vector<PciCapability>& found) {
  const auto config = device.region_info(RegionIndex::config);
  if (!config) return std::unexpected(config.error());
  if (config->size_bytes < kExtendedConfigBytes) return {};
  Visited visited;
  for (auto offset = static_cast<std::uint16_t>(pci::kExtendedCapabilities); offset != 0;) {
    if (offset < kConfigBytes)
      return fail(fmt::format("the extended capability list of {} leads to {:#x}", device.address().target, offset));
    if (!visited.add(offset))
      return fail(
          fmt::format("the extended capability list of {} comes back to {:#x}", device.address().target, offset));
    const auto header = read_config32(device, offset);
    if (!header) return std::unexpected(header.error());
    if (*header == 0 || *header == 0xffff'ffff) return {};  // an empty list, as 7.9.1 has it
    // A null capability (id 0) only carries the chain on: vfio-pci hides capabilities that way.
    if ((*header & 0xffff) != 0)
      found.push_back(
          {static_cast<std::uint16_t>(*header & 0xffff), static_cast<std::uint8_t>(*header >> 16 & 0xf), offset, true});
    offset = static_cast<std::uint16_t>(*header >> 20 & 0xffc);
  }
  return {};
}

}  // namespace

Result<std::uint8_t> read_config8(Device& device, std::uint64_t offset) {
  return read_config<std::uint8_t>(device, offset);
}
Result<std::uint16_t> read_config16(Device& device, std::uint64_t offset) {
  return read_config<std::uint16_t>(device, offset);
}
Result<std::uint32_t> read_config32(Device& device, std::uint64_t offset) {
  return read_config<std::uint32_t>(device, offset);
}

Result<void> write_config16(Device& device, std::uint64_t offset, std::uint16_t value) {
  return device.write(RegionIndex::config, offset, std::as_bytes(std::span(&value, 1)));
}

Result<PciIds> read_ids(Device& device) {
  const auto ids = read_config32(device, pci::kVendor);
  const auto class_revision = read_config32(device, pci::kRevision);
  const auto subsystem = read_config32(device, pci::kSubsystemVendor);
  for (const auto* one : {&ids, &class_revision, &subsystem})
    if (!*one) return std::unexpected(one->error());
  if ((*ids & 0xffff) == 0xffff)
    return fail(fmt::format("{} does not answer: its vendor id reads as ffff", device.address().target),
                "was it removed, or is it powered off?");
  return PciIds{.vendor = static_cast<std::uint16_t>(*ids & 0xffff),
                .device = static_cast<std::uint16_t>(*ids >> 16),
                .subsystem_vendor = static_cast<std::uint16_t>(*subsystem & 0xffff),
                .subsystem = static_cast<std::uint16_t>(*subsystem >> 16),
                .class_code = *class_revision >> 8,
                .revision = static_cast<std::uint8_t>(*class_revision & 0xff)};
}

Result<std::vector<PciCapability>> read_capabilities(Device& device) {
  std::vector<PciCapability> found;
  if (auto walked = walk_standard(device, found); !walked) return std::unexpected(std::move(walked.error()));
  if (auto walked = walk_extended(device, found); !walked) return std::unexpected(std::move(walked.error()));
  return found;
}

Result<std::uint16_t> find_capability(Device& device, std::uint16_t id) {
  std::vector<PciCapability> found;
  if (auto walked = walk_standard(device, found); !walked) return std::unexpected(std::move(walked.error()));
  for (const PciCapability& one : found)
    if (one.id == id) return one.offset;
  return std::uint16_t{0};
}

std::string_view name_of(const PciCapability& capability) {
  struct Name {
    std::uint16_t id;
    std::string_view text;
  };
  static constexpr Name kStandard[] = {{0x01, "Power Management"},
                                       {0x03, "Vital Product Data"},
                                       {0x05, "MSI"},
                                       {0x09, "Vendor Specific"},
                                       {0x10, "PCI Express"},
                                       {0x11, "MSI-X"},
                                       {0x12, "SATA"},
                                       {0x13, "Advanced Features"}};
  static constexpr Name kExtended[] = {{0x01, "Advanced Error Reporting"},
                                       {0x02, "Virtual Channel"},
                                       {0x03, "Device Serial Number"},
                                       {0x04, "Power Budgeting"},
                                       {0x0b, "Vendor Specific"},
                                       {0x0d, "Access Control Services"},
                                       {0x0e, "Alternative Routing-ID"},
                                       {0x0f, "Address Translation Services"},
                                       {0x10, "Single Root I/O Virtualization"},
                                       {0x13, "Page Request"},
                                       {0x15, "Resizable BAR"},
                                       {0x17, "TPH Requester"},
                                       {0x18, "Latency Tolerance Reporting"},
                                       {0x19, "Secondary PCI Express"},
                                       {0x1b, "PASID"},
                                       {0x1d, "Downstream Port Containment"},
                                       {0x1e, "L1 PM Substates"},
                                       {0x1f, "Precision Time Measurement"},
                                       {0x25, "Data Link Feature"},
                                       {0x26, "Physical Layer 16.0 GT/s"},
                                       {0x27, "Lane Margining"},
                                       {0x2a, "Physical Layer 32.0 GT/s"}};
  const std::span<const Name> names =
      capability.extended ? std::span<const Name>(kExtended) : std::span<const Name>(kStandard);
  for (const auto& name : names)
    if (name.id == capability.id) return name.text;
  return "unknown";
}

Result<bool> bus_master(Device& device) {
  const auto command = read_config16(device, pci::kCommand);
  if (!command) return std::unexpected(command.error());
  return (*command & pci::kCommandBusMaster) != 0;
}

Result<void> set_bus_master(Device& device, bool on) {
  const auto command = read_config16(device, pci::kCommand);
  if (!command) return std::unexpected(command.error());
  const auto wanted =
      static_cast<std::uint16_t>(on ? *command | pci::kCommandBusMaster : *command & ~pci::kCommandBusMaster);
  if (auto written = write_config16(device, pci::kCommand, wanted); !written) return written;
  const auto now = bus_master(device);
  if (!now) return std::unexpected(now.error());
  if (*now != on)
    return fail(fmt::format("{} does not keep Bus Master Enable {} (command register {:#06x})", device.address().target,
                            on ? "set" : "clear", wanted));
  return {};
}

}  // namespace pollux::vfio
