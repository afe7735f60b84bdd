#include "pollux/vfio/pci/binding.hpp"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>

#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/neighbours.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/pci/virtual_functions.hpp"

namespace pollux::vfio {
namespace {

constexpr std::string_view kSeeLog = "the kernel's log (dmesg) says why";

Result<void> set_override(const Sysfs& sysfs, const std::string& bdf, std::string_view driver) {
  // An empty line clears it.
  return sysfs.write(function_folder(bdf) + "/driver_override", driver.empty() ? "\n" : driver);
}

Result<void> detach(const Sysfs& sysfs, const std::string& bdf) {
  const std::string driver = sysfs.driver_of(bdf);
  if (driver.empty()) return {};
  return sysfs.write(driver_folder(driver) + "/unbind", bdf);
}

// `bdf` belongs to `driver` now, or the Error that says otherwise. `written` is the answer to the write that should
// have done it.
Result<void> taken(const Sysfs& sysfs, const std::string& bdf, std::string_view driver, const Result<void>& written) {
  if (sysfs.driver_of(bdf) == driver) return {};
  if (!written) {
    Error error = written.error();
    error.what = fmt::format("{} does not take {}: {}", driver, bdf, error.what);
    if (error.advice.empty()) error.advice = kSeeLog;
    return std::unexpected(std::move(error));
  }
  return fail(fmt::format("{} does not take {}", driver, bdf), std::string(kSeeLog));
}

// While a machine boots nvme may be loaded just now, and take a function that was free. It loses it again, if nobody
// has begun to use the drive.
Result<void> free_of_others(const Sysfs& sysfs, const std::string& bdf, std::string_view driver, const Claims& ours) {
  const std::string other = sysfs.driver_of(bdf);
  if (other.empty() || other == driver) return {};
  const auto function = sysfs.function(bdf);
  if (!function) return std::unexpected(function.error());
  const auto claimed = claim(sysfs, *function, ours);
  if (!claimed) return std::unexpected(claimed.error());
  const auto detached = detach(sysfs, bdf);
  return sysfs.driver_of(bdf).empty() ? Result<void>() : detached;
}

Result<void> attach_by_override(const Sysfs& sysfs, const std::string& bdf, std::string_view driver,
                                const Claims& ours) {
  if (auto set = set_override(sysfs, bdf, driver); !set) return set;
  const auto free = free_of_others(sysfs, bdf, driver, ours);
  const auto probed = free ? sysfs.write("/sys/bus/pci/drivers_probe", bdf) : free;
  const auto cleared = set_override(sysfs, bdf, {});
  if (auto there = taken(sysfs, bdf, driver, probed); !there) return there;
  return cleared;
}

Result<void> attach_by_name(const Sysfs& sysfs, const std::string& bdf, std::string_view driver) {
  const auto bound = sysfs.write(driver_folder(driver) + "/bind", bdf);
  return taken(sysfs, bdf, driver, bound);
}

// The other driver that an override keeps the function for; empty: none, which the kernel shows as "(null)".
std::string other_override(const Sysfs& sysfs, const std::string& bdf) {
  std::string driver = sysfs.line(function_folder(bdf) + "/driver_override");
  return driver == "(null)" || driver == kVfioDriver ? std::string() : driver;
}

// An id binds nothing that an override keeps for another driver.
Result<void> has_no_other_override(const Sysfs& sysfs, const std::string& bdf) {
  const std::string attribute = function_folder(bdf) + "/driver_override";
  const std::string driver = other_override(sysfs, bdf);
  if (driver.empty()) return {};
  return fail(fmt::format("{} is kept for the driver \"{}\" by its driver_override, so that no id binds it to vfio-pci",
                          bdf, driver),
              fmt::format("leave --new-id out, or clear it as root: echo > {}; nothing was changed", attribute));
}

// vfio-pci takes every function of an id that has no driver. Those that were not meant lose it again.
Result<void> attach_by_new_id(const Sysfs& sysfs, const PciFunction& function) {
  const std::string id = fmt::format("{:04x} {:04x}", function.vendor, function.device);
  const auto bystanders = sysfs.functions([&](const PciFunction& other) {
    return other.vendor == function.vendor && other.device == function.device && other.driver.empty() &&
           other.bdf != function.bdf;
  });
  const std::string folder = driver_folder(kVfioDriver);
  auto added = sysfs.write(folder + "/new_id", id);
  const bool ours = added.has_value();
  // Somebody has left this id with vfio-pci: it stays theirs, and a probe is enough.
  if (!ours && added.error().os_error == EEXIST) added = sysfs.write("/sys/bus/pci/drivers_probe", function.bdf);
  const Result<void> removed = ours ? sysfs.write(folder + "/remove_id", id) : Result<void>();
  Result<void> released;
  for (const auto& other : bystanders)
    if (sysfs.driver_of(other.bdf) == kVfioDriver)
      if (auto done = detach(sysfs, other.bdf); !done) released = done;
  if (auto there = taken(sysfs, function.bdf, kVfioDriver, added); !there) return there;
  if (!removed) return removed;
  return released;
}

// Gives a function back to the driver it had; empty: to none.
Result<void> restore(const Sysfs& sysfs, const std::string& bdf, const std::string& driver, const Claims& ours) {
  if (sysfs.driver_of(bdf) == driver) return {};
  if (auto detached = detach(sysfs, bdf); !detached) return detached;
  if (driver.empty()) return {};
  return driver == kVfioDriver ? attach_by_override(sysfs, bdf, driver, ours) : attach_by_name(sysfs, bdf, driver);
}

// Functions that are to change hands, and the claims that keep the kernel from using them meanwhile. The claims are of
// all together: two functions may have one namespace, and the kernel takes our second exclusive open for somebody
// else's.
struct Batch {
  std::vector<PciFunction> functions;
  Claims claims;
};

// Ends the claims of block devices that went with a function, but of those that a later one has, too: an open file
// would keep the drive's old number (nvme0) taken if it has to go back.
void end_claims(Batch& batch, std::size_t moved) {
  for (const auto& disk : batch.functions[moved].block_devices) {
    const auto later = std::span(batch.functions).subspan(moved + 1);
    const bool needed = std::ranges::any_of(later, [&](const PciFunction& one) {
      return std::ranges::find(one.block_devices, disk) != one.block_devices.end();
    });
    if (!needed) batch.claims.erase(disk);
  }
}

// Moves each function by `move`. After an error the ones moved so far, and the one it happened to, go back to the
// drivers that they had.
template <typename Move>
Result<void> move_all(const Sysfs& sysfs, Batch& batch, Move&& move) {
  for (std::size_t i = 0; i < batch.functions.size(); i++) {
    Result<void> moved = detach(sysfs, batch.functions[i].bdf);
    end_claims(batch, i);
    if (moved) moved = move(batch.functions[i]);
    if (moved) continue;
    Error error = std::move(moved.error());
    for (std::size_t back = i + 1; back-- > 0;) {
      const PciFunction& function = batch.functions[back];
      if (auto restored = restore(sysfs, function.bdf, function.driver, batch.claims); !restored)
        error.what += fmt::format("; and giving {} back to \"{}\" failed: {}", function.bdf, function.driver,
                                  restored.error().what);
    }
    return std::unexpected(std::move(error));
  }
  return {};
}

// The facts of every address, each once, all of class 0108xx.
Result<Batch> nvm_batch(const Sysfs& sysfs, std::span<const std::string> bdfs) {
  Batch batch;
  for (const auto& bdf : bdfs) {
    if (std::ranges::any_of(batch.functions, [&](const PciFunction& one) { return one.bdf == bdf; })) continue;
    auto function = sysfs.function(bdf);
    if (!function) return std::unexpected(std::move(function.error()));
    if (!function->is_nvm())
      return fail(
          fmt::format("{} is not an NVMe function: its class is {:06x} and not 0108xx", bdf, function->class_code),
          "\"pollux list\" shows the ones that are");
    batch.functions.push_back(std::move(*function));
  }
  return batch;
}

// vfio-pci refuses a physical function that has virtual ones, and takes them away, waiting for whoever uses them, when
// it loses one.
Result<void> has_no_virtual_functions(const Sysfs& sysfs, const std::string& bdf) {
  const auto found = virtual_functions(sysfs, bdf);
  if (!found || found->bdfs.empty()) return {};
  return fail(fmt::format("{} has virtual functions ({})", bdf, fmt::join(found->bdfs, ", ")),
              fmt::format("remove them first: run \"pollux vfs {} 0\" as root", bdf));
}

// Those of the functions that vfio-pci has not yet, each claimed: nothing but the driver itself is in their way.
Result<Batch> claimed_batch(const Sysfs& sysfs, std::span<const std::string> bdfs) {
  auto batch = nvm_batch(sysfs, bdfs);
  if (!batch) return batch;
  std::erase_if(batch->functions, [](const PciFunction& function) { return function.driver == kVfioDriver; });
  for (const auto& function : batch->functions) {
    if (const auto vmd = vmd_above(sysfs, function.bdf); vmd && function.group)
      return std::unexpected(explain_vmd(function.bdf, *vmd));
    if (!function.group && !noiommu_enabled(sysfs)) return std::unexpected(explain_no_iommu(function.bdf));
    if (auto none = has_no_virtual_functions(sysfs, function.bdf); !none)
      return std::unexpected(std::move(none.error()));
    auto claimed = claim(sysfs, function, batch->claims);
    if (!claimed) return std::unexpected(std::move(claimed.error()));
    batch->claims.merge(*claimed);
  }
  return batch;
}

BindReport report_of(const Batch& moved) {
  BindReport report;
  for (const auto& function : moved.functions) report.changed.push_back(function.bdf);
  return report;
}

// What the kernel still reaches of the namespaces that are about to be taken from it.
std::vector<std::string> shared_notices(const Sysfs& sysfs, const Batch& batch) {
  std::vector<std::string> notices;
  for (const auto& function : batch.functions) {
    for (auto& disk : disks_of(sysfs, function)) {
      std::erase_if(disk.through, [&](const std::string& other) {
        return std::ranges::find(batch.functions, other, &PciFunction::bdf) != batch.functions.end();
      });
      if (!disk.through.empty())
        notices.push_back(
            fmt::format("{} shares a namespace with the kernel, which has it as {} through {}: while one "
                        "writes the other must not use it",
                        function.bdf, disk.name, fmt::join(disk.through, " and ")));
    }
  }
  return notices;
}

}  // namespace

Result<void> bindable(const Sysfs& sysfs, std::span<const std::string> bdfs) {
  const auto batch = claimed_batch(sysfs, bdfs);
  return batch ? Result<void>() : std::unexpected(batch.error());
}

Result<BindReport> bind(const Sysfs& sysfs, std::span<const std::string> bdfs, BindWay way) {
  auto batch = claimed_batch(sysfs, bdfs);
  if (!batch) return std::unexpected(std::move(batch.error()));
  if (batch->functions.empty()) return BindReport{};
  if (!sysfs.has_driver(kVfioDriver)) return fail("vfio-pci is not loaded", "run \"modprobe vfio-pci\" as root");
  if (way == BindWay::new_id)
    for (const auto& function : batch->functions)
      if (auto free = has_no_other_override(sysfs, function.bdf); !free)
        return std::unexpected(std::move(free.error()));
  auto notices = shared_notices(sysfs, *batch);
  std::map<std::string, std::string> overridden;  // what ours takes the place of, and leaves cleared
  for (const auto& function : batch->functions)
    if (auto driver = other_override(sysfs, function.bdf); !driver.empty()) overridden[function.bdf] = driver;
  const auto moved = move_all(sysfs, *batch, [&](const PciFunction& function) {
    return way == BindWay::new_id ? attach_by_new_id(sysfs, function)
                                  : attach_by_override(sysfs, function.bdf, kVfioDriver, batch->claims);
  });
  if (!moved) {
    for (const auto& [bdf, driver] : overridden) (void)set_override(sysfs, bdf, driver);  // the error is `moved`'s
    return std::unexpected(moved.error());
  }

  BindReport report = report_of(*batch);
  report.notices = std::move(notices);
  for (const auto& [bdf, driver] : overridden)
    report.notices.push_back(fmt::format(
        "{0} was kept for the driver \"{1}\" by its driver_override, which is cleared now: to have it back, "
        "as root: echo {1} > {2}/driver_override",
        bdf, driver, function_folder(bdf)));
  for (const auto& function : batch->functions) {
    if (!function.group) {
      report.notices.push_back(
          fmt::format("no IOMMU translates for {0}: only the address noiommu:{0} opens it, and it "
                      "reaches all of memory",
                      function.bdf));
      continue;
    }
    if (!foreign_members(sysfs, *function.group).empty())
      report.notices.push_back(explain_not_viable(sysfs, *function.group, function.bdf).message());
  }
  return report;
}

Result<BindReport> unbind(const Sysfs& sysfs, std::span<const std::string> bdfs) {
  auto batch = nvm_batch(sysfs, bdfs);
  if (!batch) return std::unexpected(std::move(batch.error()));
  std::erase_if(batch->functions, [](const PciFunction& function) { return function.driver == kNvmeDriver; });
  if (batch->functions.empty()) return BindReport{};
  if (!sysfs.has_driver(kNvmeDriver))
    return fail("the kernel's nvme driver is not loaded", "run \"modprobe nvme\" as root");
  for (const auto& function : batch->functions) {
    if (!function.driver.empty() && function.driver != kVfioDriver)
      return fail(fmt::format("{} is bound to {} and not to vfio-pci", function.bdf, function.driver),
                  "take it from that driver first; nothing was changed");
    if (auto none = has_no_virtual_functions(sysfs, function.bdf); !none)
      return std::unexpected(std::move(none.error()));
    if (function.group && group_busy(sysfs, *function.group))
      return std::unexpected(explain_group_open(sysfs, *function.group, function.bdf, EBUSY));
  }
  const auto moved = move_all(sysfs, *batch, [&](const PciFunction& function) -> Result<void> {
    if (auto cleared = set_override(sysfs, function.bdf, {}); !cleared) return cleared;
    return attach_by_name(sysfs, function.bdf, kNvmeDriver);
  });
  if (!moved) return std::unexpected(moved.error());
  return report_of(*batch);
}

}  // namespace pollux::vfio
