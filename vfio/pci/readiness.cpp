#include "pollux/vfio/pci/readiness.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/pci/neighbours.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

// pci_driver::driver_managed_dma in Linux 6.x: these do not make a group unviable.
constexpr std::array<std::string_view, 3> kHarmlessDrivers = {kVfioDriver, "pci-stub", "pcieport"};

Error with_errno(int os_error, std::string what, std::string advice) {
  return fail_errno(os_error, std::move(what), std::move(advice)).error();
}

// What a driver of the kernel's makes a node for, whoever has the node.
bool kernel_has(const Sysfs& sysfs, std::string_view misc_device) {
  return !sysfs.names(fmt::format("/sys/class/misc/{}", misc_device)).empty();
}

// The Error for a node that is not there, though the kernel has the device.
Error explain_missing_node(int os_error, std::string what, std::string_view node) {
  return with_errno(os_error, std::move(what), advice_missing_node(node));
}

std::string load_module(const Sysfs& sysfs, std::string_view module) {
  return fmt::format("run \"modprobe {}\" as root{}", module, in_container(sysfs) ? ", on the host" : "");
}

// Nobody is told to end the program that asks. What else of a group it may open goes into the same address space.
std::string advice_for_holders(const Sysfs& sysfs, unsigned group, const std::vector<Process>& holders) {
  const int self = getpid();
  if (std::ranges::none_of(holders, [&](const Process& one) { return one.pid == self; }))
    return "end " + describe(holders);
  const auto members = sysfs.group_members(group);
  const auto drives = std::ranges::count_if(members, [](const PciFunction& member) { return member.is_nvm(); });
  return drives > 1 ? "this process has it open: open the drives of a group in one address space"
                    : "this process has it open already";
}

}  // namespace

std::string advice_missing_node(std::string_view node) {
  return fmt::format("a container has it by --device={}; else is /dev managed here (udev, devtmpfs)?", node);
}

std::string advice_forbidden_node(std::string_view node) {
  return fmt::format(
      "a container's device rules forbid it: start it with --device={}; without one, a security module does", node);
}

// "36 35 0:20 / /sys ro,nosuid …": of several mounts the last one counts.
bool in_container(const Sysfs& sysfs) {
  bool read_only = false;
  std::ifstream file(sysfs.path("/proc/self/mountinfo"));
  for (std::string line; std::getline(file, line);) {
    std::string skipped, point, options;
    std::istringstream words(line);
    words >> skipped >> skipped >> skipped >> skipped >> point >> options;
    if (point == "/sys") read_only = options == "ro" || options.starts_with("ro,");
  }
  return read_only;
}

Result<PciFunction> ready_function(const Sysfs& sysfs, const std::string& bdf, Translation wanted) {
  auto function = sysfs.function(bdf);
  if (!function) return function;
  const bool untranslated = !function->group || is_noiommu_group(sysfs, *function->group);
  if (const auto vmd = vmd_above(sysfs, bdf); vmd && !untranslated) return std::unexpected(explain_vmd(bdf, *vmd));
  if (wanted == Translation::iommu && untranslated) return std::unexpected(explain_no_iommu(bdf));
  if (wanted == Translation::none && !untranslated)
    return fail(fmt::format("an IOMMU translates for {}, so that it needs no noiommu", bdf),
                fmt::format("open it as {}", bdf));
  if (wanted == Translation::none && !noiommu_enabled(sysfs))
    return fail(fmt::format("VFIO takes {} without an IOMMU only if it is told to", bdf),
                "where the drive is trusted with all of memory, write 1 to "
                "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode as root, and bind it anew");
  if (function->driver == kVfioDriver && function->group) return function;
  if (function->driver == kVfioDriver)
    return fail(fmt::format("{} was bound to vfio-pci before noiommu was switched on", bdf),
                fmt::format("run \"pollux unbind {0}\" and \"pollux bind {0}\" as root", bdf));
  const std::string found = function->driver.empty()
                                ? fmt::format("{} is bound to no driver", bdf)
                                : fmt::format("{} is bound to the driver {}", bdf, function->driver);
  if (!sysfs.has_driver(kVfioDriver))
    return fail(found + ", and vfio-pci is not loaded",
                fmt::format("run \"modprobe vfio-pci\" and \"pollux bind {}\" as root", bdf));
  return fail(found + " and not to vfio-pci", fmt::format("run \"pollux bind {}\" as root", bdf));
}

std::vector<PciFunction> foreign_members(const Sysfs& sysfs, unsigned group) {
  auto members = sysfs.group_members(group);
  std::erase_if(members, [](const PciFunction& member) {
    return member.driver.empty() || std::ranges::find(kHarmlessDrivers, member.driver) != kHarmlessDrivers.end();
  });
  return members;
}

std::vector<PciFunction> foreign_neighbours(const Sysfs& sysfs, const PciFunction& function) {
  if (!function.group) return {};
  auto members = foreign_members(sysfs, *function.group);
  std::erase_if(members, [&](const PciFunction& member) { return member.bdf == function.bdf; });
  return members;
}

bool noiommu_enabled(const Sysfs& sysfs) {
  return sysfs.line("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode") == "Y";
}

bool is_noiommu_group(const Sysfs& sysfs, unsigned group) {
  return sysfs.line(fmt::format("/sys/kernel/iommu_groups/{}/name", group)) == "vfio-noiommu";
}

std::string address_of(const Sysfs& sysfs, const PciFunction& function) {
  const bool translated = function.group && !is_noiommu_group(sysfs, *function.group);
  return (translated ? "" : "noiommu:") + function.bdf;
}

std::string device_node(const Sysfs& sysfs, const std::string& bdf) {
  // The device itself is there since 6.1, its node only in a kernel that has them.
  const std::string folder = function_folder(bdf) + "/vfio-dev";
  for (const auto& name : sysfs.names(folder))
    if (!sysfs.line(folder + "/" + name + "/dev").empty()) return "/dev/vfio/devices/" + name;
  return {};
}

std::vector<std::string> iommufd_nodes(const Sysfs& sysfs, const PciFunction& function) {
  const std::string device = function.physical_function.empty() ? device_node(sysfs, function.bdf) : "";
  if (device.empty()) return {};
  return {device, std::string(kIommufdNode)};
}

std::vector<std::string> group_nodes(const Sysfs& sysfs, const PciFunction& function) {
  if (!function.group) return {};
  const bool translated = !is_noiommu_group(sysfs, *function.group);
  return {fmt::format("/dev/vfio/{}{}", translated ? "" : "noiommu-", *function.group), std::string(kContainerNode)};
}

std::vector<Process> group_holders(const Sysfs& sysfs, unsigned group) {
  std::vector<std::string> nodes = {fmt::format("/dev/vfio/{}", group), fmt::format("/dev/vfio/noiommu-{}", group)};
  for (const auto& member : sysfs.group_members(group)) nodes.push_back(device_node(sysfs, member.bdf));
  std::vector<Process> found;
  each_open_file(sysfs, [&](int pid, const std::string& file) {
    if (!found.empty() && found.back().pid == pid) return;
    const std::string target = sysfs.link_target(file);
    if (!target.empty() && std::ranges::find(nodes, target) != nodes.end()) found.push_back(process_of(sysfs, pid));
  });
  return found;
}

bool group_busy(const Sysfs& sysfs, unsigned group) {
  if (!group_holders(sysfs, group).empty()) return true;
  const std::string node = fmt::format("/dev/vfio/{}{}", is_noiommu_group(sysfs, group) ? "noiommu-" : "", group);
  const FileDescriptor file = open_file(sysfs.path(node).c_str(), O_RDWR | O_CLOEXEC);
  return !file && errno == EBUSY;
}

Error explain_no_iommu(const std::string& bdf) {
  return fail(fmt::format("no IOMMU translates for {}: it has no IOMMU group", bdf),
              "switch VT-d or AMD-Vi on in the firmware, and on Intel boot with intel_iommu=on; the address "
              "noiommu:BDF does without, unsafely")
      .error();
}

Error explain_vfio_open(const Sysfs& sysfs, int os_error) {
  const std::string cannot = fmt::format("cannot open {}", kContainerNode);
  switch (os_error) {
    case ENOENT:
      if (kernel_has(sysfs, "vfio"))
        return explain_missing_node(os_error, cannot + ", which the kernel has", kContainerNode);
      if (sysfs.has_driver(kVfioDriver))
        return with_errno(os_error, cannot + ": this kernel's VFIO has no containers (CONFIG_VFIO_CONTAINER)",
                          "go by iommufd: the address is iommufd:BDF");
      [[fallthrough]];
    case ENODEV:
    case ENXIO:
      return with_errno(os_error, cannot + ": this kernel has no VFIO loaded", load_module(sysfs, "vfio-pci"));
    case EPERM:
      return with_errno(os_error, cannot, advice_forbidden_node(kContainerNode));
    case EACCES:
      return with_errno(os_error, fmt::format("no permission to open {}", kContainerNode),
                        "its mode is 0666 by default: run \"chmod 0666 /dev/vfio/vfio\" as root");
    default:
      return with_errno(os_error, cannot, {});
  }
}

Error explain_group_open(const Sysfs& sysfs, unsigned group, const std::string& bdf, int os_error) {
  const std::string node = fmt::format("/dev/vfio/{}", group);
  switch (os_error) {
    case EPERM:
      return with_errno(os_error, fmt::format("cannot open {}, the IOMMU group of {}", node, bdf),
                        advice_forbidden_node(node));
    case EACCES:
      return with_errno(os_error, fmt::format("no permission to open {}, the IOMMU group of {}", node, bdf),
                        fmt::format("run \"pollux setup --user $USER {}\" as root, or \"chown $USER {}\" until the "
                                    "next boot",
                                    bdf, node));
    case EBUSY: {
      const auto holders = group_holders(sysfs, group);
      return with_errno(os_error, fmt::format("{}, the IOMMU group of {}, is in use", node, bdf),
                        holders.empty() ? fmt::format("end it; \"fuser {}\" as root names it", node)
                                        : advice_for_holders(sysfs, group, holders));
    }
    case ENOENT:
      return explain_missing_node(os_error, fmt::format("there is no {}, the IOMMU group of {}", node, bdf), node);
    default:
      return with_errno(os_error, fmt::format("cannot open {}, the IOMMU group of {}", node, bdf), {});
  }
}

Error explain_noiommu_group_open(const Sysfs& sysfs, unsigned group, const std::string& bdf, int os_error) {
  if (os_error == EBUSY) return explain_group_open(sysfs, group, bdf, os_error);
  return with_errno(os_error, fmt::format("cannot open /dev/vfio/noiommu-{}, the group of {}", group, bdf),
                    os_error == EPERM || os_error == EACCES ? "noiommu needs CAP_SYS_RAWIO: run as root" : "");
}

Error explain_not_viable(const Sysfs& sysfs, unsigned group, const std::string& bdf) {
  if (const auto vmd = vmd_above(sysfs, bdf)) return explain_vmd(bdf, *vmd);
  const auto foreign = foreign_members(sysfs, group);
  if (foreign.empty())
    return fail(fmt::format("IOMMU group {} of {} is not viable, though no member has a kernel driver", group, bdf),
                "another process may own it through iommufd (/dev/vfio/devices)")
        .error();
  std::string who, ours, others, kept;
  for (const auto& member : foreign) {
    who += fmt::format("{}{} is bound to {}", who.empty() ? "" : ", ", member.bdf, member.driver);
    const WayOut way = way_out(sysfs, member);
    (way == WayOut::bind ? ours : way == WayOut::unbind ? others : kept) += " " + member.bdf;
  }
  std::string advice;
  const auto add = [&](const std::string& one) { advice += (advice.empty() ? "" : "; ") + one; };
  if (!kept.empty())
    add(fmt::format("move the drive to a slot of its own (ACS): the kernel's drives live on{}", kept));
  else if (!others.empty())
    add(fmt::format("unbind{} from its driver, if nobody needs it, or move the drive to a slot of its own (ACS)",
                    others));
  if (!ours.empty() && kept.empty()) add(fmt::format("run \"pollux bind{}\" as root", ours));
  return fail(fmt::format("IOMMU group {} of {} is not viable: {}", group, bdf, who), advice).error();
}

Error explain_set_iommu(unsigned group, const std::string& bdf, int os_error) {
  const std::string what = fmt::format("VFIO_SET_IOMMU failed for group {} of {}", group, bdf);
  if (os_error == EPERM)
    return with_errno(os_error, what + ": the platform has no interrupt remapping",
                      "switch it on in the firmware, or, where the device is trusted, write 1 to "
                      "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
  if (os_error == ENODEV) return with_errno(os_error, what, "run \"modprobe vfio_iommu_type1\" as root");
  return with_errno(os_error, what, "the kernel's log (dmesg) may say why");
}

Error explain_iommufd_open(const Sysfs& sysfs, int os_error) {
  const std::string cannot = fmt::format("cannot open {}", kIommufdNode);
  switch (os_error) {
    case EPERM:
      return with_errno(os_error, cannot, advice_forbidden_node(kIommufdNode));
    case EACCES:
      return with_errno(os_error, fmt::format("no permission to open {}", kIommufdNode),
                        "run \"chmod 0666 /dev/iommu\" as root, or add the udev rule KERNEL==\"iommu\", "
                        "GROUP=\"YOURS\", MODE=\"0660\"");
    case ENOENT:
      if (kernel_has(sysfs, "iommu"))
        return explain_missing_node(os_error, cannot + ", which the kernel has", kIommufdNode);
      [[fallthrough]];
    default:
      return with_errno(os_error, cannot + ": this kernel has no iommufd loaded",
                        load_module(sysfs, "iommufd") + ", or leave iommufd: out of the address");
  }
}

Error explain_no_device_node(const std::string& bdf) {
  return fail(fmt::format("this kernel's VFIO has no character device for {}", bdf),
              "Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV has one; leave iommufd: out of the address to go by its group")
      .error();
}

Error explain_device_node_open(const std::string& bdf, const std::string& node, int os_error) {
  const std::string cannot = fmt::format("cannot open {}, which is {}", node, bdf);
  if (os_error == EPERM) return with_errno(os_error, cannot, advice_forbidden_node(node));
  if (os_error == ENOENT) return explain_missing_node(os_error, cannot, node);
  if (os_error != EACCES) return with_errno(os_error, cannot, {});
  return with_errno(os_error, fmt::format("no permission to open {}, which is {}", node, bdf),
                    fmt::format("run \"chown $USER {}\" as root, or add the udev rule SUBSYSTEM==\"vfio-dev\", "
                                "GROUP=\"YOURS\", MODE=\"0660\"",
                                node));
}

Error explain_bind_iommufd(const Sysfs& sysfs, const PciFunction& function, int os_error) {
  const std::string what = fmt::format("VFIO_DEVICE_BIND_IOMMUFD failed for {}", function.bdf);
  if (!foreign_members(sysfs, *function.group).empty()) return explain_not_viable(sysfs, *function.group, function.bdf);
  // The kernel says EPERM, EBUSY or EINVAL where something of the group is open elsewhere.
  const auto holders = group_holders(sysfs, *function.group);
  if (!holders.empty())
    return with_errno(os_error, what + ": its IOMMU group is in use",
                      advice_for_holders(sysfs, *function.group, holders));
  if (os_error == EPERM)
    return with_errno(os_error, what + ": its IOMMU group is in use, or the platform has no interrupt remapping",
                      "the latter may be switched on in the firmware; or, where the device is trusted, write 1 to "
                      "/sys/module/iommufd/parameters/allow_unsafe_interrupts");
  return with_errno(os_error, what, "the kernel's log (dmesg) may say why");
}

Error explain_device_open(const Sysfs& sysfs, unsigned group, const Address& address, int os_error) {
  const std::string& bdf = address.target;
  const bool has_token = !address.vf_token.empty();
  const std::string what = fmt::format("VFIO_GROUP_GET_DEVICE_FD failed for {} in group {}", bdf, group);
  const auto function = sysfs.function(bdf);
  const std::string physical = function ? function->physical_function : "";
  if (os_error == EACCES && !physical.empty())
    return with_errno(os_error,
                      fmt::format("{}: it is a virtual function of {}, which is on vfio-pci, and {}", what, physical,
                                  has_token ? "this is not the token of that" : "no token was given"),
                      fmt::format("open {0},vf_token=UUID first, which sets the token, then {1},vf_token=UUID with the "
                                  "same",
                                  physical, bdf));
  if (os_error == EACCES)
    return with_errno(os_error, what + ": virtual functions of it are in use",
                      fmt::format("use {},vf_token=UUID with the token that they were opened with", bdf));
  if (os_error == EINVAL && has_token)
    return with_errno(
        os_error,
        fmt::format("{}: it takes no token, since {}", what,
                    physical.empty() ? "it has no virtual functions"
                                     : fmt::format("its physical function {} is not on vfio-pci", physical)),
        fmt::format("use the address {}", bdf));
  if (os_error == ENODEV)
    return with_errno(os_error, what, fmt::format("it has just been unbound: run \"pollux bind {}\" as root", bdf));
  return with_errno(os_error, what, "the kernel's log (dmesg) may say why");
}

}  // namespace pollux::vfio
