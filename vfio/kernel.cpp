#include "pollux/vfio/kernel.hpp"

#include "pollux/vfio/container.hpp"
#include "pollux/vfio/ioas.hpp"
#include "pollux/vfio/noiommu.hpp"
#include "pollux/vfio/readiness.hpp"

namespace pollux::vfio {
namespace {

// Says what is wrong with the device before what is wrong with VFIO.
template <typename Space, Translation kTranslation = Translation::iommu>
Result<std::unique_ptr<IoAddressSpace>> make_space(const Address& address) {
  const Sysfs sysfs;
  const auto function = ready_function(sysfs, address.target, kTranslation);
  if (!function) return std::unexpected(function.error());
  return Space::open(sysfs);
}

// Without a word of how: iommufd where the kernel offers it to us. A function that shares a token goes by its group, as
// the character device takes none.
Result<std::unique_ptr<IoAddressSpace>> choose_space(const Address& address) {
  const bool iommufd = address.vf_token.empty() && Ioas::offered(Sysfs(), address.target);
  return iommufd ? make_space<Ioas>(address) : make_space<Container>(address);
}

}  // namespace

std::span<const Scheme> kernel_schemes() {
  static constexpr Scheme kSchemes[] = {{"pci", choose_space},
                                        {"iommufd", make_space<Ioas>},
                                        {"group", make_space<Container>},
                                        {"noiommu", make_space<NoIommu, Translation::none>}};
  return kSchemes;
}

}  // namespace pollux::vfio
