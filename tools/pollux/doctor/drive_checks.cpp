#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <set>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/neighbours.hpp"
#include "pollux/vfio/pci/pci_config.hpp"
#include "pollux/vfio/pci/readiness.hpp"

namespace pollux::cli {
namespace {

using vfio::PciFunction;
using vfio::Sysfs;

Finding function_class(const PciFunction& function) {
  const std::string found =
      fmt::format("{:04x}:{:04x}, class {:06x}", function.vendor, function.device, function.class_code);
  if (function.is_nvm()) return {"function", Severity::fine, found};
  return {"function", Severity::blocked, found + ": this is no NVMe controller",
          "\"pollux list\" shows those that are"};
}

std::string remedy_for(const Sysfs& sysfs, const PciFunction& member) {
  switch (vfio::way_out(sysfs, member)) {
    case vfio::WayOut::bind:
      return fmt::format("as root: pollux bind {}", member.bdf);
    case vfio::WayOut::unbind:
      return fmt::format(
          "as root: echo {0} > /sys/bus/pci/devices/{0}/driver/unbind    # if nobody needs it: else move the drive to "
          "another slot",
          member.bdf);
    case vfio::WayOut::move:
      break;
  }
  return fmt::format("move the drive to another slot: the kernel's drives live on {}", member.bdf);
}

// What must leave the function's group, a finding each; the function itself is judged by its driver.
Findings group(const Sysfs& sysfs, const PciFunction& function) {
  const std::string check = "IOMMU group";
  if (!function.group && vfio::noiommu_enabled(sysfs))
    return {{check, Severity::warning, "none: no IOMMU translates for it, and VFIO takes it without"}};
  if (!function.group)
    return {
        {check, Severity::blocked, "none: no IOMMU translates for it", vfio::explain_no_iommu(function.bdf).advice}};
  if (vfio::is_noiommu_group(sysfs, *function.group))
    return {{check, Severity::warning, fmt::format("{}, without an IOMMU", *function.group),
             fmt::format("the drive reaches all of memory: the address is noiommu:{}", function.bdf)}};
  if (const auto vmd = vfio::vmd_above(sysfs, function.bdf)) {
    const Error why = vfio::explain_vmd(function.bdf, *vmd);
    return {{check, Severity::blocked, why.what, why.advice}};
  }
  Findings blockers;
  for (const auto& member : vfio::foreign_neighbours(sysfs, function))
    blockers.push_back({check, Severity::blocked,
                        fmt::format("{}: its member {} is bound to {}", *function.group, member.bdf, member.driver),
                        remedy_for(sysfs, member)});
  if (!blockers.empty()) return blockers;
  const auto members = sysfs.group_members(*function.group).size();
  return {{check, Severity::fine,
           members == 1 ? fmt::format("{}, of this function alone", *function.group)
                        : fmt::format("{}, and nothing in the way of its {} members", *function.group, members)}};
}

// Who besides this function has its namespaces.
std::string sharers(const Sysfs& sysfs, const PciFunction& function) {
  std::set<std::string> others;
  for (const auto& disk : vfio::disks_of(sysfs, function)) others.insert(disk.through.begin(), disk.through.end());
  others.erase(function.bdf);
  return others.empty() ? "" : fmt::format("; {} has a namespace of it, too", fmt::join(others, ", "));
}

Finding driver(const Sysfs& sysfs, const PciFunction& function) {
  if (function.driver == vfio::kVfioDriver) return {"driver", Severity::fine, function.driver};
  // Binding one behind VMD gains nothing.
  if (function.group && vfio::vmd_above(sysfs, function.bdf)) return {"driver", Severity::note, function.driver};
  return {"driver", Severity::blocked, function.driver.empty() ? "none" : function.driver,
          fmt::format("as root: pollux bind {}", function.bdf), true};
}

// The first of these nodes that may not be opened, and why; an errno of 0: all may be.
struct Shut {
  std::string node;
  int os_error = 0;
};

Shut first_shut(const Machine& machine, const std::vector<std::string>& nodes) {
  for (const auto& node : nodes)
    if (const int os_error = machine.access(node); os_error != 0) return {node, os_error};
  return {};
}

// As opening chooses: by iommufd where that may be opened, or is all there is; else by the group.
Finding permission(const Machine& machine, const PciFunction& function) {
  const std::string check = "permission";
  const auto iommufd = vfio::iommufd_nodes(machine.sysfs, function);
  const auto group = vfio::group_nodes(machine.sysfs, function);
  const Shut by_iommufd = first_shut(machine, iommufd), by_group = first_shut(machine, group);
  for (const auto* way : {&iommufd, &group})
    if (!way->empty() && (way == &iommufd ? by_iommufd : by_group).os_error == 0)
      return {check, Severity::fine, fmt::format("{} may be opened", fmt::join(*way, " and "))};
  const bool has_group = machine.access(group.front()) != ENOENT;
  const auto& [node, os_error] = has_group || iommufd.empty() ? by_group : by_iommufd;
  const std::string found = fmt::format("{} may not open {}", machine.user, node);
  switch (os_error) {
    case ENOENT:
      return {check, Severity::blocked, fmt::format("there is no {}", node), vfio::advice_missing_node(node)};
    case ENODEV:
    case ENXIO:
      return {check, Severity::blocked, fmt::format("{} has nothing behind it", node), "as root: modprobe vfio-pci"};
    default:
      break;
  }
  // Who is root already does not lack a node's ownership.
  if (os_error == EPERM || machine.user == "root")
    return {check, Severity::blocked, found, vfio::advice_forbidden_node(node)};
  if (node == vfio::kContainerNode)
    return {check, Severity::blocked, found, fmt::format("as root: chmod 0666 {}    # its mode by default", node)};
  return {check, Severity::blocked, found,
          fmt::format("as root: chown {} {}    # until the next boot", machine.user, node), true};
}

// What iommufd leaves of the limit, which it counts for all processes of a user together. Nothing where the drive does
// not go that way, or the limit itself is too low, which is told of the machine.
Findings memlock_of_user(const Machine& machine, const PciFunction& function) {
  constexpr std::uint64_t kKiB = 1024;
  const auto nodes = vfio::iommufd_nodes(machine.sysfs, function);
  const auto limit_bytes = machine.memlock.limit_bytes;
  if (!limit_bytes || *limit_bytes < kMemlockNeededBytes) return {};
  if (nodes.empty() || first_shut(machine, nodes).os_error != 0) return {};
  const std::uint64_t held_bytes = machine.pinned_by_user_bytes;
  const std::string found = fmt::format("all processes of {} together may lock {} KiB by iommufd, and hold {} KiB",
                                        machine.user, *limit_bytes / kKiB, held_bytes / kKiB);
  if (held_bytes <= *limit_bytes - kMemlockNeededBytes) return {{"memlock of the user", Severity::fine, found}};
  const std::string remedy = fmt::format(
      "end others of {}'s that hold drives, or use the address group:{}, where each process counts alone; or {}",
      machine.user, function.bdf, remedy_for_memlock(machine, (held_bytes + kMemlockNeededBytes) / kKiB));
  return {{"memlock of the user", Severity::blocked, found, remedy}};
}

Finding holders(const Sysfs& sysfs, const PciFunction& function) {
  const auto found = vfio::group_holders(sysfs, *function.group);
  if (found.empty()) return {"opened by", Severity::fine, "nobody that may be seen"};
  return {"opened by", Severity::blocked, vfio::describe(found), "end " + vfio::describe(found)};
}

// The command register, which sysfs lets everybody read.
Finding bus_master(const Sysfs& sysfs, const PciFunction& function) {
  std::ifstream file(sysfs.path(vfio::function_folder(function.bdf) + "/config"), std::ios::binary);
  unsigned char config[6] = {};
  if (!file.read(reinterpret_cast<char*>(config), sizeof(config)))
    return {"bus master", Severity::note, "config space cannot be read"};
  const unsigned vendor = config[0] | config[1] << 8;
  const unsigned command = config[vfio::pci::kCommand] | config[vfio::pci::kCommand + 1] << 8;
  if (vendor == 0xffff)
    return {"bus master", Severity::blocked, "the function does not answer: its config space reads as ones",
            "is it gone, or without power? as root: echo 1 > /sys/bus/pci/rescan"};
  if ((command & vfio::pci::kCommandBusMaster) != 0) return {"bus master", Severity::fine, "on"};
  return {"bus master", Severity::fine, "off while nobody has it open; pollux switches it on"};
}

// Of "8.0 GT/s PCIe" and "4": both are 0 where the kernel does not know.
struct Link {
  double gigatransfers = 0;
  unsigned lanes = 0;

  bool known() const { return gigatransfers > 0 && lanes > 0; }
  std::string text() const { return fmt::format("{:.1f} GT/s x{}", gigatransfers, lanes); }
};

Link link_of(const Sysfs& sysfs, const std::string& folder, std::string_view which) {
  const std::string speed = sysfs.line(fmt::format("{}/{}_link_speed", folder, which));
  const std::string width = sysfs.line(fmt::format("{}/{}_link_width", folder, which));
  Link link;
  std::from_chars(speed.data(), speed.data() + speed.size(), link.gigatransfers);
  std::from_chars(width.data(), width.data() + width.size(), link.lanes);
  return link;
}

// The port above: the last but one part of where the function's link leads, …/0000:00:1d.0/0000:02:00.0.
Link slot_of(const Sysfs& sysfs, const PciFunction& function) {
  const std::string place = sysfs.link_target(vfio::function_folder(function.bdf));
  const auto last = place.rfind('/');
  if (last == std::string::npos || last == 0) return {};
  const auto before = place.rfind('/', last - 1);
  const std::string port = place.substr(before + 1, last - before - 1);
  return link_of(sysfs, vfio::function_folder(port), "max");
}

Finding link(const Sysfs& sysfs, const PciFunction& function) {
  const std::string folder = vfio::function_folder(function.bdf);
  const Link now = link_of(sysfs, folder, "current");
  const Link drive = link_of(sysfs, folder, "max");
  const Link slot = slot_of(sysfs, function);
  if (!now.known() || !drive.known()) return {"link", Severity::note, "sysfs does not tell"};
  Finding finding{"link", Severity::fine, fmt::format("{}; the drive can {}", now.text(), drive.text())};
  if (slot.known()) finding.found += fmt::format(", the slot {}", slot.text());
  const Link reachable =
      slot.known() ? Link{std::min(drive.gigatransfers, slot.gigatransfers), std::min(drive.lanes, slot.lanes)} : drive;
  if (now.gigatransfers < reachable.gigatransfers || now.lanes < reachable.lanes) {
    finding.severity = Severity::warning;
    finding.remedy = "seat the drive anew; a link that saves power comes up to speed when the drive is used";
  } else if (reachable.gigatransfers < drive.gigatransfers || reachable.lanes < drive.lanes) {
    finding.severity = Severity::warning;
    finding.remedy = "the slot limits the drive: another slot may not";
  }
  return finding;
}

// "0-3,8": the processors of a NUMA node.
std::set<unsigned> processors_of(const Sysfs& sysfs, int node) {
  std::set<unsigned> found;
  const std::string list = sysfs.line(fmt::format("/sys/devices/system/node/node{}/cpulist", node));
  const char* at = list.data();
  const char* const end = at + list.size();
  constexpr unsigned kMaxProcessors = 65536;
  while (at < end) {
    unsigned first = 0;
    const auto [after, error] = std::from_chars(at, end, first);
    if (error != std::errc{}) break;
    unsigned last = first;
    at = after;
    if (at < end && *at == '-') at = std::from_chars(at + 1, end, last).ptr;
    for (unsigned one = first; one <= last && one < kMaxProcessors; one++) found.insert(one);
    at++;
  }
  return found;
}

Finding numa(const Machine& machine, const PciFunction& function) {
  const int node = function.numa_node;
  if (node < 0) return {"NUMA node", Severity::fine, "the machine has one, or does not tell"};
  const auto near = processors_of(machine.sysfs, node);
  const bool all_near =
      std::ranges::all_of(machine.processors, [&](unsigned processor) { return near.contains(processor); });
  if (all_near) return {"NUMA node", Severity::fine, fmt::format("{}, and this process runs on that alone", node)};
  return {"NUMA node", Severity::warning, fmt::format("{}, and this process may run on others too", node),
          fmt::format("numactl --cpunodebind={0} --membind={0} COMMAND", node)};
}

}  // namespace

Finding use_finding(const std::vector<std::string>& uses, const std::string& besides) {
  if (uses.empty()) return {"used by the kernel", Severity::fine, "no" + besides};
  return {"used by the kernel", Severity::blocked, fmt::format("{}", fmt::join(uses, "; ")),
          "take another drive, or give up what is on this one: umount, swapoff, vgchange -an, mdadm --stop, losetup "
          "-d, nvmetcli clear, or end the program"};
}

Findings examine_drive(const Machine& machine, const PciFunction& function) {
  const Sysfs& sysfs = machine.sysfs;
  Findings findings = {function_class(function)};
  if (!function.is_nvm()) return findings;
  for (auto& finding : group(sysfs, function)) findings.push_back(std::move(finding));
  // Of a drive that vfio-pci has sysfs knows no namespace: examine_health() asks the drive.
  if (function.driver != vfio::kVfioDriver)
    findings.push_back(use_finding(vfio::uses_of(sysfs, function), sharers(sysfs, function)));
  findings.push_back(driver(sysfs, function));
  if (function.driver == vfio::kVfioDriver && function.group) {
    findings.push_back(permission(machine, function));
    for (auto& finding : memlock_of_user(machine, function)) findings.push_back(std::move(finding));
    findings.push_back(holders(sysfs, function));
  }
  findings.push_back(bus_master(sysfs, function));
  findings.push_back(link(sysfs, function));
  findings.push_back(numa(machine, function));
  return findings;
}

}  // namespace pollux::cli
