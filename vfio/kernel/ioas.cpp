#include "pollux/vfio/kernel/ioas.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "pollux/vfio/abi/iommufd_abi.hpp"
#include "pollux/vfio/abi/kernel_info.hpp"
#include "pollux/vfio/abi/map_error.hpp"
#include "pollux/vfio/kernel/kernel_device.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

constexpr unsigned kMaxQueries = 4;  // the ranges may grow between two calls, when a device is attached meanwhile

// Page sizes that IOMMUs translate with beyond the granule: iommufd tells the granule alone.
constexpr std::uint64_t kLargePages = std::uint64_t{1} << 21 | std::uint64_t{1} << 30;

}  // namespace

bool Ioas::offered(const Sysfs& sysfs, const std::string& bdf) {
  const std::string node = device_node(sysfs, bdf);
  return !node.empty() && access(sysfs.path(node).c_str(), R_OK | W_OK) == 0 &&
         access(sysfs.path(kIommufdNode).c_str(), R_OK | W_OK) == 0;
}

Result<std::unique_ptr<Ioas>> Ioas::open(Sysfs sysfs) {
  FileDescriptor file = open_file(sysfs.path(kIommufdNode).c_str(), O_RDWR | O_CLOEXEC);
  if (!file) return std::unexpected(explain_iommufd_open(sysfs, errno));
  abi::iommu_ioas_alloc alloc{.size = sizeof alloc, .flags = 0, .out_ioas_id = 0};
  if (control(file.get(), abi::kIommuIoasAlloc, &alloc) != 0) return fail_errno(errno, "IOMMU_IOAS_ALLOC failed");
  return std::unique_ptr<Ioas>(new Ioas(std::move(sysfs), std::move(file), alloc.out_ioas_id));
}

// The kernel's ranges are those that every device attached so far can reach.
Result<void> Ioas::query() {
  std::vector<abi::iommu_iova_range> found(8);
  abi::iommu_ioas_iova_ranges question{};
  for (unsigned query = 0; query < kMaxQueries; ++query) {
    question = {.size = sizeof question,
                .ioas_id = id_,
                .num_iovas = static_cast<std::uint32_t>(found.size()),
                .reserved = 0,
                .allowed_iovas = reinterpret_cast<std::uintptr_t>(found.data()),
                .out_iova_alignment = 0};
    const bool answered = control(file_.get(), abi::kIommuIoasIovaRanges, &question) == 0;
    const int os_error = errno;
    if (!answered && os_error != EMSGSIZE) return fail_errno(os_error, "IOMMU_IOAS_IOVA_RANGES failed");
    if (question.num_iovas > kMaxInfoEntries)
      return fail(fmt::format("iommufd names {} IOVA ranges, more than {}", question.num_iovas, kMaxInfoEntries));
    const bool fits = question.num_iovas <= found.size();
    found.resize(question.num_iovas);
    if (!answered || !fits) continue;
    if (!std::has_single_bit(question.out_iova_alignment))
      return fail(fmt::format("iommufd's IOVA alignment is {:#x}", question.out_iova_alignment));
    std::vector<IovaRange> ranges;
    for (const auto& range : found) {
      if (range.last < range.start || (!ranges.empty() && range.start <= ranges.back().last))
        return fail(fmt::format("iommufd's IOVA range {:#x}-{:#x} is not in order", range.start, range.last));
      ranges.push_back({range.start, range.last});
    }
    ranges_ = std::move(ranges);
    granule_ = question.out_iova_alignment;
    return {};
  }
  return fail(fmt::format("IOMMU_IOAS_IOVA_RANGES grew its answer {} times in a row", kMaxQueries));
}

Result<std::unique_ptr<Device>> Ioas::attach(const Address& address) {
  const std::lock_guard lock(mutex_);
  const auto function = ready_function(sysfs_, address.target);
  if (!function) return std::unexpected(function.error());
  const std::string& bdf = function->bdf;
  const std::string node = device_node(sysfs_, bdf);
  if (node.empty()) return std::unexpected(explain_no_device_node(bdf));
  FileDescriptor file = open_file(sysfs_.path(node).c_str(), O_RDWR | O_CLOEXEC);
  if (!file) return std::unexpected(explain_device_node_open(bdf, node, errno));

  // Nothing else may be asked of the device before it is bound.
  abi::vfio_device_bind_iommufd bind{.argsz = sizeof bind, .flags = 0, .iommufd = file_.get(), .out_devid = 0};
  if (control(file.get(), abi::kVfioDeviceBindIommufd, &bind) != 0) {
    const int os_error = errno;
    file = FileDescriptor();  // or we would be found among those who have it
    return std::unexpected(explain_bind_iommufd(sysfs_, *function, os_error));
  }
  abi::vfio_device_attach_iommufd_pt attach{.argsz = sizeof attach, .flags = 0, .pt_id = id_};
  if (control(file.get(), abi::kVfioDeviceAttachIommufdPt, &attach) != 0) {
    const int os_error = errno;
    return fail_errno(os_error, fmt::format("VFIO_DEVICE_ATTACH_IOMMUFD_PT failed for {}", bdf),
                      os_error == EINVAL || os_error == EADDRINUSE
                          ? "its IOMMU reaches less than what is mapped already: give it an address space of its own"
                          : "the kernel's log (dmesg) may say why");
  }
  auto device = KernelDevice::create(std::move(file), address, *function->group, *this);
  if (!device) return std::unexpected(std::move(device.error()));
  if (auto queried = query(); !queried) return std::unexpected(std::move(queried.error()));
  return std::move(*device);
}

Result<void> Ioas::map(const DmaMapping& mapping) {
  abi::iommu_ioas_map request{};
  request.size = sizeof request;
  request.flags = abi::kIoasMapFixedIova | (mapping.device_may_read ? abi::kIoasMapReadable : 0u) |
                  (mapping.device_may_write ? abi::kIoasMapWriteable : 0u);
  request.ioas_id = id_;
  request.user_va = reinterpret_cast<std::uintptr_t>(mapping.address);
  request.length = mapping.size_bytes;
  request.iova = mapping.iova;
  if (!mapping.device_may_read && !mapping.device_may_write)
    return fail(fmt::format("a mapping at IOVA {:#x} that may neither be read nor written", mapping.iova));
  if (control(file_.get(), abi::kIommuIoasMap, &request) == 0) return {};
  const int os_error = errno;
  MapState state{page_sizes(), usable_ranges(), mappings_left(), current_memlock()};
  state.memlock.locked_bytes = pinned_by_user(sysfs_, getuid());  // what iommufd charges
  state.memlock.of_user = true;
  return std::unexpected(explain_map_error(mapping, os_error, state));
}

Result<void> Ioas::unmap(Iova iova, std::uint64_t size_bytes) {
  abi::iommu_ioas_unmap request{.size = sizeof request, .ioas_id = id_, .iova = iova, .length = size_bytes};
  if (control(file_.get(), abi::kIommuIoasUnmap, &request) != 0)
    return fail_errno(errno, fmt::format("cannot unmap {} bytes at IOVA {:#x}", size_bytes, iova));
  if (request.length != size_bytes)
    return fail(
        fmt::format("unmapped {} bytes at IOVA {:#x} instead of {}", std::uint64_t{request.length}, iova, size_bytes),
        "unmap names exactly what one map made");
  return {};
}

std::vector<IovaRange> Ioas::usable_ranges() const {
  const std::lock_guard lock(mutex_);
  return ranges_;
}

std::uint64_t Ioas::page_sizes() const {
  const std::lock_guard lock(mutex_);
  return granule_ == 0 ? 0 : granule_ | (kLargePages & ~(granule_ - 1));
}

}  // namespace pollux::vfio
