#include "pollux/vfio/pci/in_use.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/pci/open_files.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

constexpr std::size_t kMaxStackedDevices = 4096;  // partitions and the volumes above them, of one drive
// How often, and how far apart, a program that has a node open is looked at again: udev, which opens every new block
// device to see what is on it, is gone by then.
constexpr unsigned kLooks = 20;
constexpr std::uint64_t kLookAgainMs = 50;

struct Mount {
  std::string device;  // "259:1"
  std::string source;  // "/dev/nvme0n1p1"
  std::string point;
};

// A block device to look at, and how a person would call it.
struct Layer {
  std::string name;
  std::string where;  // " on nvme0n1", or which way the kernel has the disk; its partitions are there, too
  std::string text;
  bool stacked = false;  // a volume, which is in use without being mounted
};

// What is on a block device without holding it: the kernel opens a loop device's or an export's without a claim, so
// that neither "holders" nor O_EXCL tells. `path` names the node, as it was when that was set up.
struct Backing {
  std::string what;
  std::string path;
};

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescaped(std::string_view text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// "36 35 98:0 /root /point options [optional fields] - type source super-options"
std::vector<Mount> mounts(const Sysfs& sysfs) {
  std::vector<Mount> found;
  std::ifstream file(sysfs.path("/proc/self/mountinfo"));
  for (std::string line; std::getline(file, line);) {
    Mount mount;
    std::string skipped;
    std::istringstream words(line);
    words >> skipped >> skipped >> mount.device >> skipped >> mount.point;
    while (words >> skipped && skipped != "-") {
    }
    words >> skipped >> mount.source;
    mount.point = unescaped(mount.point);
    found.push_back(std::move(mount));
  }
  return found;
}

// The first column of /proc/swaps behind its heading.
std::vector<std::string> swaps(const Sysfs& sysfs) {
  std::vector<std::string> found;
  std::ifstream file(sysfs.path("/proc/swaps"));
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) found.push_back(unescaped(line.substr(0, line.find_first_of(" \t"))));
  return found;
}

std::string class_folder(const std::string& name) { return "/sys/class/block/" + name; }

// Which way the kernel has a disk, where that is not the one that was asked about alone.
std::string way_of(const KernelDisk& disk) {
  if (!disk.own) return fmt::format(" (the same namespace, through {})", fmt::join(disk.through, " and "));
  return disk.through.size() > 1 ? fmt::format(" (through {})", fmt::join(disk.through, " and ")) : "";
}

// Whether `path` names the block device: /dev/NAME, or /dev/mapper/VOLUME.
bool names_device(const Sysfs& sysfs, const std::string& path, const std::string& name) {
  if (path == "/dev/" + name) return true;
  const std::string volume = sysfs.line(class_folder(name) + "/dm/name");
  return !volume.empty() && path == "/dev/mapper/" + volume;
}

// Whether `path` leads to the block device: by number, wherever its node is and over links; by name where the path is
// not to be seen from here, as another container's is not.
bool leads_to(const Sysfs& sysfs, const std::string& path, const std::string& name) {
  const auto node = sysfs.node_at(path);
  if (node && node->block && node->number == sysfs.line(class_folder(name) + "/dev")) return true;
  return names_device(sysfs, path, name);
}

std::vector<Backing> loop_devices(const Sysfs& sysfs) {
  std::vector<Backing> found;
  for (const auto& name : sysfs.names("/sys/class/block"))
    if (auto file = sysfs.line(class_folder(name) + "/loop/backing_file"); !file.empty())
      found.push_back({name, std::move(file)});
  return found;
}

// Namespaces that the kernel's NVMe target shows to others, where its configfs is mounted.
std::vector<Backing> exports(const Sysfs& sysfs) {
  constexpr std::string_view kSubsystems = "/sys/kernel/config/nvmet/subsystems";
  std::vector<Backing> found;
  for (const auto& subsystem : sysfs.names(kSubsystems)) {
    const std::string folder = fmt::format("{}/{}/namespaces", kSubsystems, subsystem);
    for (const auto& nsid : sysfs.names(folder))
      if (sysfs.line(fmt::format("{}/{}/enable", folder, nsid)) == "1")
        found.push_back({fmt::format("namespace {} of {}", nsid, subsystem),
                         sysfs.line(fmt::format("{}/{}/device_path", folder, nsid))});
  }
  return found;
}

// The disks, their partitions, and what is stacked on each.
std::vector<Layer> layers_of(const Sysfs& sysfs, std::span<const KernelDisk> disks) {
  std::vector<Layer> layers;
  const auto add = [&](const std::string& name, const std::string& where, bool stacked) {
    if (layers.size() >= kMaxStackedDevices) return;
    if (std::ranges::any_of(layers, [&](const Layer& layer) { return layer.name == name; })) return;
    const std::string volume = sysfs.line(class_folder(name) + "/dm/name");
    const std::string named = volume.empty() ? name : fmt::format("{} ({})", name, volume);
    layers.push_back({name, where, named + where, stacked});
  };
  for (const auto& disk : disks) add(disk.name, way_of(disk), false);
  const auto loops = loop_devices(sysfs);
  for (std::size_t i = 0; i < layers.size(); i++) {
    const Layer below = layers[i];  // its place moves while more are added
    const std::string folder = class_folder(below.name);
    for (const auto& entry : sysfs.names(folder))
      if (!sysfs.line(fmt::format("{}/{}/partition", folder, entry)).empty()) add(entry, below.where, false);
    for (const auto& holder : sysfs.names(folder + "/holders")) add(holder, " on " + below.text, true);
    for (const auto& loop : loops)
      if (leads_to(sysfs, loop.path, below.name)) add(loop.what, " on " + below.text, true);
  }
  return layers;
}

std::vector<std::string> kernel_uses(const Sysfs& sysfs, const std::vector<Layer>& layers) {
  std::vector<std::string> uses;
  const auto mounted = mounts(sysfs);
  const auto swapped = swaps(sysfs);
  const auto exported = exports(sysfs);
  for (const auto& layer : layers) {
    const std::size_t before = uses.size();
    const std::string number = sysfs.line(class_folder(layer.name) + "/dev");
    for (const auto& mount : mounted)
      if ((!number.empty() && mount.device == number) || names_device(sysfs, mount.source, layer.name))
        uses.push_back(fmt::format("{} is mounted at {}", layer.text, mount.point));
    for (const auto& swap : swapped)
      if (names_device(sysfs, swap, layer.name)) uses.push_back(fmt::format("{} is swap", layer.text));
    for (const auto& one : exported)
      if (leads_to(sysfs, one.path, layer.name))
        uses.push_back(fmt::format("{} is exported by nvmet as {}", layer.text, one.what));
    if (layer.stacked && uses.size() == before) uses.push_back(fmt::format("{} is active", layer.text));
  }
  return uses;
}

// A node of a namespace or of a partition, and who has it open.
struct OpenNode {
  DeviceNode node;
  std::string path;
  std::string text;
  std::vector<Process> processes;
};

// A raw open claims nothing. The character device of nvme0n1 is ng0n1. What is stacked is in use anyway.
std::vector<OpenNode> nodes_of(const Sysfs& sysfs, const std::vector<Layer>& layers) {
  std::vector<OpenNode> nodes;
  const auto add = [&](bool block, const std::string& folder, const std::string& name, const std::string& where) {
    nodes.push_back({{block, sysfs.line(folder + "/dev")}, "/dev/" + name, name + where, {}});
  };
  for (const auto& layer : layers) {
    if (layer.stacked) continue;
    add(true, class_folder(layer.name), layer.name, layer.where);
    if (block_device_name(layer.name) != layer.name) continue;
    const std::string generic = "ng" + layer.name.substr(std::string_view("nvme").size());
    add(false, "/sys/class/nvme-generic/" + generic, generic, layer.where);
  }
  return nodes;
}

std::vector<std::string> open_uses(const Sysfs& sysfs, const std::vector<Layer>& layers) {
  auto nodes = nodes_of(sysfs, layers);
  std::vector<std::string> uses;
  if (nodes.empty()) return uses;
  each_open_file(sysfs, [&](int pid, const std::string& file) {
    if (pid == getpid()) return;  // our claims
    const std::string target = sysfs.link_target(file);
    const auto node = target.starts_with('/') ? sysfs.node_at(file) : std::nullopt;
    for (auto& one : nodes) {
      const bool is_it = node ? *node == one.node : target == one.path;
      if (is_it && (one.processes.empty() || one.processes.back().pid != pid))
        one.processes.push_back(process_of(sysfs, pid));
    }
  });
  for (const auto& one : nodes)
    if (!one.processes.empty()) uses.push_back(fmt::format("{} is open in {}", one.text, describe(one.processes)));
  return uses;
}

std::vector<std::string> lasting_open_uses(const Sysfs& sysfs, const std::vector<Layer>& layers) {
  auto uses = open_uses(sysfs, layers);
  for (unsigned look = 0; look < kLooks && !uses.empty(); look++) {
    steady_clock().pause_ns(kLookAgainMs * kNsPerMs);
    uses = open_uses(sysfs, layers);
  }
  return uses;
}

std::vector<std::string> uses_of_disks(const Sysfs& sysfs, std::span<const KernelDisk> disks) {
  const auto layers = layers_of(sysfs, disks);
  auto uses = kernel_uses(sysfs, layers);
  for (auto& one : open_uses(sysfs, layers)) uses.push_back(std::move(one));
  return uses;
}

}  // namespace

std::vector<std::string> uses_of(const Sysfs& sysfs, const PciFunction& function) {
  return uses_of_disks(sysfs, disks_of(sysfs, function));
}

std::vector<std::string> uses_of(const Sysfs& sysfs, std::span<const NamespaceName> namespaces) {
  return uses_of_disks(sysfs, disks_of(sysfs, namespaces));
}

Result<Claims> claim(const Sysfs& sysfs, const PciFunction& function, const Claims& ours) {
  const auto refuse = [&](const std::string& why) {
    return fail(fmt::format("{} is in use: {}", function.bdf, why),
                "unmount it, swap it off, or stop the volume, loop device, export or program; nothing was changed");
  };
  const auto disks = disks_of(sysfs, function);
  const auto layers = layers_of(sysfs, disks);
  auto uses = kernel_uses(sysfs, layers);
  if (uses.empty()) uses = lasting_open_uses(sysfs, layers);
  if (!uses.empty()) return refuse(fmt::format("{}", fmt::join(uses, ", ")));
  Claims claims;
  for (const auto& disk : disks) {
    if (ours.contains(disk.name)) continue;
    FileDescriptor file = open_file(sysfs.path("/dev/" + disk.name).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
    if (!file && errno == EBUSY)
      return refuse(fmt::format("the kernel holds {}{}, perhaps mounted where this process cannot see it", disk.name,
                                way_of(disk)));
    if (file) claims.emplace(disk.name, std::move(file));
  }
  return claims;
}

}  // namespace pollux::vfio
