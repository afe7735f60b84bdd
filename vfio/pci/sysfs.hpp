// What the kernel tells of PCI functions in sysfs, and the few attributes that pollux writes there.
// The root may be a folder that stands for "/", so that a test shows a machine of its own; the same root serves /proc
// and /dev. Source: Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

inline constexpr std::uint32_t kClassNvm = 0x0108;  // base class 01h, sub-class 08h: non-volatile memory controller

struct PciFunction {
  std::string bdf;  // 0000:02:00.0
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint32_t class_code = 0;            // 24 bits: base class, sub-class, interface
  std::string driver;                      // empty: none
  std::optional<unsigned> group;           // nothing: no IOMMU translates for it
  int numa_node = -1;                      // -1: unknown
  std::vector<std::string> block_devices;  // "nvme0n1"; n2 before n10
  std::string link;                        // "8.0 GT/s PCIe x4", empty where sysfs does not tell
  std::string physical_function;           // whose virtual function it is; empty: it is none

  bool is_nvm() const { return class_code >> 8 == kClassNvm; }
};

// What a device node stands for: block and character devices count apart.
struct DeviceNode {
  bool block = false;
  std::string number;  // "259:0", as a "dev" attribute has it

  bool operator==(const DeviceNode&) const = default;
};

class Sysfs {
 public:
  // Writes `text` to the attribute at `path` (already below the root) in one write.
  using Writer = std::function<Result<void>(const std::string& path, std::string_view text)>;

  // `root` without a slash at its end. `writer` replaces the write itself, where a test plays the kernel.
  explicit Sysfs(std::string root = {}, Writer writer = {});

  // The place of an absolute path below the root.
  std::string path(std::string_view absolute) const { return root_ + std::string(absolute); }

  // Facts of one function. Error: no such function.
  Result<PciFunction> function(const std::string& bdf) const;

  // Every function of class 0108xx, by address.
  std::vector<PciFunction> nvm_functions() const;

  // Every function that passes `keep`, by address.
  std::vector<PciFunction> functions(const std::function<bool(const PciFunction&)>& keep) const;

  // The functions that the IOMMU cannot keep apart, by address.
  std::vector<PciFunction> group_members(unsigned group) const;

  // The name of the driver bound now; empty: none. Reads one link, for a look after a write.
  std::string driver_of(const std::string& bdf) const;

  // Whether this PCI driver is in the kernel or loaded.
  bool has_driver(std::string_view driver) const;

  // First line of a file without its end, or empty where it cannot be read.
  std::string line(std::string_view absolute) const;

  // The number that a file begins with, decimal or behind 0x; nothing where there is none.
  std::optional<std::uint64_t> number(std::string_view absolute) const;

  // Names in a folder, sorted; empty where there is none. At most kMaxEntries.
  std::vector<std::string> names(std::string_view absolute) const;

  // Where the link at `absolute` points, and the last part of that; empty where it is no link.
  std::string link_target(std::string_view absolute) const;
  std::string link_name(std::string_view absolute) const;

  // The device node that a path leads to, over links; nothing where it leads to none. Never waits for a file server.
  std::optional<DeviceNode> node_at(std::string_view absolute) const;

  // Writes an attribute. Errors: no permission, and what the kernel answers.
  Result<void> write(std::string_view absolute, std::string_view text) const;

  static constexpr std::size_t kMaxEntries = 65536;

 private:
  std::string root_;
  Writer writer_;
};

// Folders and names of sysfs that several files use.
std::string function_folder(std::string_view bdf);   // /sys/bus/pci/devices/BDF
std::string driver_folder(std::string_view driver);  // /sys/bus/pci/drivers/NAME

// The block device of a namespace that an entry of a controller's folder is: "nvme0n1" itself, or of the path
// "nvme0c1n1" (nvme-multipath) "nvme0n1". Empty for anything else, a partition too.
std::string block_device_name(std::string_view entry);

// In the order that people count in: nvme0n2 before nvme0n10. Not for addresses, which are hexadecimal.
bool counts_before(std::string_view a, std::string_view b);

inline constexpr std::string_view kVfioDriver = "vfio-pci";
inline constexpr std::string_view kNvmeDriver = "nvme";

}  // namespace pollux::vfio
