#include "pollux/tools/pollux/info.hpp"

#include <pollux/block.hpp>
#include <pollux/softnvme.hpp>

namespace pollux::cli {

Result<void> info(const std::string& address, Format format) {
  const vfio::Scheme schemes[] = {softnvme::scheme()};
  auto drive = Drive::open(address, {.schemes = schemes});
  if (!drive) return std::unexpected(std::move(drive.error()));
  const std::string warning = (*drive)->space()->io().warning();
  if (!warning.empty()) fmt::print(stderr, "pollux: warning: {}: {}\n", address, warning);
  nvme::Controller& controller = (*drive)->controller();
  Tree tree;
  tree["address"] = controller.device().address().text;
  if (auto added = add_device(tree, (*drive)->space()->io(), controller.device()); !added) return added;
  if (auto added = add_controller(tree, controller); !added) return added;
  if (auto down = (*drive)->shutdown(); !down) return down;
  print(tree, format);
  return {};
}

}  // namespace pollux::cli
