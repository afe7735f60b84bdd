#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/setup/setup.hpp"

namespace pollux::cli {
namespace {

constexpr std::string_view kOurs = "# Written by \"pollux setup\"; \"pollux setup --undo\" takes it away.\n";
constexpr std::string_view kUser = "# user ";
constexpr std::string_view kDrive = "# drive ";  // its address, and the driver that it had
constexpr std::string_view kPages = "# before: ";
constexpr std::uint64_t kHugepageKib = 2048;

// What stands behind `mark` on each line that begins with it.
std::vector<std::string> marked(const std::string& text, std::string_view mark) {
  std::vector<std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(mark)) found.push_back(line.substr(mark.size()));
  return found;
}

// udev ends words at blanks, expands % and $, and its strings end at a quotation mark.
bool is_plain(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._/+-").contains(c);
  });
}

}  // namespace

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::uint64_t Wanted::memlock_kib() const { return hugepages * kHugepageKib + kMemlockNeededBytes / 1024; }

// udev(7). It is "add" alone that binds, so that "pollux unbind" lasts until the next boot. A node is given away by a
// program: systemd 258 ignores an OWNER that is no system user.
std::string rules_text(const Wanted& wanted, const Before& before) {
  std::string text(kOurs);
  const auto line = [&text](const std::string& rule) { text += rule + "\n"; };
  const std::string give = fmt::format(R"(RUN+="/bin/chown {} $devnode")", wanted.user);
  line(fmt::format("{}{}", kUser, wanted.user));
  line(R"(ACTION=="add", SUBSYSTEM=="pci", ATTR{class}=="0x0108??", RUN{builtin}+="kmod load vfio-pci")");
  for (const auto& function : wanted.functions) {
    const auto had = std::ranges::find(before.drivers, function.bdf, &std::pair<std::string, std::string>::first);
    line(fmt::format("{}{} {}", kDrive, function.bdf, had == before.drivers.end() ? "" : had->second));
    // After a card was moved the address may be another model's.
    line(fmt::format(R"(ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{0}", ATTR{{vendor}}=="{1:#06x}", )"
                     R"(ATTR{{device}}=="{2:#06x}", RUN+="{3} bind {0}")",
                     function.bdf, function.vendor, function.device, wanted.program));
    line(fmt::format(R"(SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/{}", {})", function.bdf, give));
    line(fmt::format(R"(SUBSYSTEM=="vfio-dev", KERNELS=="{}", {})", function.bdf, give));
  }
  if (wanted.functions.empty()) {
    line(fmt::format(
        R"(SUBSYSTEM=="vfio", PROGRAM="/bin/sh -c 'grep -q ^0x0108 /sys/kernel/iommu_groups/%k/devices/*/class'", {})",
        give));
    line(fmt::format(R"(SUBSYSTEM=="vfio-dev", ATTRS{{class}}=="0x0108??", {})", give));
  }
  line(fmt::format(R"(SUBSYSTEM=="misc", KERNEL=="iommu", {})", give));
  return text;
}

// tmpfiles.d(5): w writes.
std::string hugepages_text(const Wanted& wanted, const Before& before) {
  return fmt::format("{}{}{}\nw {} - - - - {}\n", kOurs, kPages, before.hugepages.value_or(0), kHugepages,
                     std::max(wanted.hugepages, before.hugepages.value_or(0)));
}

// limits.conf(5): "-" is both the soft limit and the hard one; in KiB.
std::string limits_text(const Wanted& wanted) {
  return fmt::format("{}{} - memlock {}\n", kOurs, wanted.user, wanted.memlock_kib());
}

Result<std::optional<Before>> set_up_before(const vfio::Sysfs& root) {
  Before before;
  bool any = false;
  for (const std::string_view file : {kRulesFile, kHugepagesFile, kLimitsFile}) {
    const std::string text = text_of(root.path(file));
    if (text.empty()) continue;
    if (!text.starts_with(kOurs))
      return fail(fmt::format("{} is there, and \"pollux setup\" has not written it", file),
                  "move it away, or remove it");
    any = true;
    for (auto& user : marked(text, kUser)) before.user = std::move(user);
    for (const auto& drive : marked(text, kDrive)) {
      const auto blank = drive.find(' ');
      before.drivers.emplace_back(drive.substr(0, blank), blank == std::string::npos ? "" : drive.substr(blank + 1));
    }
    for (const auto& pages : marked(text, kPages)) {
      std::uint64_t number = 0;
      if (std::from_chars(pages.data(), pages.data() + pages.size(), number).ec == std::errc{})
        before.hugepages = number;
    }
  }
  return any ? std::optional(std::move(before)) : std::nullopt;
}

Result<void> fit_for_rules(const std::string& program, const std::string& user) {
  if (!is_plain(user))
    return fail(fmt::format("the name \"{}\" has characters that mean something to udev", user),
                "set the machine up for a user with a plain name");
  if (!is_plain(program))
    return fail(fmt::format("the path {} has characters that mean something to udev", program),
                "install pollux at a plain path");
  for (std::filesystem::path part = program;; part = part.parent_path()) {
    struct stat found{};
    if (stat(part.c_str(), &found) != 0) return fail_errno(errno, fmt::format("cannot look at {}", part.string()));
    // With an access control list the group's bits are the most that the list gives to anybody.
    if (found.st_uid != 0 || (found.st_mode & (S_IWOTH | S_IWGRP)) != 0)
      return fail(
          fmt::format("others than root may change {}, and each boot would run {} as root", part.string(), program),
          "install pollux where they may not, as root: cmake --install build --prefix /usr");
    if (part == part.root_path()) return {};
  }
}

}  // namespace pollux::cli
