#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "pollux/tools/pollux/setup/setup.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/pci/binding.hpp"

namespace pollux::cli {
namespace {

namespace fs = std::filesystem;
using vfio::Sysfs;

// Whole or not at all: written beside the place, then moved there.
Result<void> write_file(const std::string& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const std::string beside = path + ".new";
  constexpr mode_t kReadable = 0644;
  const vfio::FileDescriptor file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kReadable));
  if (!file) return fail_errno(errno, fmt::format("cannot write {}", path));
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

// A program of the system's, a minute at most. Signals that are held back here end it as ever.
Result<void> run(const std::vector<std::string>& words) {
  std::vector<std::string> all = {"timeout", "--kill-after=5", "60"};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> arguments;
  for (auto& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, arguments[0], nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  const std::string line = fmt::format("{}", fmt::join(words, " "));
  if (error != 0) return fail_errno(error, fmt::format("cannot run \"{}\"", line));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno(errno, fmt::format("\"{}\" is lost", line));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(fmt::format("\"{}\" failed", line), "what it said stands above");
  return {};
}

Step program_step(std::vector<std::string> words) {
  return {fmt::format("run {}", fmt::join(words, " ")), [words] { return run(words); }};
}

Step settle_step() { return program_step({"udevadm", "settle", "--timeout=30"}); }

Result<void> set_hugepages(const Sysfs& root, std::uint64_t pages) {
  if (auto written = root.write(kHugepages, std::to_string(pages)); !written) return written;
  // The kernel takes as many as it finds, and says nothing.
  const auto found = root.number(kHugepages).value_or(0);
  if (found < pages)
    return fail(fmt::format("the kernel found memory for {} of {} hugepages of 2 MiB", found, pages),
                "ask for fewer (--hugepages), or after a boot, before memory is in pieces");
  return {};
}

Step hugepages_step(const Sysfs& root, std::uint64_t pages) {
  Step step{fmt::format("write {} to {}", pages, kHugepages), nullptr};
  if (root.number(kHugepages).value_or(0) < pages) step.done = [root, pages] { return set_hugepages(root, pages); };
  return step;
}

// As many as there were; not where somebody has set another number since.
Step hugepages_back_step(const Sysfs& root, std::uint64_t before) {
  Step step{fmt::format("write {} to {}", before, kHugepages), nullptr};
  const std::string text = text_of(root.path(kHugepagesFile));
  const auto ours = root.number(kHugepages).value_or(0);
  if (ours > before && text.ends_with(fmt::format(" {}\n", ours)))
    step.done = [root, before] { return set_hugepages(root, before); };
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
      if (!report) return std::unexpected(report.error());
      for (const auto& notice : report->notices) fmt::print(stderr, "pollux: notice: {}\n", notice);
      return {};
    };
  return step;
}

// Those that nvme had, all or none.
Step unbind_step(const Sysfs& root, const Before& before) {
  std::vector<std::string> bound;
  for (const auto& [bdf, driver] : before.drivers)
    if (driver == vfio::kNvmeDriver && root.driver_of(bdf) == vfio::kVfioDriver) bound.push_back(bdf);
  Step step{fmt::format("give {} back to nvme", fmt::join(bound, ", ")), nullptr};
  if (!bound.empty())
    step.done = [root, bound]() -> Result<void> {
      const auto report = vfio::unbind(root, bound);
      return report ? Result<void>() : std::unexpected(report.error());
    };
  return step;
}

// udev leaves a node with the owner that it has.
Step nodes_step(const Sysfs& root, const std::string& user) {
  std::vector<std::string> nodes;
  const passwd* const entry = getpwnam(user.c_str());
  const auto look_at = [&](const std::string& node) {
    struct stat found{};
    if (entry != nullptr && stat(root.path(node).c_str(), &found) == 0 && S_ISCHR(found.st_mode) &&
        found.st_uid == entry->pw_uid)
      nodes.push_back(node);
  };
  look_at("/dev/iommu");
  for (const std::string folder : {"/dev/vfio/", "/dev/vfio/devices/"})
    for (const auto& name : root.names(folder)) look_at(folder + name);
  Step step{fmt::format("give {} back to root", fmt::join(nodes, ", ")), nullptr};
  if (!nodes.empty())
    step.done = [root, nodes]() -> Result<void> {
      for (const auto& node : nodes)
        if (chown(root.path(node).c_str(), 0, 0) != 0 && errno != ENOENT)
          return fail_errno(errno, fmt::format("cannot give {} back to root", node));
      return {};
    };
  return step;
}

// What the rules say of the nodes that are there already.
std::vector<Step> apply_rules() {
  return {
      program_step({"udevadm", "control", "--reload"}),
      program_step({"udevadm", "trigger", "--action=change", "--subsystem-match=vfio", "--subsystem-match=vfio-dev"}),
      program_step({"udevadm", "trigger", "--action=change", "--subsystem-match=misc", "--sysname-match=iommu"}),
      settle_step()};
}

bool any_left(const std::vector<Step>& steps) {
  return std::ranges::any_of(steps, [](const Step& step) { return step.done != nullptr; });
}

void append(std::vector<Step>& steps, std::vector<Step> more) { std::ranges::move(more, std::back_inserter(steps)); }

Before now(const Sysfs& root, const Wanted& wanted) {
  Before before{wanted.user, {}, root.number(kHugepages).value_or(0)};
  for (const auto& function : wanted.functions) before.drivers.emplace_back(function.bdf, function.driver);
  return before;
}

}  // namespace

Result<std::vector<Step>> steps_of_setup(const Sysfs& root, const Wanted& wanted,
                                         std::optional<std::uint64_t> memlock_kib) {
  const auto earlier = set_up_before(root);
  if (!earlier) return std::unexpected(earlier.error());
  const Before before = *earlier ? **earlier : now(root, wanted);
  // First what tells how the machine was: without it nothing can be taken back.
  std::vector<Step> steps = {file_step(root, kHugepagesFile, hugepages_text(wanted, before)),
                             file_step(root, kRulesFile, rules_text(wanted, before))};
  const bool limited = memlock_kib && *memlock_kib < wanted.memlock_kib();
  if (limited || !text_of(root.path(kLimitsFile)).empty())
    steps.push_back(file_step(root, kLimitsFile, limits_text(wanted)));
  if (*earlier && any_left(steps))
    return fail("this machine is set up already, for another user, other drives or another size",
                "run \"pollux setup --undo\" first");
  steps.push_back(hugepages_step(root, std::max(wanted.hugepages, before.hugepages.value_or(0))));
  if (!root.has_driver(vfio::kVfioDriver)) steps.push_back(program_step({"modprobe", "vfio-pci"}));
  if (any_left(steps)) append(steps, apply_rules());  // before the nodes of the drives appear
  if (!wanted.functions.empty()) steps.push_back(bind_step(root, wanted.functions));
  if (steps.back().done) steps.push_back(settle_step());
  return steps;
}

Result<std::vector<Step>> steps_of_undo(const Sysfs& root) {
  const auto before = set_up_before(root);
  if (!before) return std::unexpected(before.error());
  if (!*before) return std::vector<Step>();
  std::vector<Step> steps;
  if (auto step = unbind_step(root, **before); step.done) steps.push_back(std::move(step));
  if ((*before)->hugepages) steps.push_back(hugepages_back_step(root, *(*before)->hugepages));
  for (const std::string_view file : {kRulesFile, kLimitsFile, kHugepagesFile})
    steps.push_back({fmt::format("remove {}", file), [path = root.path(file)]() -> Result<void> {
                       if (unlink(path.c_str()) != 0 && errno != ENOENT)
                         return fail_errno(errno, fmt::format("cannot remove {}", path));
                       return {};
                     }});
  append(steps, {program_step({"udevadm", "control", "--reload"}), settle_step()});
  if (auto step = nodes_step(root, (*before)->user); step.done) steps.push_back(std::move(step));
  return steps;
}

}  // namespace pollux::cli
