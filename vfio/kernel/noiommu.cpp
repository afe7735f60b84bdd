#include "pollux/vfio/kernel/noiommu.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "pollux/vfio/kernel/kernel_device.hpp"
#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

constexpr std::uint64_t kPageBytes = 4096;

// An entry of /proc/self/pagemap: the page's frame in bits 0 to 54, present in bit 63. The frame is 0 for those who may
// not see it.
constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;

// A frame's flags, 8 bytes each in /proc/kpageflags: bit 17 is a page of hugetlbfs, which the kernel does not move
// about.
constexpr std::uint64_t kHugetlb = std::uint64_t{1} << 17;

constexpr IovaRange kAllOfMemory{0, ~std::uint64_t{0}};

}  // namespace

Result<std::unique_ptr<NoIommu>> NoIommu::open(Sysfs sysfs) {
  FileDescriptor file = open_file(sysfs.path(kContainerNode).c_str(), O_RDWR | O_CLOEXEC);
  if (!file) return std::unexpected(explain_vfio_open(sysfs, errno));
  if (control(file.get(), VFIO_CHECK_EXTENSION, VFIO_NOIOMMU_IOMMU) <= 0)
    return fail("this kernel's VFIO does not work without an IOMMU",
                "it has to be built with CONFIG_VFIO_NOIOMMU, and its parameter be on: write 1 to "
                "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode as root");
  return std::unique_ptr<NoIommu>(new NoIommu(std::move(sysfs), std::move(file)));
}

Result<std::unique_ptr<Device>> NoIommu::attach(const Address& address) {
  const std::lock_guard lock(mutex_);
  const auto function = ready_function(sysfs_, address.target, Translation::none);
  if (!function) return std::unexpected(function.error());
  const std::string& bdf = function->bdf;
  const unsigned number = *function->group;

  std::unique_ptr<Group> fresh;
  Group* group = groups_.find(number);
  if (group == nullptr) {
    auto opened = Group::open(sysfs_, number, bdf, Group::Kind::noiommu);
    if (!opened) return std::unexpected(std::move(opened.error()));
    fresh = std::move(*opened);
    group = fresh.get();
    if (auto set = fresh->set_container(file_.get(), bdf); !set) return std::unexpected(std::move(set.error()));
    if (groups_.empty() && control(file_.get(), VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU) != 0)
      return std::unexpected(explain_set_iommu(number, bdf, errno));
  }
  auto file = group->open_device(sysfs_, address);
  if (!file) return std::unexpected(std::move(file.error()));
  auto device = KernelDevice::create(std::move(*file), address, number, *this);
  if (!device) return std::unexpected(std::move(device.error()));
  group->device_opened();
  if (fresh) groups_.add(std::move(fresh));
  return std::move(*device);
}

std::vector<IovaRange> NoIommu::usable_ranges() const { return {kAllOfMemory}; }

std::uint64_t NoIommu::page_sizes() const { return kPageBytes; }

Result<Iova> NoIommu::physical_address(const void* address, std::uint64_t size_bytes) const {
  const FileDescriptor file = open_file("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (!file) return fail_errno(errno, "cannot open /proc/self/pagemap, which tells physical addresses");
  const FileDescriptor flags_file = open_file("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  if (!flags_file)
    return fail_errno(errno, "cannot open /proc/kpageflags, which tells hugepages", "noiommu needs root");
  const auto first_page = reinterpret_cast<std::uintptr_t>(address) / kPageBytes;
  const std::uint64_t pages = size_bytes / kPageBytes;
  std::array<std::uint64_t, 512> entries;  // of one 2 MiB page
  Iova first = 0;
  for (std::uint64_t page = 0; page < pages; page += entries.size()) {
    const std::size_t count = std::min<std::uint64_t>(entries.size(), pages - page);
    const std::size_t bytes = count * sizeof entries[0];
    const ssize_t got = uninterrupted([&] {
      return pread(file.get(), entries.data(), bytes, static_cast<off_t>((first_page + page) * sizeof entries[0]));
    });
    if (got != static_cast<ssize_t>(bytes))
      return fail_errno(got < 0 ? errno : EIO, fmt::format("cannot read {} entries of /proc/self/pagemap", count));
    for (std::size_t i = 0; i < count; ++i) {
      if ((entries[i] & kPresent) == 0) return fail(fmt::format("the memory at {} is not all there", address));
      const std::uint64_t frame = entries[i] & kFrameMask;
      if (frame == 0)
        return fail("the kernel does not tell this process physical addresses", "noiommu needs root (CAP_SYS_ADMIN)");
      std::uint64_t flags = 0;
      const auto read_flags = [&] {
        return pread(flags_file.get(), &flags, sizeof flags, static_cast<off_t>(frame * sizeof flags));
      };
      if (uninterrupted(read_flags) != sizeof flags)
        return fail("the kernel does not tell what kind of page it is (/proc/kpageflags)");
      if ((flags & kHugetlb) == 0)
        return fail(fmt::format("the memory at {} is not in hugepages, so that the kernel may move it", address),
                    "without an IOMMU a buffer has to lie in one hugepage");
      const Iova physical = frame * kPageBytes;
      if (page + i == 0) first = physical;
      if (physical != first + (page + i) * kPageBytes)
        return fail(fmt::format("the {} bytes at {} are not in one physical piece", size_bytes, address),
                    "without an IOMMU a buffer has to lie in one hugepage");
    }
  }
  return first;
}

std::string NoIommu::warning() const {
  return "no IOMMU translates here: the drive reaches all of this machine's memory, and what it or this program does "
         "wrong may overwrite anything";
}

int NoIommu::group_file(unsigned number) const {
  const std::lock_guard lock(mutex_);
  return groups_.file(number);
}

void NoIommu::device_closed(unsigned number, bool released) noexcept {
  const std::lock_guard lock(mutex_);
  groups_.device_closed(number, released);
}

}  // namespace pollux::vfio
