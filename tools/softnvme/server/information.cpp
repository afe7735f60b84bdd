#include "pollux/tools/softnvme/server/information.hpp"

#include <linux/vfio.h>

#include <cerrno>

#include "pollux/vfio/user/protocol.hpp"

namespace pollux::softnvme::server {
namespace {

using vfio::user::append;
using vfio::user::DeviceInfoPayload;

// A request has the layout of its reply; one that is longer may be of a later version. Error: it is shorter, or its
// argsz has no room for the fixed part of the reply.
template <typename T>
Result<T> request(std::span<const std::byte> payload) {
  const Result<T> read = vfio::user::read_part<T>(payload);
  if (!read) return fail_errno(EINVAL, read.error().what);
  if (read->argsz < sizeof(T)) return fail_errno(EINVAL, fmt::format("argsz {} is below {}", read->argsz, sizeof(T)));
  return *read;
}

std::vector<std::byte> sparse_mmap(std::span<const vfio::RegionArea> areas) {
  vfio_region_info_cap_sparse_mmap capability{};
  capability.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1, .next = 0};
  capability.nr_areas = static_cast<std::uint32_t>(areas.size());
  std::vector<std::byte> bytes;
  append(bytes, capability);
  for (const vfio::RegionArea& area : areas)
    append(bytes, vfio_region_sparse_mmap_area{.offset = area.offset, .size = area.size_bytes});
  return bytes;
}

}  // namespace

Result<Reply> device_information(std::span<const std::byte> payload) {
  const Result<DeviceInfoPayload> asked = request<DeviceInfoPayload>(payload);
  if (!asked) return std::unexpected(asked.error());
  Reply reply;
  append(reply.payload, DeviceInfoPayload{.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
                                          .regions = VFIO_PCI_NUM_REGIONS,
                                          .interrupts = VFIO_PCI_NUM_IRQS});
  return reply;
}

Result<Reply> region_information(SoftDeviceThread& device, std::span<const std::byte> payload) {
  const Result<vfio_region_info> asked = request<vfio_region_info>(payload);
  if (!asked) return std::unexpected(asked.error());
  if (asked->index >= VFIO_PCI_NUM_REGIONS)
    return fail_errno(EINVAL, fmt::format("there is no region {}", asked->index));
  vfio::RegionInfo info;  // of the VGA region, which a Device does not know: nothing
  if (asked->index <= static_cast<std::uint32_t>(vfio::RegionIndex::config)) {
    Result<vfio::RegionInfo> known = device.region_info(static_cast<vfio::RegionIndex>(asked->index));
    if (!known) return std::unexpected(known.error());
    info = std::move(*known);
  }
  vfio_region_info region{};
  region.argsz = sizeof region;
  region.index = asked->index;
  region.size = info.size_bytes;
  if (info.readable) region.flags |= VFIO_REGION_INFO_FLAG_READ;
  if (info.writable) region.flags |= VFIO_REGION_INFO_FLAG_WRITE;
  Reply reply;
  std::vector<std::byte> capability;
  if (!info.mappable.empty()) {
    capability = sparse_mmap(info.mappable);
    region.argsz += static_cast<std::uint32_t>(capability.size());
    if (region.argsz <= asked->argsz) {
      region.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
      region.cap_offset = sizeof region;
      reply.fd = device.mappable_file();
    } else {
      capability.clear();
    }
  }
  append(reply.payload, region);
  reply.payload.insert(reply.payload.end(), capability.begin(), capability.end());
  return reply;
}

Result<Reply> interrupt_information(vfio::Device& device, std::span<const std::byte> payload) {
  const Result<vfio_irq_info> asked = request<vfio_irq_info>(payload);
  if (!asked) return std::unexpected(asked.error());
  if (asked->index >= VFIO_PCI_NUM_IRQS)
    return fail_errno(EINVAL, fmt::format("there are no interrupts {}", asked->index));
  const Result<vfio::InterruptInfo> info = device.interrupt_info(static_cast<vfio::InterruptIndex>(asked->index));
  if (!info) return std::unexpected(info.error());
  vfio_irq_info interrupts{};
  interrupts.argsz = sizeof interrupts;
  interrupts.index = asked->index;
  interrupts.count = info->count;
  // Vectors can be added one by one: no VFIO_IRQ_INFO_NORESIZE, whatever the device wants.
  if (info->eventfd) interrupts.flags |= VFIO_IRQ_INFO_EVENTFD;
  if (info->maskable) interrupts.flags |= VFIO_IRQ_INFO_MASKABLE;
  if (info->automasked) interrupts.flags |= VFIO_IRQ_INFO_AUTOMASKED;
  Reply reply;
  append(reply.payload, interrupts);
  return reply;
}

}  // namespace pollux::softnvme::server
