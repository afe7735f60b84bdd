#include "pollux/vfio/pci/virtual_functions.hpp"

#include <cerrno>
#include <charconv>

#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/readiness.hpp"

namespace pollux::vfio {
namespace {

constexpr std::string_view kEnableSriov = "/sys/module/vfio_pci/parameters/enable_sriov";

unsigned number(const std::string& text) {
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Whether this driver creates and removes virtual functions; the kernel itself would only answer ENOENT.
Result<void> driver_does_it(const Sysfs& sysfs, const PciFunction& function) {
  if (function.driver.empty())
    return fail(function.bdf + " is bound to no driver, which virtual functions take",
                fmt::format("run \"pollux bind {}\" as root", function.bdf));
  if (function.driver == kVfioDriver && sysfs.line(kEnableSriov) == "N")
    return fail(
        fmt::format("vfio-pci creates no virtual functions of {}: its parameter enable_sriov is off", function.bdf),
        fmt::format("write 1 to {} as root, or boot with vfio_pci.enable_sriov=1", kEnableSriov));
  return {};
}

// A virtual function that goes away is taken from whoever has it: a file system, or a process, for which the kernel
// would wait without end. The claims keep others from it until it is gone.
Result<Claims> claim_unused(const Sysfs& sysfs, const std::string& bdf) {
  const auto function = sysfs.function(bdf);
  if (!function) return Claims{};  // gone already
  if (function->group && group_busy(sysfs, *function->group))
    return std::unexpected(explain_group_open(sysfs, *function->group, bdf, EBUSY));
  return claim(sysfs, *function);
}

Error explain_numvfs(const PciFunction& function, unsigned count, const Error& written) {
  if (written.os_error == 0) return written;
  std::string advice = written.advice;
  if (written.os_error == ENOENT) advice = fmt::format("its driver, {}, creates no virtual functions", function.driver);
  if (written.os_error == ENOMEM) advice = "the firmware left them no room: boot with pci=realloc";
  if (advice.empty()) advice = "the kernel's log (dmesg) says why";
  return fail_errno(written.os_error, fmt::format("{} cannot have {} virtual functions", function.bdf, count), advice)
      .error();
}

}  // namespace

Result<VirtualFunctions> virtual_functions(const Sysfs& sysfs, const std::string& bdf) {
  const auto function = sysfs.function(bdf);
  if (!function) return std::unexpected(function.error());
  const std::string folder = function_folder(bdf);
  VirtualFunctions found;
  found.total = number(sysfs.line(folder + "/sriov_totalvfs"));
  if (found.total == 0) {
    if (!function->physical_function.empty())
      return fail(bdf + " is itself a virtual function", "ask for those of " + function->physical_function);
    return fail(fmt::format("{} has no SR-IOV, so it has no virtual functions", bdf));
  }
  while (found.bdfs.size() < found.total) {
    std::string one = sysfs.link_name(fmt::format("{}/virtfn{}", folder, found.bdfs.size()));
    if (one.empty()) break;
    found.bdfs.push_back(std::move(one));
  }
  return found;
}

Result<VirtualFunctions> set_virtual_functions(const Sysfs& sysfs, const std::string& bdf, unsigned count) {
  auto present = virtual_functions(sysfs, bdf);
  if (!present || present->bdfs.size() == count) return present;
  if (count > present->total)
    return fail(fmt::format("{} cannot have {} virtual functions: its total is {}", bdf, count, present->total));
  const auto function = sysfs.function(bdf);
  if (!function) return std::unexpected(function.error());
  if (const auto able = driver_does_it(sysfs, *function); !able) return std::unexpected(able.error());
  std::vector<Claims> claims;
  for (const auto& one : present->bdfs) {
    auto claimed = claim_unused(sysfs, one);
    if (!claimed) return std::unexpected(claimed.error());
    claims.push_back(std::move(*claimed));
  }

  const std::string folder = function_folder(bdf);
  const auto set = [&](unsigned wanted) -> Result<void> {
    const auto written = sysfs.write(folder + "/sriov_numvfs", fmt::format("{}", wanted));
    if (!written) return std::unexpected(explain_numvfs(*function, wanted, written.error()));
    return {};
  };
  if (!present->bdfs.empty())
    if (const auto removed = set(0); !removed) return std::unexpected(removed.error());
  if (count != 0) {
    const std::string autoprobe = folder + "/sriov_drivers_autoprobe";
    const bool probes = sysfs.line(autoprobe) == "1";
    if (probes)
      if (const auto held = sysfs.write(autoprobe, "0"); !held) return std::unexpected(held.error());
    auto created = set(count);
    const Result<void> restored = probes ? sysfs.write(autoprobe, "1") : Result<void>();
    if (!created) {
      if (!present->bdfs.empty()) created.error().what += fmt::format("; the {} it had are gone", present->bdfs.size());
      return std::unexpected(created.error());
    }
    if (!restored) return std::unexpected(restored.error());
  }
  return virtual_functions(sysfs, bdf);
}

}  // namespace pollux::vfio
