#include "pollux/vfio/pci/neighbours.hpp"

#include <charconv>

#include "pollux/vfio/pci/in_use.hpp"

namespace pollux::vfio {

WayOut way_out(const Sysfs& sysfs, const PciFunction& member) {
  constexpr std::uint32_t kMassStorage = 0x01;
  if (member.is_nvm()) return uses_of(sysfs, member).empty() ? WayOut::bind : WayOut::move;
  return member.class_code >> 16 == kMassStorage ? WayOut::move : WayOut::unbind;
}

// …/0000:00:0e.0/pci10000:00/10000:00:02.0/10000:01:00.0: a root bus that stands below a function.
std::optional<std::string> vmd_above(const Sysfs& sysfs, const std::string& bdf) {
  const std::string place = sysfs.link_target(function_folder(bdf));
  const auto root = place.rfind("/pci");
  if (root != std::string::npos && root != 0) {
    const auto before = place.rfind('/', root - 1);
    const std::string above = place.substr(before + 1, root - before - 1);
    if (sysfs.function(above)) return above;
  }
  constexpr unsigned kLastOfFirmware = 0xffff;  // the domains above are the kernel's own
  unsigned domain = 0;
  std::from_chars(bdf.data(), bdf.data() + bdf.size(), domain, 16);
  return domain > kLastOfFirmware ? std::optional(std::string()) : std::nullopt;
}

Error explain_vmd(const std::string& bdf, const std::string& vmd) {
  return fail(
             fmt::format("{} stands behind a VMD controller{}, and the IOMMU takes all drives there for one device",
                         bdf, vmd.empty() ? "" : fmt::format(", {}", vmd)),
             "leave the controller to its driver, as it has other drives, too; with VMD switched off in the firmware's "
             "set-up, for this slot, the drive is there with another address (a RAID array on it is lost so)")
      .error();
}

}  // namespace pollux::vfio
