#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pollux/tools/pollux/setup/setup.hpp"
#include "pollux/vfio/binding.hpp"
#include "pollux/vfio/file_descriptor.hpp"

namespace pollux::cli {
namespace {

namespace fs = std::filesystem;
using vfio::Sysfs;

constexpr std::string_view kHugepages = "/proc/sys/vm/nr_hugepages";

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Whole or not at all: written beside the place, then moved there.
Result<void> write_file(const std::string& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const std::string beside = path + ".new";
  constexpr mode_t kReadable = 0644;
  const vfio::FileDescriptor file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kReadable));
  if (!file) return fail_errno(errno, fmt::format("cannot write {}", path), "run it as root");
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      rename(beside.c_str(), path.c_str()) != 0) {
    const int os_error = errno;
    unlink(beside.c_str());
    return fail_errno(os_error, fmt::format("cannot write {}", path));
  }
  return {};
}

std::string indented(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += "\n    " + line;
  return out;
}

Step file_step(const Sysfs& root, std::string_view file, const std::string& text) {
  const std::string path = root.path(file);
  Step step{fmt::format("write {}:{}", file, indented(text)), nullptr};
  if (text_of(path) != text) step.done = [path, text] { return write_file(path, text); };
  return step;
}

// A program of the system's, a minute at most.
Result<void> run(const std::vector<std::string>& words) {
  std::vector<std::string> all = {"timeout", "60"};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> arguments;
  for (auto& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const std::string line = fmt::format("{}", fmt::join(words, " "));
  if (const int error = posix_spawnp(&pid, arguments[0], nullptr, nullptr, arguments.data(), environ); error != 0)
    return fail_errno(error, fmt::format("cannot run \"{}\"", line));
  int status = 0;
  if (waitpid(pid, &status, 0) < 0) return fail_errno(errno, fmt::format("\"{}\" is lost", line));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(fmt::format("\"{}\" failed", line), "what it said stands above");
  return {};
}

Step program_step(std::vector<std::string> words) {
  return {fmt::format("run {}", fmt::join(words, " ")), [words] { return run(words); }};
}

Step hugepages_step(const Sysfs& root, std::uint64_t pages) {
  Step step{fmt::format("write {} to {}", pages, kHugepages), nullptr};
  if (root.number(kHugepages) == pages) return step;
  step.done = [root, pages]() -> Result<void> {
    if (auto written = root.write(kHugepages, std::to_string(pages)); !written) return written;
    // The kernel takes as many as it finds, and says nothing.
    const auto found = root.number(kHugepages).value_or(0);
    if (found < pages)
      return fail(fmt::format("the kernel found memory for {} of {} hugepages of 2 MiB", found, pages),
                  "ask for fewer (--hugepages), or boot: they are set aside then, before memory is in pieces");
    return {};
  };
  return step;
}

// All of them or none.
Step bind_step(const Sysfs& root, const std::vector<vfio::PciFunction>& functions) {
  std::vector<std::string> bdfs;
  bool bound = true;
  for (const auto& function : functions) {
    bdfs.push_back(function.bdf);
    bound = bound && function.driver == vfio::kVfioDriver;
  }
  Step step{fmt::format("bind {} to vfio-pci", fmt::join(bdfs, ", ")), nullptr};
  if (!bound)
    step.done = [root, bdfs]() -> Result<void> {
      const auto report = vfio::bind(root, bdfs, vfio::BindWay::driver_override);
      return report ? Result<void>() : std::unexpected(report.error());
    };
  return step;
}

Step unbind_step(const Sysfs& root, const std::vector<std::string>& bdfs) {
  std::vector<std::string> bound;
  std::ranges::copy_if(bdfs, std::back_inserter(bound),
                       [&](const std::string& bdf) { return root.driver_of(bdf) == vfio::kVfioDriver; });
  Step step{fmt::format("give {} back to nvme", fmt::join(bdfs, ", ")), nullptr};
  if (!bound.empty())
    step.done = [root, bound]() -> Result<void> {
      const auto report = vfio::unbind(root, bound);
      return report ? Result<void>() : std::unexpected(report.error());
    };
  return step;
}

// What the rules say of the nodes that are there already.
std::vector<Step> apply_rules() {
  return {
      program_step({"udevadm", "control", "--reload"}),
      program_step({"udevadm", "trigger", "--action=change", "--subsystem-match=vfio", "--subsystem-match=vfio-dev"}),
      program_step({"udevadm", "trigger", "--action=change", "--subsystem-match=misc", "--sysname-match=iommu"}),
      program_step({"udevadm", "settle", "--timeout=30"})};
}

bool any_left(const std::vector<Step>& steps) {
  return std::ranges::any_of(steps, [](const Step& step) { return step.done != nullptr; });
}

void append(std::vector<Step>& steps, std::vector<Step> more) {
  for (auto& step : more) steps.push_back(std::move(step));
}

}  // namespace

Result<std::vector<Step>> steps_of_setup(const Sysfs& root, const Wanted& wanted) {
  const auto left = left_by_setup(root);
  if (!left) return std::unexpected(left.error());
  const std::uint64_t before = *left ? (*left)->hugepages_before : root.number(kHugepages).value_or(0);
  std::vector<Step> steps = {file_step(root, kRulesFile, rules_text(wanted)),
                             file_step(root, kLimitsFile, limits_text(wanted)),
                             file_step(root, kSysctlFile, sysctl_text(wanted, before))};
  if (*left && any_left(steps))
    return fail("this machine is set up already, for another user, other drives or another size",
                "run \"pollux setup --undo\" first");
  steps.push_back(hugepages_step(root, std::max(wanted.hugepages, before)));
  if (!root.has_driver(vfio::kVfioDriver)) steps.push_back(program_step({"modprobe", "vfio-pci"}));
  if (any_left(steps)) append(steps, apply_rules());  // before the nodes of the drives appear
  if (!wanted.functions.empty()) steps.push_back(bind_step(root, wanted.functions));
  return steps;
}

Result<std::vector<Step>> steps_of_undo(const Sysfs& root) {
  const auto left = left_by_setup(root);
  if (!left) return std::unexpected(left.error());
  if (!*left) return std::vector<Step>();
  std::vector<Step> steps;
  if (!(*left)->bdfs.empty()) steps.push_back(unbind_step(root, (*left)->bdfs));
  steps.push_back(hugepages_step(root, (*left)->hugepages_before));
  for (const std::string_view file : {kRulesFile, kLimitsFile, kSysctlFile})
    steps.push_back({fmt::format("remove {}", file), [path = root.path(file)]() -> Result<void> {
                       if (unlink(path.c_str()) != 0 && errno != ENOENT)
                         return fail_errno(errno, fmt::format("cannot remove {}", path), "run it as root");
                       return {};
                     }});
  append(steps, apply_rules());
  return steps;
}

Result<void> only_roots(const std::string& path) {
  for (fs::path part = path;; part = part.parent_path()) {
    struct stat found{};
    if (stat(part.c_str(), &found) != 0) return fail_errno(errno, fmt::format("cannot look at {}", part.string()));
    const bool others = (found.st_mode & S_IWOTH) != 0 || ((found.st_mode & S_IWGRP) != 0 && found.st_gid != 0);
    if (found.st_uid != 0 || others)
      return fail(
          fmt::format("others than root may change {}, and each boot would run {} as root", part.string(), path),
          "install it first, as root: cmake --install build; then: pollux setup");
    if (part == part.root_path()) return {};
  }
}

}  // namespace pollux::cli
