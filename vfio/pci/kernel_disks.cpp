#include "pollux/vfio/pci/kernel_disks.hpp"

#include <algorithm>

namespace pollux::vfio {
namespace {

// What the kernel knows a block device's namespace by.
struct Identity {
  std::string name;
  std::string wwid;
  std::string subsystem_nqn, serial, model;
  std::uint64_t nsid = 0;  // 0: unknown
};

std::string unpadded(std::string text) {
  text.erase(std::min(text.find('\0'), text.size()));
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// `device` is the controller, or with multipath the subsystem; both have these attributes.
Identity identity_of(const Sysfs& sysfs, const std::string& name) {
  const std::string folder = "/sys/class/block/" + name;
  return {name,
          sysfs.line(folder + "/wwid"),
          sysfs.line(folder + "/device/subsysnqn"),
          unpadded(sysfs.line(folder + "/device/serial")),
          unpadded(sysfs.line(folder + "/device/model")),
          sysfs.number(folder + "/nsid").value_or(0)};
}

std::vector<Identity> all_disks(const Sysfs& sysfs) {
  std::vector<Identity> found;
  auto names = sysfs.names("/sys/class/block");
  std::ranges::sort(names, counts_before);
  for (const auto& name : names)
    if (block_device_name(name) == name) found.push_back(identity_of(sysfs, name));
  return found;
}

bool same_namespace(const Identity& a, const Identity& b) {
  if (!a.wwid.empty() && !b.wwid.empty()) return a.wwid == b.wwid;
  return a.nsid != 0 && a.nsid == b.nsid && !a.subsystem_nqn.empty() && a.subsystem_nqn == b.subsystem_nqn;
}

bool same_namespace(const Identity& disk, const NamespaceName& named) {
  if (disk.nsid == 0 || disk.nsid != named.nsid) return false;
  if (!disk.subsystem_nqn.empty() && disk.subsystem_nqn == unpadded(named.subsystem_nqn)) return true;
  const std::string serial = unpadded(named.serial);
  return !serial.empty() && disk.serial == serial && disk.model == unpadded(named.model);
}

// With multipath the subsystem's folder has the disk, and each controller's a path to it.
std::vector<std::string> who_reaches(const Sysfs& sysfs, const std::string& disk) {
  constexpr std::string_view kControllers = "/sys/class/nvme";
  std::vector<std::string> found;
  for (const auto& controller : sysfs.names(kControllers)) {
    const std::string folder = fmt::format("{}/{}", kControllers, controller);
    const auto entries = sysfs.names(folder);
    if (std::ranges::none_of(entries, [&](const auto& entry) { return block_device_name(entry) == disk; })) continue;
    const std::string parent = sysfs.link_name(folder + "/device");
    found.push_back(sysfs.function(parent) ? parent : controller);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

std::vector<KernelDisk> disks_of(const Sysfs& sysfs, const PciFunction& function) {
  std::vector<KernelDisk> disks;
  std::vector<Identity> own;
  for (const auto& name : function.block_devices) {
    disks.push_back({name, true, who_reaches(sysfs, name)});
    own.push_back(identity_of(sysfs, name));
  }
  if (own.empty()) return disks;
  for (const auto& disk : all_disks(sysfs)) {
    if (std::ranges::find(function.block_devices, disk.name) != function.block_devices.end()) continue;
    if (std::ranges::any_of(own, [&](const Identity& one) { return same_namespace(disk, one); }))
      disks.push_back({disk.name, false, who_reaches(sysfs, disk.name)});
  }
  return disks;
}

std::vector<KernelDisk> disks_of(const Sysfs& sysfs, std::span<const NamespaceName> namespaces) {
  std::vector<KernelDisk> disks;
  for (const auto& disk : all_disks(sysfs))
    if (std::ranges::any_of(namespaces, [&](const NamespaceName& one) { return same_namespace(disk, one); }))
      disks.push_back({disk.name, false, who_reaches(sysfs, disk.name)});
  return disks;
}

}  // namespace pollux::vfio
