#include "pollux/vfio/kernel/kernel.hpp"

#include <filesystem>

#include "pollux/vfio/kernel/container.hpp"
#include "pollux/vfio/kernel/ioas.hpp"
#include "pollux/vfio/kernel/noiommu.hpp"
#include "pollux/vfio/pci/readiness.hpp"

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

// Without a word of how: iommufd where the kernel offers it to us, or has nothing else. A virtual function, and whoever
// has a token, goes by its group: the character device takes no token, and asks for none.
Result<std::unique_ptr<IoAddressSpace>> choose_space(const Address& address) {
  const Sysfs sysfs;
  const auto function = sysfs.function(address.target);
  const bool has_node = function && address.vf_token.empty() && !iommufd_nodes(sysfs, *function).empty();
  if (!has_node) return make_space<Container>(address);
  const auto group = group_nodes(sysfs, *function);
  std::error_code error;
  const bool alone = group.empty() || !std::filesystem::exists(sysfs.path(group.front()), error);
  return alone || Ioas::offered(sysfs, address.target) ? make_space<Ioas>(address) : make_space<Container>(address);
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
