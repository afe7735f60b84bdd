#include "pollux/tools/pollux/doctor/verdict.hpp"

#include <algorithm>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/vfio/pci/readiness.hpp"

namespace pollux::cli {
namespace {

Severity worst_of(const Findings& findings) {
  Severity worst = Severity::fine;
  for (const auto& finding : findings) worst = std::max(worst, finding.severity);
  return worst;
}

// In a container what root is to do to the machine is the host's root's; nodes are the container's own.
void send_to_host(const Machine& machine, Section& section) {
  if (!vfio::in_container(machine.sysfs)) return;
  for (auto& finding : section.findings) {
    if (finding.check == "permission" || !finding.remedy.starts_with("as root: ")) continue;
    finding.remedy = "on the host, " + finding.remedy;
    finding.by_setup = false;
  }
}

Section machine_section(const Machine& machine) {
  Section section{"machine", examine_machine(machine)};
  if (machine.is_for_root)
    section.findings.push_back(
        {"user", Severity::note, fmt::format("root: without sudo it is seen what {} may open and lock", machine.user)});
  send_to_host(machine, section);
  return section;
}

Section section_of(const Machine& machine, const vfio::PciFunction& function, bool opens) {
  Section section{function.bdf, examine_drive(machine, function)};
  const bool blocked = worst_of(section.findings) == Severity::blocked;
  // A drive that is on vfio-pci has to be opened for it, and only the one that was asked about is.
  const bool ask = function.driver == vfio::kNvmeDriver || (opens && !blocked);
  if (function.is_nvm() && ask)
    for (auto& finding : examine_health(machine, function)) section.findings.push_back(std::move(finding));
  send_to_host(machine, section);
  return section;
}

// Without an address a drive that the machine itself lives on is not in anybody's way.
void leave_alone_if_used(Section& section) {
  const auto used = std::ranges::find_if(section.findings, [](const Finding& finding) {
    return finding.check == "used by the kernel" && finding.severity == Severity::blocked;
  });
  if (used == section.findings.end()) return;
  section.findings = {{used->check, Severity::note, used->found + ": left alone"}};
}

// What to do about findings: the first thing to mend, or all that setup mends in one. Empty: nothing is in the way.
std::string mending(const Machine& machine, const Findings& findings, const std::string& drive) {
  bool by_setup = false;
  for (const auto& finding : findings) {
    if (finding.severity != Severity::blocked) continue;
    if (!finding.by_setup) return finding.remedy;
    by_setup = true;
  }
  if (!by_setup) return {};
  return fmt::format("as root: pollux setup --user {}{}{}", machine.user, drive.empty() ? "" : " ", drive);
}

std::string first_job(const std::string& address) {
  return fmt::format("pollux-bench --name=first --filename={} --rw=randread --bs=4k --size=64M", address);
}

}  // namespace

Verdict judge(const Machine& machine, const vfio::PciFunction& function) {
  Verdict verdict;
  verdict.sections = {machine_section(machine), section_of(machine, function, true)};
  Findings all = verdict.sections[0].findings;
  all.insert(all.end(), verdict.sections[1].findings.begin(), verdict.sections[1].findings.end());
  verdict.severity = worst_of(all);
  verdict.next = mending(machine, all, function.bdf);
  if (verdict.next.empty()) verdict.next = first_job(vfio::address_of(machine.sysfs, function));
  return verdict;
}

// Which of the drives that are not ready pollux might have is for a person to say.
Verdict judge(const Machine& machine) {
  Verdict verdict;
  verdict.sections.push_back(machine_section(machine));
  std::string ready;
  bool any = false;
  for (const auto& function : machine.sysfs.nvm_functions()) {
    Section section = section_of(machine, function, false);
    leave_alone_if_used(section);
    const bool on_vfio = function.driver == vfio::kVfioDriver;
    if (ready.empty() && on_vfio && worst_of(section.findings) != Severity::blocked)
      ready = vfio::address_of(machine.sysfs, function);
    verdict.sections.push_back(std::move(section));
    any = true;
  }
  if (!any)
    verdict.sections.push_back({"drives",
                                {{"NVMe functions", Severity::warning, "none on this machine",
                                  "the address soft:size=1GiB works without one"}}});
  verdict.severity = worst_of(verdict.sections[0].findings);
  if (verdict.severity < Severity::warning && !any) verdict.severity = Severity::warning;
  verdict.next = mending(machine, verdict.sections[0].findings, {});
  if (any && ready.empty()) verdict.severity = Severity::blocked;
  if (verdict.next.empty())
    verdict.next = !ready.empty() ? first_job(ready)
                   : any          ? "pollux doctor ADDRESS, of a drive that pollux may have"
                                  : first_job("soft:size=1GiB");
  return verdict;
}

}  // namespace pollux::cli
