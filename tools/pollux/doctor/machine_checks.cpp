#include <algorithm>
#include <fstream>
#include <initializer_list>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/hugepages.hpp"
#include "pollux/vfio/pci/readiness.hpp"

namespace pollux::cli {
namespace {

using vfio::Sysfs;

constexpr std::uint64_t kKiB = 1024;

// The tables by which firmware tells of its IOMMUs: VT-d, AMD-Vi, a virtual machine's.
std::string iommu_table(const Sysfs& sysfs) {
  for (const std::string_view table : {"DMAR", "IVRS", "VIOT"})
    if (std::ranges::count(sysfs.names("/sys/firmware/acpi/tables"), table) != 0) return std::string(table);
  return {};
}

Finding firmware(const Sysfs& sysfs) {
  const std::string check = "IOMMU in the firmware";
  const std::string table = iommu_table(sysfs);
  if (!table.empty()) return {check, Severity::fine, "ACPI table " + table};
  if (!sysfs.names("/sys/class/iommu").empty()) return {check, Severity::fine, "the kernel has found one without ACPI"};
  const std::string found = "no ACPI table tells of one (DMAR, IVRS, VIOT)";
  if (vfio::noiommu_enabled(sysfs)) return {check, Severity::note, found};
  return {check, Severity::blocked, found,
          "switch VT-d or AMD-Vi on in the firmware's set-up; a virtual machine needs an IOMMU of its own"};
}

// What the kernel's command line says of its IOMMU drivers.
std::string boot_word(const Sysfs& sysfs, std::initializer_list<std::string_view> words) {
  const std::string line = fmt::format(" {} ", sysfs.line("/proc/cmdline"));
  for (const std::string_view word : words)
    if (line.contains(fmt::format(" {} ", word))) return std::string(word);
  return {};
}

Finding kernel(const Sysfs& sysfs) {
  const std::string check = "IOMMU in the kernel";
  const auto units = sysfs.names("/sys/class/iommu");
  const auto groups = sysfs.names("/sys/kernel/iommu_groups").size();
  if (!units.empty() && groups != 0)
    return {check, Severity::fine, fmt::format("{} groups behind {}", groups, fmt::join(units, ", "))};
  if (vfio::noiommu_enabled(sysfs))
    return {check, Severity::warning, "none in use; VFIO takes drives without (enable_unsafe_noiommu_mode)",
            "a drive reaches all of memory so: for trials only, by the address noiommu:BDF"};
  const std::string off = boot_word(sysfs, {"intel_iommu=off", "amd_iommu=off", "iommu=off"});
  if (!off.empty())
    return {check, Severity::blocked, fmt::format("switched off by \"{}\" on the kernel's command line", off),
            "as root: take it out of /etc/default/grub, run update-grub, and boot"};
  const std::string found = "not in use: there are no IOMMU groups";
  const std::string table = iommu_table(sysfs);
  if (table.empty()) return {check, Severity::blocked, found, "the firmware comes first, see above"};
  if (table == "DMAR" && boot_word(sysfs, {"intel_iommu=on"}).empty())
    return {check, Severity::blocked, found,
            "as root: add intel_iommu=on to GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub, and boot"};
  return {check, Severity::blocked, found, "as root: dmesg | grep -iE 'dmar|amd-vi|iommu'    # says why"};
}

// "none [integrity] confidentiality"; Documentation/security: kernel_lockdown(7).
Finding lockdown(const Sysfs& sysfs) {
  const std::string check = "kernel lockdown";
  if (sysfs.names("/sys/kernel/security").empty())
    return {check, Severity::note, "not told: securityfs is not mounted"};
  const std::string line = sysfs.line("/sys/kernel/security/lockdown");
  if (line.empty() || line.contains("[none]")) return {check, Severity::fine, "none"};
  if (line.contains("[integrity]"))
    return {check, Severity::note, "integrity: VFIO works; setpci, and whatever else writes to config space, does not"};
  return {check, Severity::note, "confidentiality: VFIO works; setpci, and kprobes with tools/trace, do not"};
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
  // A container sees no modules, and loads none.
  if (has_module_file(sysfs) || vfio::in_container(sysfs))
    return {check, Severity::blocked, "not loaded", "as root: modprobe vfio-pci", true};
  return {check, Severity::blocked,
          fmt::format("the kernel {} has no such driver", sysfs.line("/proc/sys/kernel/osrelease")),
          "boot a kernel that is built with CONFIG_VFIO_PCI, as Debian's linux-image-amd64 is"};
}

// A process that goes by a group is charged alone; by iommufd all of a user's are, together.
Finding memlock(const Machine& machine) {
  const std::string check = "memlock";
  const std::uint64_t needed_kib = kMemlockNeededBytes / kKiB;
  const std::string need = fmt::format("a drive and one job with 32 requests of 4 KiB need {} KiB", needed_kib);
  if (!machine.memlock.limit_bytes) return {check, Severity::fine, "no limit; " + need};
  const std::uint64_t limit_kib = *machine.memlock.limit_bytes / kKiB;
  const std::string found = fmt::format("{} KiB may be locked by each process; {}", limit_kib, need);
  if (limit_kib >= needed_kib) return {check, Severity::fine, found};
  return {check, Severity::blocked, found, remedy_for_memlock(machine, needed_kib), true};
}

Findings hugepages(const Sysfs& sysfs) {
  constexpr std::uint64_t kMorePages = 64;
  Findings findings;
  for (const auto& pool : hugepage_pools(sysfs)) {
    if (pool.size != "2048kB") continue;
    Finding finding{fmt::format("hugepages on {}", pool.node), Severity::fine,
                    fmt::format("{} of {} pages of 2 MiB are free", pool.free, pool.total)};
    if (pool.free == 0) {
      finding.severity = Severity::warning;
      finding.found += ": ordinary pages are used, which cost the IOMMU more";
      finding.remedy = fmt::format("as root: echo {} > {}/nr_hugepages", pool.total + kMorePages, pool.folder);
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace

std::string remedy_for_memlock(const Machine& machine, std::uint64_t needed_kib) {
  if (vfio::in_container(machine.sysfs))
    return fmt::format("start the container with --ulimit memlock={0}:{0}", needed_kib * kKiB);
  return fmt::format("as root: echo '{} - memlock {}' >> /etc/security/limits.conf    # then log in anew", machine.user,
                     needed_kib);
}

Findings examine_machine(const Machine& machine) {
  const Sysfs& sysfs = machine.sysfs;
  Findings findings = {firmware(sysfs), kernel(sysfs), lockdown(sysfs), module(sysfs)};
  findings.push_back(memlock(machine));
  for (auto& finding : hugepages(sysfs)) findings.push_back(std::move(finding));
  return findings;
}

}  // namespace pollux::cli
