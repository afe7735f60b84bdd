#include "pollux/tools/softnvme/softnvme.hpp"

#include "pollux/tools/softnvme/space.hpp"

namespace pollux::softnvme {

vfio::Scheme scheme() {
  return {"soft", [](const vfio::Address&) -> Result<std::unique_ptr<vfio::IoAddressSpace>> {
            return std::make_unique<SoftSpace>();
          }};
}

SoftDevice* soft_device(vfio::Device& device) { return dynamic_cast<SoftDevice*>(&device); }

}  // namespace pollux::softnvme
