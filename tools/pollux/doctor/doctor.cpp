// pollux doctor: what is between here and I/O, one thing after the other, and what mends it.
#include <fmt/color.h>
#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/address.hpp"

namespace pollux::cli {
namespace {

struct Look {
  const char* word;
  fmt::color colour;
};

Look look_of(Severity severity) {
  switch (severity) {
    case Severity::fine:
      return {"ok", fmt::color::green};
    case Severity::note:
      return {"note", fmt::color::steel_blue};
    case Severity::warning:
      return {"warning", fmt::color::orange};
    case Severity::blocked:
      break;
  }
  return {"BLOCKED", fmt::color::red};
}

// A heading, and what was found below it.
struct Section {
  std::string title;
  Findings findings;
};

Severity worst_of(const std::vector<Section>& sections) {
  Severity worst = Severity::fine;
  for (const auto& section : sections)
    for (const auto& finding : section.findings) worst = std::max(worst, finding.severity);
  return worst;
}

// The first thing to mend, all that setup mends in one; then the first I/O.
std::string next_step(const Machine& machine, const std::vector<Section>& sections, const std::string& drive) {
  bool by_setup = false;
  for (const auto& section : sections)
    for (const auto& finding : section.findings) {
      if (finding.severity != Severity::blocked) continue;
      if (!finding.by_setup) return finding.remedy;
      by_setup = true;
    }
  if (by_setup) return fmt::format("as root: pollux setup --user {} {}", machine.user, drive);
  return fmt::format("pollux-bench --name=first --filename={} --rw=randread --bs=4k --size=64M",
                     drive.empty() ? "soft:size=1GiB" : drive);
}

void print_text(const std::vector<Section>& sections, const std::string& next) {
  const bool colours = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  constexpr int kWordWidth = 8;
  std::size_t width = 0;
  for (const auto& section : sections)
    for (const auto& finding : section.findings) width = std::max(width, finding.check.size());
  for (const auto& section : sections) {
    fmt::print("{}\n", section.title);
    for (const auto& finding : section.findings) {
      const Look look = look_of(finding.severity);
      const std::string word = fmt::format("{:{}}", look.word, kWordWidth);
      fmt::print("  {}  {:{}}  {}\n", colours ? fmt::format(fmt::fg(look.colour), "{}", word) : word, finding.check,
                 width, finding.found);
      if (!finding.remedy.empty()) fmt::print("  {:{}}  {:{}}  → {}\n", "", kWordWidth, "", width, finding.remedy);
    }
  }
  fmt::print("next: {}\n", next);
}

void print_json(const std::vector<Section>& sections, const std::string& next) {
  Tree tree;
  tree["severity"] = look_of(worst_of(sections)).word;
  tree["next"] = next;
  tree["sections"] = Tree::array();
  for (const auto& section : sections) {
    Tree rows = Tree::array();
    for (const auto& finding : section.findings)
      rows.push_back({{"check", finding.check},
                      {"severity", look_of(finding.severity).word},
                      {"found", finding.found},
                      {"remedy", finding.remedy}});
    tree["sections"].push_back({{"title", section.title}, {"findings", rows}});
  }
  print(tree, Format::json);
}

Section section_of(const Machine& machine, const vfio::PciFunction& function, bool opens) {
  Section section{function.bdf, examine_drive(machine, function)};
  const bool blocked = worst_of({section}) == Severity::blocked;
  // A drive that is on vfio-pci has to be opened for it, and only the one that was asked about is.
  const bool ask = function.driver == vfio::kNvmeDriver || (opens && !blocked);
  if (function.is_nvm() && ask)
    for (auto& finding : examine_health(machine, function)) section.findings.push_back(std::move(finding));
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

std::string user_name() {
  const passwd* entry = getpwuid(geteuid());
  return entry != nullptr ? entry->pw_name : std::to_string(geteuid());
}

}  // namespace

Machine Machine::here() {
  Machine machine;
  machine.user = user_name();
  machine.memlock = vfio::current_memlock();
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
    for (unsigned processor = 0; processor < CPU_SETSIZE; processor++)
      if (CPU_ISSET(processor, &allowed)) machine.processors.push_back(processor);
  machine.access = [](const std::string& node) { return ::access(node.c_str(), R_OK | W_OK) == 0 ? 0 : errno; };
  machine.health = [sysfs = machine.sysfs](const vfio::PciFunction& function) { return read_health(sysfs, function); };
  return machine;
}

Result<int> doctor(const Machine& machine, const std::string& address, Format format) {
  constexpr int kSomethingInTheWay = 1;
  constexpr int kOnlyWarnings = 3;  // 2 is a wrong command line
  std::vector<Section> sections = {{"machine", examine_machine(machine)}};
  std::string drive = address;
  if (!address.empty()) {
    const auto parsed = vfio::Address::parse(address);
    if (!parsed) return std::unexpected(parsed.error());
    if (!parsed->is_pci())
      return fail(fmt::format("\"{}\" is not a PCI function", address),
                  "only those want the machine's help; other addresses may be tried at once: \"pollux info\"");
    const auto function = machine.sysfs.function(parsed->target);
    if (!function) return std::unexpected(function.error());
    sections.push_back(section_of(machine, *function, true));
  } else {
    for (const auto& function : machine.sysfs.nvm_functions()) {
      Section section = section_of(machine, function, false);
      leave_alone_if_used(section);
      if (drive.empty() && section.findings.size() > 1) drive = function.bdf;
      sections.push_back(std::move(section));
    }
    if (sections.size() == 1)
      sections.push_back({"drives",
                          {{"NVMe functions", Severity::warning, "none on this machine",
                            "the address soft:size=1GiB works without one"}}});
  }
  const std::string next = next_step(machine, sections, drive);
  if (format == Format::json)
    print_json(sections, next);
  else
    print_text(sections, next);
  switch (worst_of(sections)) {
    case Severity::blocked:
      return kSomethingInTheWay;
    case Severity::warning:
      return kOnlyWarnings;
    default:
      return 0;
  }
}

}  // namespace pollux::cli
