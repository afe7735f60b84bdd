// pollux setup: makes a machine ready for one user, and takes that back.
#include "pollux/tools/pollux/setup/setup.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/signals_held.hpp"
#include "pollux/tools/pollux/targets.hpp"
#include "pollux/vfio/binding.hpp"

namespace pollux::cli {
namespace {

Result<void> is_possible(const vfio::Sysfs& root) {
  if (geteuid() != 0)
    return fail("setting a machine up takes root", "run it with sudo; --dry-run shows what it would do");
  std::error_code error;
  if (!std::filesystem::exists(root.path("/run/udev/control"), error))
    return fail("no udev runs here, and its rules are what lasts over a boot",
                "run it on the host and not in a container; \"pollux bind\" and chown do the same until the next boot");
  return {};
}

// What the request names, found on this machine.
Result<Wanted> wanted_by(const vfio::Sysfs& root, const SetupRequest& request) {
  if (request.user.empty()) return fail("whom for?", "name a user: pollux setup --user NAME");
  if (getpwnam(request.user.c_str()) == nullptr)
    return fail(fmt::format("there is no user {}", request.user), "name one of this machine's");
  const auto bdfs = targets(root, request.words);
  if (!bdfs) return std::unexpected(bdfs.error());
  // A dry run may be anybody's; whether a drive is in use only root can find out.
  if (auto possible = geteuid() == 0 ? vfio::bindable(root, *bdfs) : Result<void>(); !possible)
    return std::unexpected(std::move(possible.error()));
  Wanted wanted{request.user, {}, request.hugepages, {}};
  for (const auto& bdf : *bdfs) {
    auto function = root.function(bdf);
    if (!function) return std::unexpected(std::move(function.error()));
    wanted.functions.push_back(std::move(*function));
  }
  std::error_code error;
  wanted.program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return fail(fmt::format("cannot find this program: {}", error.message()));
  if (!wanted.functions.empty())
    if (auto safe = only_roots(wanted.program); !safe) return std::unexpected(safe.error());
  return wanted;
}

Result<void> carry_out(const std::vector<Step>& steps, bool dry_run) {
  for (const auto& step : steps) {
    const std::string title = step.text.substr(0, step.text.find(":\n"));
    if (!step.done) {
      fmt::print("done already: {}\n", title);
    } else if (dry_run) {
      fmt::print("would {}\n", step.text);
    } else {
      if (auto done = step.done(); !done) return done;
      fmt::print("done: {}\n", title);
    }
    std::fflush(stdout);
  }
  return {};
}

void tell_next(const Wanted& wanted) {
  fmt::print("next: {} logs in anew, for the limit of locked memory; then: pollux ", wanted.user);
  if (wanted.functions.empty())
    fmt::print("list, and as root: pollux bind ADDRESS\n");
  else
    fmt::print("doctor {}\n", wanted.functions.front().bdf);
}

Result<void> undo(const vfio::Sysfs& root, bool dry_run) {
  const auto steps = steps_of_undo(root);
  if (!steps) return std::unexpected(steps.error());
  if (steps->empty()) fmt::print("there is nothing to take back\n");
  return carry_out(*steps, dry_run);
}

}  // namespace

Result<void> setup(const SetupRequest& request) {
  const vfio::Sysfs root;
  if (!request.dry_run)
    if (auto possible = is_possible(root); !possible) return possible;
  const SignalsHeld held;
  if (request.undo) return undo(root, request.dry_run);
  const auto wanted = wanted_by(root, request);
  if (!wanted) return std::unexpected(wanted.error());
  const auto before = left_by_setup(root);
  if (!before) return std::unexpected(before.error());
  const auto steps = steps_of_setup(root, *wanted);
  if (!steps) return std::unexpected(steps.error());
  if (auto done = carry_out(*steps, request.dry_run); !done) {
    if (!*before) {
      fmt::print(stderr, "pollux: taking back what was done\n");
      if (auto back = undo(root, false); !back) done.error().what += fmt::format("; and {}", back.error().what);
    }
    return done;
  }
  if (!request.dry_run) tell_next(*wanted);
  return {};
}

}  // namespace pollux::cli
