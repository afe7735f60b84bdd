#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/hugepages.hpp"
#include "pollux/vfio/readiness.hpp"

namespace pollux::cli {
namespace {

using vfio::Sysfs;

constexpr std::uint64_t kKiB = 1024;

std::string joined(const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, ", ")); }

// The tables by which firmware tells of its IOMMUs: VT-d, AMD-Vi, a virtual machine's, Arm's.
Finding firmware(const Sysfs& sysfs) {
  const std::string check = "IOMMU in the firmware";
  constexpr std::array<std::string_view, 4> kTables = {"DMAR", "IVRS", "VIOT", "IORT"};
  std::vector<std::string> found;
  for (const auto& table : sysfs.names("/sys/firmware/acpi/tables"))
    if (std::ranges::find(kTables, table) != kTables.end()) found.push_back(table);
  if (!found.empty()) return {check, Severity::fine, "ACPI table " + joined(found)};
  if (!sysfs.names("/sys/class/iommu").empty()) return {check, Severity::fine, "the kernel has found one without ACPI"};
  return {check, Severity::blocked, "no ACPI table tells of one (DMAR, IVRS, VIOT, IORT)",
          "switch VT-d or AMD-Vi on in the firmware's set-up; a virtual machine needs an IOMMU of its own"};
}

// What the kernel's command line says that switches its IOMMU drivers off.
std::string switched_off(const std::string& command_line) {
  for (const std::string_view word : {"intel_iommu=off", "amd_iommu=off", "iommu=off"})
    if ((" " + command_line + " ").contains(fmt::format(" {} ", word))) return std::string(word);
  return {};
}

Finding kernel(const Sysfs& sysfs) {
  const std::string check = "IOMMU in the kernel";
  const auto units = sysfs.names("/sys/class/iommu");
  const auto groups = sysfs.names("/sys/kernel/iommu_groups").size();
  if (!units.empty() && groups != 0)
    return {check, Severity::fine, fmt::format("{} groups behind {}", groups, joined(units))};
  if (vfio::noiommu_enabled(sysfs))
    return {check, Severity::warning, "none in use; VFIO takes drives without (enable_unsafe_noiommu_mode)",
            "a drive reaches all of memory so: use the address noiommu:BDF on machines for trials only"};
  const std::string off = switched_off(sysfs.line("/proc/cmdline"));
  if (!off.empty())
    return {check, Severity::blocked, fmt::format("switched off by \"{}\" on the kernel's command line", off),
            "as root: take it out of /etc/default/grub, run update-grub, and boot"};
  const auto tables = sysfs.names("/sys/firmware/acpi/tables");
  const bool amd = std::ranges::find(tables, "IVRS") != tables.end();
  return {check, Severity::blocked, "not in use: there are no IOMMU groups",
          fmt::format("as root: add {}_iommu=on to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, and boot",
                      amd ? "amd" : "intel")};
}

// "none [integrity] confidentiality"; Documentation/security: kernel_lockdown(7).
Finding lockdown(const Sysfs& sysfs) {
  const std::string check = "kernel lockdown";
  const std::string line = sysfs.line("/sys/kernel/security/lockdown");
  if (line.empty()) return {check, Severity::fine, "none"};
  const auto begin = line.find('[');
  const auto end = line.find(']');
  const std::string level = begin == std::string::npos || end == std::string::npos || end < begin
                                ? line
                                : line.substr(begin + 1, end - begin - 1);
  if (level == "none") return {check, Severity::fine, level};
  return {check, Severity::note,
          level + (level == "confidentiality"
                       ? ": VFIO works; kprobes, and with them tools/trace, do not"
                       : ": VFIO works; setpci, and other programs that write to config space, do not")};
}

// Whether the kernel that runs has a file vfio-pci.ko to load.
bool has_module_file(const Sysfs& sysfs) {
  const std::string release = sysfs.line("/proc/sys/kernel/osrelease");
  std::ifstream file(sysfs.path(fmt::format("/lib/modules/{}/modules.dep", release)));
  for (std::string line; std::getline(file, line);)
    if (line.substr(0, line.find(':')).contains("/vfio-pci.ko")) return true;
  return false;
}

Finding module(const Sysfs& sysfs) {
  const std::string check = "vfio-pci";
  if (sysfs.has_driver(vfio::kVfioDriver)) return {check, Severity::fine, "in the kernel"};
  if (has_module_file(sysfs)) return {check, Severity::blocked, "not loaded", "as root: modprobe vfio-pci", true};
  return {check, Severity::blocked,
          fmt::format("the kernel {} has no such driver", sysfs.line("/proc/sys/kernel/osrelease")),
          "boot a kernel that is built with CONFIG_VFIO_PCI, as Debian's linux-image-amd64 is"};
}

Finding container(const Machine& machine) {
  const std::string check = "/dev/vfio/vfio";
  switch (machine.access(check)) {
    case 0:
      return {check, Severity::fine, "may be opened"};
    case ENOENT:
      return {check, Severity::blocked, "is not there", "as root: modprobe vfio-pci"};
    default:
      return {check, Severity::blocked, fmt::format("{} may not open it", machine.user),
              "as root: chmod 0666 /dev/vfio/vfio, which is its mode by default"};
  }
}

Finding memlock(const Machine& machine) {
  const std::string check = "memlock";
  const std::uint64_t needed_kib = kMemlockNeededBytes / kKiB;
  const std::string need = fmt::format("a drive and one job with 32 requests of 4 KiB need {} KiB", needed_kib);
  if (!machine.memlock.limit_bytes) return {check, Severity::fine, "no limit; " + need};
  const std::uint64_t limit_kib = *machine.memlock.limit_bytes / kKiB;
  const std::string found = fmt::format("{} KiB may be locked; {}", limit_kib, need);
  if (limit_kib >= needed_kib) return {check, Severity::fine, found};
  return {check, Severity::blocked, found,
          fmt::format("as root: \"{} - memlock {}\" into /etc/security/limits.conf; then log in anew", machine.user,
                      needed_kib),
          true};
}

Findings hugepages(const Sysfs& sysfs) {
  Findings findings;
  for (const auto& pool : hugepage_pools(sysfs)) {
    if (pool.size != "2048kB") continue;
    Finding finding{fmt::format("hugepages on {}", pool.node), Severity::fine,
                    fmt::format("{} of {} pages of 2 MiB are free", pool.free, pool.total)};
    if (pool.free == 0) {
      finding.severity = Severity::warning;
      finding.found += ": ordinary pages are used, which cost the IOMMU more";
      finding.remedy = fmt::format("as root: echo 64 > {}/nr_hugepages", pool.folder);
      finding.by_setup = true;
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace

Findings examine_machine(const Machine& machine) {
  const Sysfs& sysfs = machine.sysfs;
  Findings findings = {firmware(sysfs), kernel(sysfs), lockdown(sysfs), module(sysfs)};
  if (sysfs.has_driver(vfio::kVfioDriver)) findings.push_back(container(machine));
  findings.push_back(memlock(machine));
  for (auto& finding : hugepages(sysfs)) findings.push_back(std::move(finding));
  return findings;
}

}  // namespace pollux::cli
