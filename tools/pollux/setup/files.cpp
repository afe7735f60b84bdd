#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/setup/setup.hpp"

namespace pollux::cli {
namespace {

constexpr std::string_view kOurs = "# Written by \"pollux setup\"; \"pollux setup --undo\" takes it away.\n";
constexpr std::string_view kDrive = "# drive ";
constexpr std::string_view kBefore = "# before: ";
constexpr std::uint64_t kHugepageKib = 2048;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What stands behind `mark` on each line that begins with it.
std::vector<std::string> marked(const std::string& text, std::string_view mark) {
  std::vector<std::string> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(mark)) found.push_back(line.substr(mark.size()));
  return found;
}

}  // namespace

std::uint64_t Wanted::memlock_kib() const { return hugepages * kHugepageKib + kMemlockNeededBytes / 1024; }

// udev(7). A drive's rule has its ids too: after a card has been moved the address may be another drive's. It is "add"
// alone that binds, so that "pollux unbind" lasts until the next boot.
std::string rules_text(const Wanted& wanted) {
  std::string text(kOurs);
  text += R"(ACTION=="add", SUBSYSTEM=="pci", ATTR{class}=="0x0108??", RUN{builtin}+="kmod load vfio-pci")"
          "\n";
  std::string ours = fmt::format(R"(OWNER="{}", MODE="0600")", wanted.user);
  for (const auto& function : wanted.functions) {
    text += fmt::format("{}{}\n", kDrive, function.bdf);
    text += fmt::format(
        R"(ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{0}", ATTR{{vendor}}=="{1:#06x}", ATTR{{device}}=="{2:#06x}", )"
        R"(RUN+="{3} bind {0}")"
        "\n",
        function.bdf, function.vendor, function.device, wanted.program);
    text += fmt::format(R"(SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/{}", {})"
                        "\n",
                        function.bdf, ours);
    text += fmt::format(R"(SUBSYSTEM=="vfio-dev", KERNELS=="{}", {})"
                        "\n",
                        function.bdf, ours);
  }
  if (wanted.functions.empty())
    text += fmt::format(R"(SUBSYSTEM=="vfio|vfio-dev", {})"
                        "\n",
                        ours);
  text += fmt::format(R"(SUBSYSTEM=="misc", KERNEL=="iommu", {})"
                      "\n",
                      ours);
  return text;
}

// limits.conf(5): "-" is both the soft limit and the hard one; in KiB.
std::string limits_text(const Wanted& wanted) {
  return fmt::format("{}{} - memlock {}\n", kOurs, wanted.user, wanted.memlock_kib());
}

std::string sysctl_text(const Wanted& wanted, std::uint64_t hugepages_before) {
  return fmt::format("{}{}{}\nvm.nr_hugepages = {}\n", kOurs, kBefore, hugepages_before,
                     std::max(wanted.hugepages, hugepages_before));
}

Result<std::optional<Left>> left_by_setup(const vfio::Sysfs& root) {
  Left left;
  bool any = false;
  for (const std::string_view file : {kRulesFile, kLimitsFile, kSysctlFile}) {
    const std::string text = text_of(root.path(file));
    if (text.empty()) continue;
    if (!text.starts_with(kOurs))
      return fail(fmt::format("{} is there, and \"pollux setup\" has not written it", file),
                  "move it away, or remove it");
    any = true;
    for (auto& bdf : marked(text, kDrive)) left.bdfs.push_back(std::move(bdf));
    for (const auto& before : marked(text, kBefore))
      std::from_chars(before.data(), before.data() + before.size(), left.hugepages_before);
  }
  return any ? std::optional(std::move(left)) : std::nullopt;
}

}  // namespace pollux::cli
