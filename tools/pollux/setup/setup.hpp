// What `pollux setup` writes on a machine, and takes back: files below /etc, and at once what they
// say for each boot. One user may then drive NVMe functions without root.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {

inline constexpr std::string_view kRulesFile = "/etc/udev/rules.d/60-pollux.rules";
inline constexpr std::string_view kHugepagesFile = "/etc/tmpfiles.d/60-pollux.conf";
inline constexpr std::string_view kLimitsFile = "/etc/security/limits.d/60-pollux.conf";

// By size, as vm.nr_hugepages is of whichever size is the machine's default.
inline constexpr std::string_view kHugepages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

// What somebody asks for.
struct Wanted {
  std::string user;
  std::vector<vfio::PciFunction> functions;  // bound to vfio-pci now and at each boot; empty: none is
  std::uint64_t hugepages = 64;              // of 2 MiB; a machine that has more keeps them
  std::string program;                       // this program's path, which udev runs as root at each boot

  // All hugepages, and what a drive takes besides.
  std::uint64_t memlock_kib() const;
};

// What a machine was before it was set up; the files keep it.
struct Before {
  std::string user;                                            // whom it is set up for
  std::vector<std::pair<std::string, std::string>> drivers{};  // of each function bound at boot; empty: none
  std::optional<std::uint64_t> hugepages{};
};

// One thing to do: what it is, for a person, and how. An empty `done` has nothing left to do.
struct Step {
  std::string text;
  std::function<Result<void>()> done;
};

// The text of each file.
std::string rules_text(const Wanted& wanted, const Before& before);
std::string hugepages_text(const Wanted& wanted, const Before& before);
std::string limits_text(const Wanted& wanted);

// What the files of an earlier setup tell; nothing where there are none. Error: a file of that name that is not ours.
Result<std::optional<Before>> set_up_before(const vfio::Sysfs& root);

// The steps, in order; those that are done already have nothing to do. `memlock_kib`: the user's limit now, nothing
// where there is none; one that is high enough stays as it is. Error: set up otherwise already.
Result<std::vector<Step>> steps_of_setup(const vfio::Sysfs& root, const Wanted& wanted,
                                         std::optional<std::uint64_t> memlock_kib);
Result<std::vector<Step>> steps_of_undo(const vfio::Sysfs& root);

// Whether udev may be given this path and this user's name: only root may change the program, and each folder above
// it; no character means something to udev. Errors: what others may change; the character.
Result<void> fit_for_rules(const std::string& program, const std::string& user);

// The whole of a file; empty where it cannot be read.
std::string text_of(const std::string& path);

}  // namespace pollux::cli
