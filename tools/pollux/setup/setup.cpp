// pollux setup: makes a machine ready for one user, and takes that back.
#include "pollux/tools/pollux/setup/setup.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/signals_held.hpp"
#include "pollux/tools/pollux/targets.hpp"
#include "pollux/vfio/pci/binding.hpp"

namespace pollux::cli {
namespace {

constexpr std::uint64_t kKib = 1024;

// To stdout. That it is full ends a program elsewhere; here it would leave the machine half set up, and main() tells.
template <typename... Arguments>
void tell(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  std::fputs(fmt::format(format, std::forward<Arguments>(arguments)...).c_str(), stdout);
  std::fflush(stdout);
}

bool is_root() { return geteuid() == 0; }

Result<void> is_possible(const vfio::Sysfs& root) {
  if (!is_root()) return fail("setting a machine up takes root", "run it with sudo; --dry-run shows what it would do");
  std::error_code error;
  if (!std::filesystem::exists(root.path("/run/udev/control"), error))
    return fail("no udev runs here, and its rules are what lasts over a boot",
                "run it on the host and not in a container; \"pollux bind\" and chown do the same until the next boot");
  return {};
}

// A number of hugepages that leaves the machine half of its memory.
Result<void> has_memory_for(const vfio::Sysfs& root, std::uint64_t hugepages) {
  constexpr std::uint64_t kPageKib = 2048;
  const std::uint64_t more = hugepages - std::min(hugepages, root.number(kHugepages).value_or(0));
  std::istringstream lines(text_of(root.path("/proc/meminfo")));
  std::uint64_t available_kib = 0;
  for (std::string word; lines >> word;)
    if (word == "MemAvailable:") lines >> available_kib;
  if (more * kPageKib <= available_kib / 2) return {};
  return fail(fmt::format("{} more hugepages are {} MiB, of {} MiB that are free", more, more * kPageKib / kKib,
                          available_kib / kKib),
              "ask for fewer: --hugepages");
}

// The limit of locked memory that a login of this user has, in KiB; nothing: none. Who cannot log in has 0.
std::optional<std::uint64_t> login_memlock_kib(const std::string& user) {
  const std::string command =
      fmt::format("timeout 20 su --login {} --command 'ulimit -l' 2>/dev/null </dev/null", user);
  std::string said;
  if (FILE* const pipe = popen(command.c_str(), "r"); pipe != nullptr) {
    char line[64] = {};
    while (std::fgets(line, sizeof(line), pipe) != nullptr) said = line;
    pclose(pipe);
  }
  if (said == "unlimited\n") return std::nullopt;
  std::uint64_t kib = 0;
  std::from_chars(said.data(), said.data() + said.size(), kib);
  return kib;
}

Result<void> all_nvm(const vfio::Sysfs& root, const std::vector<std::string>& bdfs, Wanted& wanted) {
  for (const auto& bdf : bdfs) {
    auto function = root.function(bdf);
    if (!function) return std::unexpected(std::move(function.error()));
    if (!function->is_nvm())
      return fail(fmt::format("{} is not an NVMe function: its class is {:06x}", bdf, function->class_code),
                  "\"pollux list\" shows the ones that are");
    wanted.functions.push_back(std::move(*function));
  }
  return {};
}

// What the request names, found on this machine, with nothing in its way.
Result<Wanted> wanted_by(const vfio::Sysfs& root, const SetupRequest& request) {
  if (request.user.empty()) return fail("no user was named", "say whom for: pollux setup --user NAME");
  if (getpwnam(request.user.c_str()) == nullptr)
    return fail(fmt::format("there is no user {}", request.user), "name one of this machine's");
  const auto bdfs = targets(root, request.words);
  if (!bdfs) return std::unexpected(bdfs.error());
  Wanted wanted{request.user, {}, request.hugepages, {}};
  if (auto all = all_nvm(root, *bdfs, wanted); !all) return std::unexpected(std::move(all.error()));
  // A dry run may be anybody's; whether a drive is in use only root can find out.
  if (auto possible = is_root() ? vfio::bindable(root, *bdfs) : Result<void>(); !possible)
    return std::unexpected(std::move(possible.error()));
  if (auto possible = has_memory_for(root, request.hugepages); !possible)
    return std::unexpected(std::move(possible.error()));
  std::error_code error;
  wanted.program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return fail(fmt::format("cannot find this program: {}", error.message()));
  // Without a drive nothing runs at boot.
  if (auto fit = fit_for_rules(wanted.functions.empty() ? "/" : wanted.program, wanted.user); !fit)
    return std::unexpected(std::move(fit.error()));
  return wanted;
}

enum class OnError { stop, go_on };

Result<void> carry_out(const std::vector<Step>& steps, bool dry_run, OnError on_error = OnError::stop) {
  Result<void> result;
  for (const auto& step : steps) {
    const std::string title = step.text.substr(0, step.text.find(":\n"));
    if (!step.done) {
      tell("done already: {}\n", title);
    } else if (dry_run) {
      tell("would {}\n", step.text);
    } else if (auto done = step.done(); done) {
      tell("done: {}\n", title);
    } else {
      if (on_error == OnError::stop) return done;
      result = std::move(done);
    }
  }
  return result;
}

void tell_next(const vfio::Sysfs& root, const Wanted& wanted) {
  std::error_code error;
  const bool limited = std::filesystem::exists(root.path(kLimitsFile), error);
  tell("next: {}pollux ", limited ? wanted.user + " logs in anew, for the limit of locked memory; then: " : "");
  if (wanted.functions.empty())
    tell("list, and as root: pollux bind ADDRESS\n");
  else
    tell("doctor {}\n", wanted.functions.front().bdf);
}

// The rules know a drive by its address and its model.
void tell_of_doubles(const vfio::Sysfs& root, const Wanted& wanted) {
  for (const auto& other : root.nvm_functions()) {
    const auto named = [&](const vfio::PciFunction& one) { return one.bdf == other.bdf; };
    const auto same = [&](const vfio::PciFunction& one) {
      return one.vendor == other.vendor && one.device == other.device;
    };
    if (std::ranges::none_of(wanted.functions, named) && std::ranges::any_of(wanted.functions, same))
      fmt::print(stderr, "pollux: notice: {} is of the same model: run setup anew after cards were moved\n", other.bdf);
  }
}

Result<void> undo(const vfio::Sysfs& root, bool dry_run, OnError on_error) {
  const auto steps = steps_of_undo(root);
  if (!steps) return std::unexpected(steps.error());
  if (steps->empty()) tell("there is nothing to take back\n");
  return carry_out(*steps, dry_run, on_error);
}

}  // namespace

Result<void> setup(const SetupRequest& request) {
  const vfio::Sysfs root;
  if (!request.dry_run)
    if (auto possible = is_possible(root); !possible) return possible;
  const SignalsHeld held;
  if (request.undo) return undo(root, request.dry_run, OnError::stop);
  const auto wanted = wanted_by(root, request);
  if (!wanted) return std::unexpected(wanted.error());
  const auto before = set_up_before(root);
  if (!before) return std::unexpected(before.error());
  const auto memlock_kib = is_root() ? login_memlock_kib(wanted->user) : 0;
  const auto steps = steps_of_setup(root, *wanted, memlock_kib);
  if (!steps) return std::unexpected(steps.error());
  if (auto done = carry_out(*steps, request.dry_run); !done) {
    if (*before) return done;
    tell("taking back what was done\n");
    if (auto back = undo(root, false, OnError::go_on); !back)
      done.error().what += fmt::format("; and {}", back.error().what);
    return done;
  }
  tell_of_doubles(root, *wanted);
  if (!request.dry_run) tell_next(root, *wanted);
  return {};
}

}  // namespace pollux::cli
