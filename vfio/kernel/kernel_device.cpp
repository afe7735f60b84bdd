#include "pollux/vfio/kernel/kernel_device.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pollux/vfio/abi/interrupt_set.hpp"
#include "pollux/vfio/abi/iommufd_abi.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/pci/pci_config.hpp"
#include "pollux/vfio/pci/sysfs.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

// A reset is answered with EAGAIN or EBUSY while somebody else holds a lock that it needs.
constexpr unsigned kResetTries = 100;
constexpr std::uint64_t kResetPauseNs = 10 * kNsPerMs;

constexpr std::string_view kNoRoom = "raise vm.max_map_count, or the limit of data (ulimit -d)";

constexpr std::size_t kMaxAffected = 256 * 8;  // functions that one hot reset may reach: a bus and its ARI neighbours

// Ordinary memory in place of what is mapped there, in one step: a thread that stores meanwhile reaches the one or the
// other. 0, or errno; the mapping stays then.
int lay_memory_over(void* address, std::uint64_t size_bytes) {
  void* const laid = mmap(address, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return laid == MAP_FAILED ? errno : 0;
}

const char* name_of(RegionIndex index) {
  constexpr const char* kNames[] = {"BAR0", "BAR1", "BAR2", "BAR3", "BAR4", "BAR5", "the ROM", "config space"};
  return kNames[static_cast<std::size_t>(index)];
}

}  // namespace

Result<std::unique_ptr<KernelDevice>> KernelDevice::create(FileDescriptor file, const Address& address, unsigned group,
                                                           KernelSpace& space) {
  vfio_device_info info{};
  info.argsz = sizeof info;
  if (control(file.get(), VFIO_DEVICE_GET_INFO, &info) != 0)
    return fail_errno(errno, fmt::format("VFIO_DEVICE_GET_INFO failed for {}", address.target));
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0 || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
    return fail(fmt::format("{} is not a PCI device to VFIO (flags {:#x}, {} regions)", address.target,
                            std::uint32_t{info.flags}, std::uint32_t{info.num_regions}));
  std::unique_ptr<KernelDevice> device(new KernelDevice(std::move(file), address, group));
  device->flags_ = info.flags;
  device->region_count_ = info.num_regions;
  device->interrupt_count_ = info.num_irqs;
  if (const auto capabilities = read_capabilities(*device)) {  // a list that leads nowhere has no power management
    for (const PciCapability& one : *capabilities) {
      if (!one.extended && one.id == pci::kCapabilityPower)
        device->power_offset_ = static_cast<std::uint16_t>(one.offset + pci::kPowerControl);
    }
  }
  if (auto quiet = device->disable_intx(true); !quiet) return std::unexpected(std::move(quiet.error()));
  device->space_ = &space;
  return device;
}

KernelDevice::~KernelDevice() {
  file_ = FileDescriptor();
  if (space_ != nullptr && opener_.is_this_process()) space_->device_closed(group_, false);
}

void KernelDevice::release() noexcept {
  if (released_ || !opener_.is_this_process()) return;
  // A mapping that is left keeps the device open until its holder goes: until then it reaches no memory at least.
  if (cover() != 0) (void)set_bus_master(*this, false);
  // Another thread may be about to write a doorbell by call: the number must not become somebody else's file.
  if (const FileDescriptor nothing = open_file("/", O_PATH | O_CLOEXEC); nothing)
    uninterrupted([&] { return dup3(nothing.get(), file_.get(), O_CLOEXEC); });
  else
    file_ = FileDescriptor();
  released_ = true;
  if (space_ != nullptr) space_->device_closed(group_, true);
  space_ = nullptr;
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
    const ssize_t got = uninterrupted([&] {
      return pread(file_.get(), into.data() + done, into.size() - done,
                   static_cast<off_t>((*found)->file_offset + offset + done));
    });
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
  if (index != RegionIndex::config) return put(**found, index, offset, from);
  const auto answers = memory_answers(offset, from);
  if (!answers) return std::unexpected(answers.error());
  if (!*answers) {  // before the kernel takes the BARs away, and back only when it has given them back
    const int os_error = cover();
    const auto before = memory_answers(0, {});
    if (os_error != 0 && before && *before) {
      (void)uncover();
      return fail_errno(os_error,
                        fmt::format("cannot lay memory over the BARs of {} before its memory is off", address_.target),
                        fmt::format("nothing was written; {}", kNoRoom));
    }
  }
  auto written = put(**found, index, offset, from);
  if (const auto now = memory_answers(0, {}); now && *now)
    if (const int os_error = uncover(); os_error != 0 && written)
      return fail_errno(os_error,
                        fmt::format("the memory of {} is on, but its BARs cannot be mapped again", address_.target),
                        std::string(kNoRoom));
  return written;
}

// Whether the function's memory answers once `from` stands at `offset` of its config space.
Result<bool> KernelDevice::memory_answers(std::uint64_t offset, std::span<const std::byte> from) {
  const auto after = [&](std::uint64_t position) -> Result<std::uint8_t> {
    if (position >= offset && position - offset < from.size())
      return std::to_integer<std::uint8_t>(from[position - offset]);
    return read_config8(*this, position);
  };
  const auto status = read_config16(*this, pci::kStatus);  // of the function, but for the bit that VFIO answers for
  if (!status) return std::unexpected(status.error());
  if ((*status | pci::kStatusCapabilities) == 0xffff) return false;
  const auto command = after(pci::kCommand);
  if (!command) return std::unexpected(command.error());
  if ((*command & pci::kCommandMemorySpace) == 0) return false;
  if (power_offset_ == 0) return true;
  const auto power = after(power_offset_);
  if (!power) return std::unexpected(power.error());
  return (*power & pci::kPowerStateMask) != pci::kPowerStateD3;
}

// As far as it goes: 0, or the errno of a mapping that is not covered.
int KernelDevice::cover() noexcept {
  int failed = 0;
  for (Mapping& one : mappings_) {
    if (one.covered) continue;
    const int os_error = lay_memory_over(one.address, one.size_bytes);
    if (os_error != 0) failed = os_error;
    one.covered = os_error == 0;
  }
  return failed;
}

// The same for a mapping that stays covered, for the next write to try again.
int KernelDevice::uncover() noexcept {
  int failed = 0;
  for (Mapping& one : mappings_) {
    if (!one.covered) continue;
    void* const mapped = mmap(one.address, one.size_bytes, one.protection, MAP_SHARED | MAP_FIXED, file_.get(),
                              static_cast<off_t>(one.file_offset));
    one.covered = mapped == MAP_FAILED;
    if (!one.covered) continue;
    failed = errno;
    (void)lay_memory_over(one.address, one.size_bytes);  // if the kernel has taken the cover away before it failed
  }
  return failed;
}

Result<void> KernelDevice::put(const KernelRegion& region, RegionIndex index, std::uint64_t offset,
                               std::span<const std::byte> from) {
  for (std::size_t done = 0; done < from.size();) {
    const ssize_t put = uninterrupted([&] {
      return pwrite(file_.get(), from.data() + done, from.size() - done,
                    static_cast<off_t>(region.file_offset + offset + done));
    });
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
  const auto answers = memory_answers(0, {});
  const bool covered = answers && !*answers;
  if (const int os_error = covered ? lay_memory_over(address, area.size_bytes) : 0; os_error != 0) {
    munmap(address, area.size_bytes);
    return fail_errno(
        os_error, fmt::format("cannot lay memory over {} of {}, whose memory is off", name_of(index), address_.target),
        std::string(kNoRoom));
  }
  const auto mapping = mappings_.insert(
      mappings_.end(), {address, area.size_bytes, protection, (*found)->file_offset + area.offset, covered});
  return MappedArea(static_cast<volatile std::byte*>(address), area, [this, mapping] {
    munmap(mapping->address, mapping->size_bytes);
    mappings_.erase(mapping);
  });
}

Result<InterruptInfo> KernelDevice::interrupt_info(InterruptIndex index) {
  vfio_irq_info info{};
  info.argsz = sizeof info;
  info.index = static_cast<std::uint32_t>(index);
  if (info.index >= interrupt_count_) return InterruptInfo{};
  if (control(file_.get(), VFIO_DEVICE_GET_IRQ_INFO, &info) != 0) {
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
  const int returned = control(file_.get(), VFIO_DEVICE_SET_IRQS, set.data());
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
    if (const auto quiet = disable_intx(true); !quiet) return quiet;
    if (const auto off = install(index, {}); !off) return off;
    installed = 0;
    if (const auto quiet = disable_intx_again(); !quiet) return quiet;
  }
  if (eventfds.empty()) return {};
  auto done = install(index, eventfds);
  if (!done && installed != 0) (void)install(index, {});  // the kernel has taken off some of them, or all
  installed = done ? eventfds.size() : 0;
  if (done && index == InterruptIndex::intx) return disable_intx(false);  // somebody listens now
  return done;
}

Result<void> KernelDevice::disable_intx(bool disabled) {
  const auto command = read_config16(*this, pci::kCommand);
  if (!command) return std::unexpected(command.error());
  const auto bit = pci::kCommandInterruptDisable;
  return write_config16(*this, pci::kCommand, static_cast<std::uint16_t>(disabled ? *command | bit : *command & ~bit));
}

// Turning MSI or MSI-X off has the kernel clear the bit at the function behind its own back: writing what it believes
// to be there already would change nothing.
Result<void> KernelDevice::disable_intx_again() {
  if (const auto off = disable_intx(false); !off) return off;
  return disable_intx(true);
}

Result<void> KernelDevice::unmask_interrupt(InterruptIndex index) {
  const auto set = pack_interrupt_action(index, VFIO_IRQ_SET_ACTION_UNMASK, 1);
  if (control(file_.get(), VFIO_DEVICE_SET_IRQS, set.data()) == 0) return {};
  return fail_errno(
      errno, fmt::format("cannot unmask interrupt index {} of {}", static_cast<unsigned>(index), address_.target),
      "only INTx is masked, and only while an eventfd is installed");
}

Result<void> KernelDevice::trigger_interrupts(InterruptIndex index) {
  const auto number = static_cast<std::size_t>(index);
  if (number >= kInterruptKinds || installed_[number] == 0)
    return fail(fmt::format("no interrupts of index {} are installed for {}", number, address_.target),
                "install eventfds first");
  const auto set =
      pack_interrupt_action(index, VFIO_IRQ_SET_ACTION_TRIGGER, static_cast<std::uint32_t>(installed_[number]));
  if (control(file_.get(), VFIO_DEVICE_SET_IRQS, set.data()) == 0) return {};
  return fail_errno(errno, fmt::format("cannot trigger the interrupts of index {} of {}", number, address_.target));
}

bool KernelDevice::can_reset() const { return (flags_ & VFIO_DEVICE_FLAGS_RESET) != 0; }

Result<void> KernelDevice::reset() {
  if (!can_reset()) return fail(fmt::format("{} has no function reset", address_.target));
  return reset_by(VFIO_DEVICE_RESET, nullptr, "VFIO_DEVICE_RESET");
}

Result<void> KernelDevice::reset_by(unsigned long request, void* argument, const char* name) {
  for (unsigned attempt = 0; attempt < kResetTries; attempt++) {
    if (control(file_.get(), request, argument) == 0) return {};
    const int os_error = errno;
    if (os_error != EAGAIN && os_error != EBUSY)
      return fail_errno(os_error, fmt::format("{} failed for {}", name, address_.target),
                        "the kernel's log (dmesg) may say why");
    steady_clock().pause_ns(kResetPauseNs);
  }
  return fail_errno(EAGAIN, fmt::format("{} of {} found the device busy {} times in {} ms", name, address_.target,
                                        kResetTries, kResetTries * kResetPauseNs / kNsPerMs));
}

// The kernel wants a file of each group that the reset reaches, so that nobody resets what is another's; iommufd tells
// itself whether all of it is ours, and wants none.
Result<void> KernelDevice::hot_reset() {
  std::vector<std::byte> info(sizeof(vfio_pci_hot_reset_info) + kMaxAffected * sizeof(vfio_pci_dependent_device));
  const auto argsz = static_cast<std::uint32_t>(info.size());
  std::memcpy(info.data(), &argsz, sizeof argsz);
  if (control(file_.get(), VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info.data()) != 0) {
    const int os_error = errno;
    return fail_errno(os_error, fmt::format("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO failed for {}", address_.target),
                      os_error == ENODEV ? "nothing above it can reset it" : "");
  }
  std::string foreign;
  const std::vector<int> groups = hot_reset_groups(info, foreign);
  if (!foreign.empty())
    return fail(fmt::format("a hot reset of {} would reset {} too", address_.target, foreign),
                "open it in the same address space, or reset the function alone");

  const std::size_t head_bytes = offsetof(vfio_pci_hot_reset, group_fds);
  std::vector<std::byte> request(head_bytes + groups.size() * sizeof(int));
  vfio_pci_hot_reset head{};
  head.argsz = static_cast<std::uint32_t>(request.size());
  head.count = static_cast<std::uint32_t>(groups.size());
  std::memcpy(request.data(), &head, head_bytes);
  std::ranges::copy(std::as_bytes(std::span(groups)), request.begin() + static_cast<std::ptrdiff_t>(head_bytes));
  return reset_by(VFIO_DEVICE_PCI_HOT_RESET, request.data(), "VFIO_DEVICE_PCI_HOT_RESET");
}

// The files of the groups that the reset reaches, each once; `foreign` gets the first function that is not ours.
std::vector<int> KernelDevice::hot_reset_groups(std::span<const std::byte> info, std::string& foreign) const {
  vfio_pci_hot_reset_info head{};
  std::memcpy(&head, info.data(), offsetof(vfio_pci_hot_reset_info, devices));
  std::vector<int> files;
  for (std::size_t i = 0; i < std::min<std::size_t>(head.count, kMaxAffected); ++i) {
    vfio_pci_dependent_device one{};
    std::memcpy(&one, info.data() + offsetof(vfio_pci_hot_reset_info, devices) + i * sizeof one, sizeof one);
    const bool by_iommufd = (head.flags & abi::kHotResetDevId) != 0;
    const int file = by_iommufd ? -1 : space_->group_file(one.group_id);
    const std::string bdf = fmt::format("{:04x}:{:02x}:{:02x}.{:x}", std::uint16_t{one.segment}, std::uint8_t{one.bus},
                                        one.devfn >> 3, one.devfn & 7);
    const std::string driver = Sysfs().driver_of(bdf);
    const bool ours = by_iommufd ? one.group_id != abi::kDevIdNotOwned : file >= 0 && driver == kVfioDriver;
    if (!ours && foreign.empty()) {
      foreign = bdf + (driver.empty() ? ", which has no driver," : fmt::format(", which is bound to {},", driver));
    }
    if (file >= 0 && std::ranges::find(files, file) == files.end()) files.push_back(file);
  }
  return files;
}

}  // namespace pollux::vfio
