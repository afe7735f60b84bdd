// What `pollux setup` writes on a machine, and takes back: three files below /etc, and what they stand for now. One
// user may then drive the named functions without root, over every boot.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/sysfs.hpp"

namespace pollux::cli {

inline constexpr std::string_view kRulesFile = "/etc/udev/rules.d/60-pollux.rules";
inline constexpr std::string_view kLimitsFile = "/etc/security/limits.d/60-pollux.conf";
inline constexpr std::string_view kSysctlFile = "/etc/sysctl.d/60-pollux.conf";

// What somebody asks for.
struct Wanted {
  std::string user;
  std::vector<vfio::PciFunction> functions;  // bound to vfio-pci now and at each boot; empty: none is
  std::uint64_t hugepages = 64;              // of 2 MiB; a machine that has more keeps them
  std::string program;                       // this program's path, which udev runs as root at each boot

  // All hugepages, and what a drive takes besides.
  std::uint64_t memlock_kib() const;
};

// One thing to do: what it is, for a person, and how. An empty `done` has nothing left to do.
struct Step {
  std::string text;
  std::function<Result<void>()> done;
};

// The text of each file. `hugepages_before`: what the machine had, which --undo gives back.
std::string rules_text(const Wanted& wanted);
std::string limits_text(const Wanted& wanted);
std::string sysctl_text(const Wanted& wanted, std::uint64_t hugepages_before);

// What an earlier setup has left, read from its files. Error: a file of that name that is not ours.
struct Left {
  std::vector<std::string> bdfs;
  std::uint64_t hugepages_before = 0;
};
Result<std::optional<Left>> left_by_setup(const vfio::Sysfs& root);

// The steps, in order; those that are done already have nothing to do. Error: set up otherwise already.
Result<std::vector<Step>> steps_of_setup(const vfio::Sysfs& root, const Wanted& wanted);
Result<std::vector<Step>> steps_of_undo(const vfio::Sysfs& root);

// Whether only root may change the program at `path`: it, and every folder above it. Error: what others may change.
Result<void> only_roots(const std::string& path);

}  // namespace pollux::cli
