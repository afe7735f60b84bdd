#include "pollux/vfio/kernel/container.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "pollux/vfio/abi/map_error.hpp"
#include "pollux/vfio/kernel/kernel_device.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

// Best first: v2 refuses to unmap part of a mapping, where v1 quietly unmaps more.
constexpr unsigned kIommuTypes[] = {VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU};

}  // namespace

Result<std::unique_ptr<Container>> Container::open(Sysfs sysfs) {
  FileDescriptor file = open_file(sysfs.path(kContainerNode).c_str(), O_RDWR | O_CLOEXEC);
  if (!file) return std::unexpected(explain_vfio_open(sysfs, errno));
  const int version = control(file.get(), VFIO_GET_API_VERSION);
  if (version < 0) return fail_errno(errno, "VFIO_GET_API_VERSION failed on /dev/vfio/vfio");
  if (version != VFIO_API_VERSION)
    return fail(fmt::format("/dev/vfio/vfio speaks version {} and pollux version {}", version, VFIO_API_VERSION));
  bool any_type1 = false;
  for (const unsigned type : kIommuTypes) any_type1 |= control(file.get(), VFIO_CHECK_EXTENSION, type) > 0;
  if (!any_type1)
    return fail("/dev/vfio/vfio offers neither a type1v2 nor a type1 IOMMU",
                "run \"modprobe vfio_iommu_type1\" as root");
  return std::unique_ptr<Container>(new Container(std::move(sysfs), std::move(file)));
}

// VFIO_SET_IOMMU is refused before the container holds a group, and is done once.
Result<unsigned> Container::choose_iommu(unsigned group, const std::string& bdf) {
  int os_error = ENODEV;
  for (const unsigned type : kIommuTypes) {
    if (control(file_.get(), VFIO_CHECK_EXTENSION, type) <= 0) continue;
    if (control(file_.get(), VFIO_SET_IOMMU, type) == 0) return type;
    os_error = errno;
  }
  return std::unexpected(explain_set_iommu(group, bdf, os_error));
}

Result<IommuInfo> Container::query() const {
  const vfio_iommu_type1_info question{};
  const auto answer =
      query_info(file_.get(), VFIO_IOMMU_GET_INFO, std::as_bytes(std::span(&question, 1)), "VFIO_IOMMU_GET_INFO");
  if (!answer) return std::unexpected(answer.error());
  return parse_iommu_info(*answer);
}

Result<std::unique_ptr<Device>> Container::attach(const Address& address) {
  const std::lock_guard lock(mutex_);
  if (left_)
    return fail(fmt::format("{}: the address space is gone with the device that was taken from it", address.text),
                "open the drive in a new one");
  const auto function = ready_function(sysfs_, address.target);
  if (!function) return std::unexpected(function.error());
  const std::string& bdf = function->bdf;
  const unsigned number = *function->group;

  // A group of this call leaves the container again with `fresh`, unless everything succeeds.
  std::unique_ptr<Group> fresh;
  unsigned type = iommu_type_;
  Group* group = groups_.find(number);
  if (group == nullptr) {
    auto opened = Group::open(sysfs_, number, bdf);
    if (!opened) return std::unexpected(std::move(opened.error()));
    fresh = std::move(*opened);
    group = fresh.get();
    if (auto set = group->set_container(file_.get(), bdf); !set) return std::unexpected(std::move(set.error()));
    if (type == 0) {
      const auto chosen = choose_iommu(number, bdf);
      if (!chosen) return std::unexpected(chosen.error());
      type = *chosen;
    }
  }
  auto info = query();
  if (!info) return std::unexpected(std::move(info.error()));
  auto file = group->open_device(sysfs_, address);
  if (!file) return std::unexpected(std::move(file.error()));
  auto device = KernelDevice::create(std::move(*file), address, number, *this);
  if (!device) return std::unexpected(std::move(device.error()));

  group->device_opened();
  if (fresh) groups_.add(std::move(fresh));
  iommu_type_ = type;
  info_ = std::move(*info);
  return std::move(*device);
}

Result<void> Container::map(const DmaMapping& mapping) {
  vfio_iommu_type1_dma_map request{};
  request.argsz = sizeof request;
  request.flags = (mapping.device_may_read ? VFIO_DMA_MAP_FLAG_READ : 0u) |
                  (mapping.device_may_write ? VFIO_DMA_MAP_FLAG_WRITE : 0u);
  request.vaddr = reinterpret_cast<std::uintptr_t>(mapping.address);
  request.iova = mapping.iova;
  request.size = mapping.size_bytes;
  if (request.flags == 0)
    return fail(fmt::format("a mapping at IOVA {:#x} that may neither be read nor written", mapping.iova));
  {
    const std::lock_guard lock(mutex_);
    if (left_) return fail("cannot map memory: the address space is gone with the device that was taken from it");
    if (iommu_type_ == 0) return fail("cannot map memory in a container that holds no device", "attach one first");
  }
  if (control(file_.get(), VFIO_IOMMU_MAP_DMA, &request) == 0) return {};
  const int os_error = errno;
  const MapState state{page_sizes(), usable_ranges(), mappings_left(), current_memlock()};
  return std::unexpected(explain_map_error(mapping, os_error, state));
}

Result<void> Container::unmap(Iova iova, std::uint64_t size_bytes) {
  vfio_iommu_type1_dma_unmap request{};
  request.argsz = sizeof request;
  request.iova = iova;
  request.size = size_bytes;
  const bool unmapped = control(file_.get(), VFIO_IOMMU_UNMAP_DMA, &request) == 0;
  const int os_error = errno;
  {
    const std::lock_guard lock(mutex_);
    if (left_) return {};  // no device is left that could reach it, and with the last group most kernels dropped it
  }
  if (!unmapped) return fail_errno(os_error, fmt::format("cannot unmap {} bytes at IOVA {:#x}", size_bytes, iova));
  if (request.size != size_bytes)
    return fail(
        fmt::format("unmapped {} bytes at IOVA {:#x} instead of {}", std::uint64_t{request.size}, iova, size_bytes),
        "unmap names exactly what one map made");
  return {};
}

std::vector<IovaRange> Container::usable_ranges() const {
  const std::lock_guard lock(mutex_);
  return info_.ranges;
}

std::uint64_t Container::page_sizes() const {
  const std::lock_guard lock(mutex_);
  return info_.page_sizes;
}

std::optional<std::uint32_t> Container::mappings_left() const {
  const auto now = query();
  return now ? now->mappings_left : std::nullopt;
}

std::string_view Container::iommu_type() const {
  const std::lock_guard lock(mutex_);
  return iommu_type_ == VFIO_TYPE1v2_IOMMU ? "type1v2" : iommu_type_ == VFIO_TYPE1_IOMMU ? "type1" : "no IOMMU set";
}

int Container::group_file(unsigned number) const {
  const std::lock_guard lock(mutex_);
  return groups_.file(number);
}

void Container::device_closed(unsigned number, bool released) noexcept {
  const std::lock_guard lock(mutex_);
  if (!groups_.device_closed(number, released) || !groups_.empty()) return;
  left_ = true;
  iommu_type_ = 0;
}

std::string Container::describe() const { return fmt::format("group/container, {}", iommu_type()); }

std::vector<unsigned> Container::groups() const {
  const std::lock_guard lock(mutex_);
  return groups_.numbers();
}

}  // namespace pollux::vfio
