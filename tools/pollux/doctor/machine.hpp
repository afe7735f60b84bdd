// All that the doctor looks at: the machine as sysfs shows it, and the process that asks. A test gives both of its own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "pollux/driver/spec/log.hpp"
#include "pollux/vfio/abi/map_error.hpp"
#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/kernel_disks.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {

// What a drive says of its health, from which temperature on it complains (kelvin; 0: it does not say), and, where it
// had to be opened for that, which namespaces it has, and the one that an address without ,ns=N opens, or why none.
struct Health {
  nvme::SmartLog log{};
  std::uint16_t warning_kelvin = 0;
  std::vector<vfio::NamespaceName> namespaces = {};
  Result<std::uint32_t> first_nsid = 0;  // 0: not asked
};

struct Machine {
  vfio::Sysfs sysfs;
  std::string user;          // who asks; below sudo, who called that
  bool is_for_root = false;  // sudo: limits and permissions are root's, and not the user's
  vfio::Memlock memlock;
  std::uint64_t pinned_by_user_bytes = 0;              // by all processes of this one's user
  std::vector<unsigned> processors;                    // that this process may run on
  std::function<int(const std::string& node)> access;  // 0, or the errno of opening it for reading and writing
  std::function<Result<Health>(const vfio::PciFunction&)> health;

  // The one that this process runs on.
  static Machine here();
};

// The health of a drive, by the kernel's nvme driver where that has it (root), else by opening it.
Result<Health> read_health(const vfio::Sysfs& sysfs, const vfio::PciFunction& function);

}  // namespace pollux::cli
