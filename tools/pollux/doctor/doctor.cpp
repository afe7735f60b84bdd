// pollux doctor: what is between here and I/O, one thing after the other, and what mends it.
#include <fcntl.h>
#include <fmt/color.h>
#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/doctor/verdict.hpp"
#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/address.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/uninterrupted.hpp"

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

void print_text(const Verdict& verdict) {
  const auto& sections = verdict.sections;
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
  fmt::print("next: {}\n", verdict.next);
}

void print_json(const Verdict& verdict) {
  Tree tree;
  tree["severity"] = look_of(verdict.severity).word;
  tree["next"] = verdict.next;
  tree["sections"] = Tree::array();
  for (const auto& section : verdict.sections) {
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

std::string user_name() {
  if (const char* const name = std::getenv("SUDO_USER"); name != nullptr && geteuid() == 0) return name;
  const passwd* const entry = getpwuid(geteuid());
  return entry != nullptr ? entry->pw_name : std::to_string(geteuid());
}

// A container's device rules, and a driver that is not there, show when a node is opened. Those of a device are not: it
// would be busy meanwhile.
int may_open(const std::string& node) {
  if (::access(node.c_str(), R_OK | W_OK) != 0) return errno;
  if (node != vfio::kContainerNode && node != vfio::kIommufdNode) return 0;
  return vfio::open_file(node.c_str(), O_RDWR | O_CLOEXEC) ? 0 : errno;
}

}  // namespace

Machine Machine::here() {
  Machine machine;
  machine.user = user_name();
  machine.is_for_root = geteuid() == 0 && std::getenv("SUDO_USER") != nullptr;
  machine.memlock = vfio::current_memlock();
  machine.pinned_by_user_bytes = vfio::pinned_by_user(machine.sysfs, getuid());
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
    for (unsigned processor = 0; processor < CPU_SETSIZE; processor++)
      if (CPU_ISSET(processor, &allowed)) machine.processors.push_back(processor);
  machine.access = may_open;
  machine.health = [sysfs = machine.sysfs](const vfio::PciFunction& function) { return read_health(sysfs, function); };
  return machine;
}

Result<int> doctor(const Machine& machine, const std::string& address, Format format) {
  constexpr int kSomethingInTheWay = 1;
  constexpr int kOnlyWarnings = 3;  // 2 is a wrong command line
  Verdict verdict;
  if (address.empty()) {
    verdict = judge(machine);
  } else {
    const auto parsed = vfio::Address::parse(address);
    if (!parsed) return std::unexpected(parsed.error());
    if (!parsed->is_pci())
      return fail(fmt::format("\"{}\" is not a PCI function", address),
                  "only those want the machine's help; other addresses may be tried at once: \"pollux info\"");
    const auto function = machine.sysfs.function(parsed->target);
    if (!function) return std::unexpected(function.error());
    verdict = judge(machine, *function);
  }
  if (format == Format::json)
    print_json(verdict);
  else
    print_text(verdict);
  switch (verdict.severity) {
    case Severity::blocked:
      return kSomethingInTheWay;
    case Severity::warning:
      return kOnlyWarnings;
    default:
      return 0;
  }
}

}  // namespace pollux::cli
