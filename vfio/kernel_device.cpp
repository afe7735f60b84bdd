#include "pollux/vfio/kernel_device.hpp"

#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/interrupt_set.hpp"

namespace pollux::vfio {
namespace {

// VFIO_DEVICE_RESET answers EAGAIN while somebody else holds the device's lock.
constexpr unsigned kResetTries = 100;
constexpr std::uint64_t kResetPauseNs = 10 * kNsPerMs;

const char* name_of(RegionIndex index) {
  constexpr const char* kNames[] = {"BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "the ROM", "config space"};
  return kNames[static_cast<std::size_t>(index)];
}

}  // namespace

Result<std::unique_ptr<KernelDevice>> KernelDevice::create(FileDescriptor file, const Address& address,
                                                           unsigned group) {
  vfio_device_info info{};
  info.argsz = sizeof info;
  if (ioctl(file.get(), VFIO_DEVICE_GET_INFO, &info) != 0)
    return fail_errno(errno, fmt::format("VFIO_DEVICE_GET_INFO failed for {}", address.target));
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0 || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
    return fail(fmt::format("{} is not a PCI device to VFIO (flags {:#x}, {} regions)", address.target,
                            std::uint32_t{info.flags}, std::uint32_t{info.num_regions}));
  std::unique_ptr<KernelDevice> device(new KernelDevice(std::move(file), address, group));
  device->flags_ = info.flags;
  device->region_count_ = info.num_regions;
  device->interrupt_count_ = info.num_irqs;
  return device;
}

Result<const KernelRegion*> KernelDevice::region(RegionIndex index) {
  const auto number = static_cast<std::uint32_t>(index);
  if (number >= kRegions) return fail(fmt::format("{} has no region {}", address_.target, number));
  auto& known = regions_[number];
  if (!known) {
    vfio_region_info question{};
    question.index = number;
    const auto answer =
        query_info(file_.get(), VFIO_DEVICE_GET_REGION_INFO, std::as_bytes(std::span(&question, 1)),
                   fmt::format("VFIO_DEVICE_GET_REGION_INFO for {} of {}", name_of(index), address_.target));
    if (!answer) return std::unexpected(answer.error());
    auto parsed = parse_region_info(*answer);
    if (!parsed) return std::unexpected(std::move(parsed.error()));
    known = std::move(*parsed);
  }
  return &*known;
}

Result<RegionInfo> KernelDevice::region_info(RegionIndex index) {
  const auto found = region(index);
  if (!found) return std::unexpected(found.error());
  return (*found)->info;
}

Result<const KernelRegion*> KernelDevice::checked(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                                                  const char* verb) {
  const auto found = region(index);
  if (!found) return found;
  const std::uint64_t region_bytes = (*found)->info.size_bytes;
  if (offset > region_bytes || size_bytes > region_bytes - offset)
    return fail(fmt::format("cannot {} {} bytes at {:#x} of {} of {}: it has {} bytes", verb, size_bytes, offset,
                            name_of(index), address_.target, region_bytes));
  return found;
}

Result<void> KernelDevice::read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) {
  const auto found = checked(index, offset, into.size(), "read");
  if (!found) return std::unexpected(found.error());
  for (std::size_t done = 0; done < into.size();) {
    const ssize_t got = pread(file_.get(), into.data() + done, into.size() - done,
                              static_cast<off_t>((*found)->file_offset + offset + done));
    if (got <= 0)
      return fail_errno(got == 0 ? EIO : errno, fmt::format("cannot read {} bytes at {:#x} of {} of {}", into.size(),
                                                            offset, name_of(index), address_.target));
    done += static_cast<std::size_t>(got);
  }
  return {};
}

Result<void> KernelDevice::write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) {
  const auto found = checked(index, offset, from.size(), "write");
  if (!found) return std::unexpected(found.error());
  for (std::size_t done = 0; done < from.size();) {
    const ssize_t put = pwrite(file_.get(), from.data() + done, from.size() - done,
                               static_cast<off_t>((*found)->file_offset + offset + done));
    if (put <= 0)
      return fail_errno(put == 0 ? EIO : errno, fmt::format("cannot write {} bytes at {:#x} of {} of {}", from.size(),
                                                            offset, name_of(index), address_.target));
    done += static_cast<std::size_t>(put);
  }
  return {};
}

Result<MappedArea> KernelDevice::map(RegionIndex index, RegionArea area) {
  const auto found = checked(index, area.offset, area.size_bytes, "map");
  if (!found) return std::unexpected(found.error());
  const RegionInfo& info = (*found)->info;
  const bool inside = std::ranges::any_of(info.mappable, [&](const RegionArea& whole) {
    return area.offset >= whole.offset && area.offset - whole.offset <= whole.size_bytes &&
           area.size_bytes <= whole.size_bytes - (area.offset - whole.offset);
  });
  if (!inside || area.size_bytes == 0)
    return fail(fmt::format("{:#x}+{:#x} of {} of {} may not be mapped", area.offset, area.size_bytes, name_of(index),
                            address_.target),
                "read and write it by call");
  const int protection = (info.readable ? PROT_READ : 0) | (info.writable ? PROT_WRITE : 0);
  void* address = mmap(nullptr, area.size_bytes, protection, MAP_SHARED, file_.get(),
                       static_cast<off_t>((*found)->file_offset + area.offset));
  if (address == MAP_FAILED)
    return fail_errno(errno, fmt::format("cannot map {:#x}+{:#x} of {} of {}", area.offset, area.size_bytes,
                                         name_of(index), address_.target));
  return MappedArea(static_cast<volatile std::byte*>(address), area,
                    [address, size = area.size_bytes] { munmap(address, size); });
}

Result<InterruptInfo> KernelDevice::interrupt_info(InterruptIndex index) {
  vfio_irq_info info{};
  info.argsz = sizeof info;
  info.index = static_cast<std::uint32_t>(index);
  if (info.index >= interrupt_count_) return InterruptInfo{};
  if (ioctl(file_.get(), VFIO_DEVICE_GET_IRQ_INFO, &info) != 0) {
    const int os_error = errno;
    // vfio-pci knows the index and refuses it where the function lacks the kind: the error interrupt needs PCI Express.
    if (os_error == EINVAL) return InterruptInfo{};
    return fail_errno(os_error, fmt::format("VFIO_DEVICE_GET_IRQ_INFO failed for interrupt index {} of {}",
                                            std::uint32_t{info.index}, address_.target));
  }
  InterruptInfo found;
  found.count = info.count;
  found.eventfd = (info.flags & VFIO_IRQ_INFO_EVENTFD) != 0;
  found.maskable = (info.flags & VFIO_IRQ_INFO_MASKABLE) != 0;
  found.automasked = (info.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0;
  found.noresize = (info.flags & VFIO_IRQ_INFO_NORESIZE) != 0;
  return found;
}

Result<void> KernelDevice::install(InterruptIndex index, std::span<const int> eventfds) {
  std::vector<std::byte> set = pack_interrupt_set(index, eventfds);
  const int returned = ioctl(file_.get(), VFIO_DEVICE_SET_IRQS, set.data());
  return interrupt_set_result(address_.target, index, eventfds.size(), returned, errno);
}

Result<void> KernelDevice::set_interrupts(InterruptIndex index, std::span<const int> eventfds) {
  const auto number = static_cast<std::size_t>(index);
  if (number >= kInterruptKinds) return fail(fmt::format("{} has no interrupts {}", address_.target, number));
  const auto info = interrupt_info(index);
  if (!info) return std::unexpected(info.error());
  if (const auto fits = check_eventfds(address_.target, index, *info, eventfds); !fits) return fits;
  // What is on goes off first unless the new set takes its place vector by vector: the kernel refuses to let a set grow
  // (NORESIZE), and leaves the last vectors on when it shrinks. Turning off what is not on it calls invalid.
  std::size_t& installed = installed_[number];
  if (installed != 0 && installed != eventfds.size()) {
    if (const auto off = install(index, {}); !off) return off;
    installed = 0;
  }
  if (eventfds.empty()) return {};
  const auto done = install(index, eventfds);
  if (!done && installed != 0) (void)install(index, {});  // the kernel has taken off some of them, or all
  installed = done ? eventfds.size() : 0;
  return done;
}

bool KernelDevice::can_reset() const { return (flags_ & VFIO_DEVICE_FLAGS_RESET) != 0; }

Result<void> KernelDevice::reset() {
  if (!can_reset()) return fail(fmt::format("{} has no function reset", address_.target));
  for (unsigned attempt = 0; attempt < kResetTries; attempt++) {
    if (ioctl(file_.get(), VFIO_DEVICE_RESET) == 0) return {};
    if (errno != EAGAIN) return fail_errno(errno, fmt::format("VFIO_DEVICE_RESET failed for {}", address_.target));
    steady_clock().pause_ns(kResetPauseNs);
  }
  return fail_errno(EAGAIN, fmt::format("VFIO_DEVICE_RESET of {} found the device busy {} times in {} ms",
                                        address_.target, kResetTries, kResetTries * kResetPauseNs / kNsPerMs));
}

}  // namespace pollux::vfio
