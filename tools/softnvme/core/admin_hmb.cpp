// The check of a host memory buffer before it is taken: large enough, described whole, every page of it mapped both
// ways. The controller keeps no data there. NVMe base 2.0c, 5.27.1.10.
#include <cstring>

#include "pollux/tools/softnvme/core/admin.hpp"
#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::softnvme {

using nvme::StatusCode;

Reply AdminCommands::set_host_memory_buffer(const nvme::Command& command) {
  state_.expect_zero((command.cdw11 & ~3u) | (command.cdw13 & 0xf), "CDW11 or CDW13 of Host Memory Buffer");
  Features& features = state_.features;
  if (kEhm.of(command.cdw11) == 0) {
    features.hmb_enabled = false;
    return success();
  }
  if (features.hmb_enabled) return refuse(StatusCode::command_sequence_error);
  HmbAttributes wanted{};
  wanted.hsize = command.cdw12;
  wanted.hmdlal = command.cdw13 & ~0xfu;
  wanted.hmdlau = command.cdw14;
  wanted.hmdlec = command.cdw15;
  if (const Reply bad = check_host_memory_buffer(wanted); bad.status != 0) return bad;
  features.hmb = wanted;
  features.hmb_enabled = true;
  return success();
}

Reply AdminCommands::check_host_memory_buffer(const HmbAttributes& wanted) {
  const unsigned shift = state_.registers.page_shift();
  const std::uint64_t page_mask = (1ull << shift) - 1;
  if (std::uint64_t{wanted.hsize} << shift < std::uint64_t{kHmbMinimumUnits} << 12 || wanted.hmdlec == 0 ||
      wanted.hmdlec > kHmbMaxDescriptors) {
    return refuse(StatusCode::invalid_field);
  }
  std::uint64_t list = wanted.hmdlal | std::uint64_t{wanted.hmdlau} << 32;
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < wanted.hmdlec; ++i, list += sizeof(HmbDescriptor)) {
    const std::span<std::byte> entry = state_.dma.run(list, sizeof(HmbDescriptor), Access::read);
    if (entry.size() != sizeof(HmbDescriptor)) return refuse(StatusCode::data_transfer_error);
    HmbDescriptor descriptor;
    std::memcpy(&descriptor, entry.data(), sizeof descriptor);
    state_.expect_zero(descriptor.reserved, "a Host Memory Buffer descriptor");
    if (descriptor.pages == 0 || (descriptor.address & page_mask) != 0) return refuse(StatusCode::invalid_field);
    pages += descriptor.pages;
    std::uint64_t left = std::uint64_t{descriptor.pages} << shift;
    for (std::uint64_t iova = descriptor.address; left != 0;) {
      const std::span<std::byte> run = state_.dma.run(iova, left, Access::write);
      if (run.empty() || state_.dma.run(iova, run.size(), Access::read).empty()) {
        return refuse(StatusCode::data_transfer_error);
      }
      iova += run.size();
      left -= run.size();
    }
  }
  return pages == wanted.hsize ? success() : refuse(StatusCode::invalid_field);
}

}  // namespace pollux::softnvme
