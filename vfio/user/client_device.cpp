#include "pollux/vfio/user/client_device.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "pollux/vfio/abi/interrupt_set.hpp"
#include "pollux/vfio/abi/kernel_info.hpp"
#include "pollux/vfio/user/pci_function.hpp"

namespace pollux::vfio::user {
namespace {

constexpr std::uint32_t kRegionAnswerBytes = 1024;  // room for capabilities: forty sparse areas or more
constexpr std::uint64_t kRegisterBytes = 8;         // the widest access that a register takes

// Whether it has an end that can be looked at: within it a touch of a mapping finds memory.
bool is_ordinary(const FileDescriptor& file) {
  struct stat info{};
  return fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

Result<std::unique_ptr<ClientDevice>> ClientDevice::create(std::shared_ptr<Session> session, ClientSpace& space,
                                                           const Address& address) {
  std::unique_ptr<ClientDevice> device(new ClientDevice(std::move(session), space, address));
  Result<void> ready;
  if (auto facts = device->ask()) {
    device->facts_ = std::move(*facts);
    ready = hand_over(*device);
  } else {
    ready = std::unexpected(facts.error());
  }
  if (ready) return device;
  device->space_ = nullptr;  // it was not attached
  return std::unexpected(ready.error());
}

ClientDevice::~ClientDevice() {
  if (space_ != nullptr && opener_.is_this_process()) space_->device_closed(false);
}

void ClientDevice::release() noexcept {
  if (space_ == nullptr || !opener_.is_this_process()) return;
  for (const Mapping& one : mappings_)
    mmap(one.address, one.area.size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  space_->device_closed(true);
  space_ = nullptr;
}

Result<ClientDevice::Facts> ClientDevice::ask() {
  const DeviceInfoPayload question;
  const auto answer = session_->request(Command::device_get_info, std::as_bytes(std::span(&question, 1)));
  if (!answer) return std::unexpected(answer.error());
  const auto info = read_part<DeviceInfoPayload>(answer->payload);
  if (!info) return std::unexpected(info.error());
  if ((info->flags & VFIO_DEVICE_FLAGS_PCI) == 0 || info->regions < kRegions)
    return fail(
        fmt::format("the server's device is no PCI device (flags {:#x}, {} regions)", info->flags, info->regions));
  Facts facts{.can_reset = (info->flags & VFIO_DEVICE_FLAGS_RESET) != 0, .regions = {}, .interrupts = {}};
  for (std::uint32_t index = 0; index < kRegions; ++index) {
    auto region = ask_region(index);
    if (!region) return std::unexpected(region.error());
    facts.regions[index] = std::move(*region);
  }
  for (std::uint32_t index = 0; index < std::min<std::uint32_t>(kInterruptKinds, info->interrupts); ++index) {
    const auto interrupts = ask_interrupts(index);
    if (!interrupts) return std::unexpected(interrupts.error());
    facts.interrupts[index] = *interrupts;
  }
  return facts;
}

Result<ClientDevice::Region> ClientDevice::ask_region(std::uint32_t index) {
  vfio_region_info question{};
  question.argsz = kRegionAnswerBytes;
  question.index = index;
  auto answer = session_->request(Command::device_get_region_info, std::as_bytes(std::span(&question, 1)));
  if (!answer) return std::unexpected(answer.error());
  const auto fixed = read_part<vfio_region_info>(answer->payload);
  if (!fixed) return std::unexpected(fixed.error());
  if (fixed->argsz > question.argsz && fixed->argsz <= kMaxPayloadBytes) {
    question.argsz = fixed->argsz;
    answer = session_->request(Command::device_get_region_info, std::as_bytes(std::span(&question, 1)));
    if (!answer) return std::unexpected(answer.error());
  }
  auto parsed = parse_region_info(answer->payload);
  if (!parsed) return std::unexpected(parsed.error());
  Region region{.info = std::move(parsed->info), .file_offset = parsed->file_offset, .file = {}};
  if (!answer->fds.empty() && is_ordinary(answer->fds.front())) {
    region.file = std::move(answer->fds.front());
  } else {
    region.info.mappable.clear();  // it says that areas may be mapped, and gives nothing for it: by message, then
  }
  return region;
}

Result<InterruptInfo> ClientDevice::ask_interrupts(std::uint32_t index) {
  vfio_irq_info question{};
  question.argsz = sizeof question;
  question.index = index;
  const auto answer = session_->request(Command::device_get_irq_info, std::as_bytes(std::span(&question, 1)));
  if (!answer) return std::unexpected(answer.error());
  const auto info = read_part<vfio_irq_info>(answer->payload);
  if (!info) return std::unexpected(info.error());
  constexpr std::uint32_t kMostVectors = 2048;  // of MSI-X, which has most of all
  if (info->count > kMostVectors)
    return fail(fmt::format("the server's device has {} interrupts of index {}", std::uint32_t{info->count}, index));
  return InterruptInfo{.count = info->count,
                       .eventfd = (info->flags & VFIO_IRQ_INFO_EVENTFD) != 0,
                       .maskable = (info->flags & VFIO_IRQ_INFO_MASKABLE) != 0,
                       .automasked = (info->flags & VFIO_IRQ_INFO_AUTOMASKED) != 0,
                       .noresize = (info->flags & VFIO_IRQ_INFO_NORESIZE) != 0};
}

std::unexpected<Error> ClientDevice::named(const Error& error) const {
  return std::unexpected(Error{address_.text + ": " + error.what, error.advice, error.os_error});
}

Result<RegionInfo> ClientDevice::region_info(RegionIndex index) {
  if (auto good = checked(index, 0, 0, "look at"); !good) return std::unexpected(good.error());
  return facts_.regions[static_cast<std::size_t>(index)].info;
}

Result<void> ClientDevice::checked(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                                   const char* verb) const {
  const auto number = static_cast<std::size_t>(index);
  const std::uint64_t region_bytes = number < kRegions ? facts_.regions[number].info.size_bytes : 0;
  if (number < kRegions && offset <= region_bytes && size_bytes <= region_bytes - offset) return {};
  return named({fmt::format("cannot {} {} bytes at {:#x} of region {}, which has {}", verb, size_bytes, offset, number,
                            region_bytes),
                {},
                0});
}

Result<void> ClientDevice::read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) {
  if (auto good = checked(index, offset, into.size(), "read"); !good) return good;
  const std::uint64_t most = session_->terms().capabilities.max_data_xfer_size;
  while (!into.empty()) {
    const RegionAccessPayload request{offset, static_cast<std::uint32_t>(index),
                                      static_cast<std::uint32_t>(std::min<std::uint64_t>(into.size(), most))};
    const auto answer = session_->request(Command::region_read, std::as_bytes(std::span(&request, 1)));
    if (!answer) return named(answer.error());
    const auto got = read_part<RegionAccessPayload>(answer->payload);
    if (!got) return named(got.error());
    if (got->count != request.count || answer->payload.size() != sizeof *got + request.count)
      return named({fmt::format("{} bytes were asked for at {:#x} of region {} and {} came", request.count, offset,
                                request.region, answer->payload.size() - sizeof *got),
                    {},
                    0});
    std::memcpy(into.data(), answer->payload.data() + sizeof *got, request.count);
    into = into.subspan(request.count);
    offset += request.count;
  }
  return {};
}

Result<void> ClientDevice::write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) {
  if (auto good = checked(index, offset, from.size(), "write"); !good) return good;
  if (index != RegionIndex::config && from.size() > kRegisterBytes) return write_by_register(index, offset, from);
  const std::uint64_t most = session_->terms().capabilities.max_data_xfer_size;
  while (!from.empty()) {
    const auto part = from.first(std::min<std::uint64_t>(from.size(), most));
    std::vector<std::byte> payload;
    append(payload,
           RegionAccessPayload{offset, static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(part.size())});
    payload.insert(payload.end(), part.begin(), part.end());
    const auto answer = session_->request(Command::region_write, payload);
    if (!answer) return named(answer.error());
    const auto done = read_part<RegionAccessPayload>(answer->payload);
    if (!done) return named(done.error());
    if (done->count != part.size())
      return named({fmt::format("{} of {} bytes were written at {:#x} of region {}", done->count, part.size(), offset,
                                static_cast<unsigned>(index)),
                    {},
                    0});
    from = from.subspan(part.size());
    offset += part.size();
  }
  return {};
}

// Registers take 8 bytes at most: several writes, in one message where the server takes that.
Result<void> ClientDevice::write_by_register(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) {
  if (!session_->terms().capabilities.write_multiple) {
    for (std::uint64_t done = 0; done < from.size(); done += kRegisterBytes) {
      const auto part = from.subspan(done, std::min<std::uint64_t>(kRegisterBytes, from.size() - done));
      if (auto written = write(index, offset + done, part); !written) return written;
    }
    return {};
  }
  const std::uint64_t writes = (from.size() + kRegisterBytes - 1) / kRegisterBytes;
  std::vector<std::byte> payload;
  append(payload, writes);
  for (std::uint64_t done = 0; done < from.size(); done += kRegisterBytes) {
    const auto part = from.subspan(done, std::min<std::uint64_t>(kRegisterBytes, from.size() - done));
    SingleWrite one{offset + done, static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(part.size())};
    std::memcpy(&one.data, part.data(), part.size());
    append(payload, one);
  }
  if (payload.size() > kMaxPayloadBytes) return named({fmt::format("{} bytes for one write", from.size()), {}, 0});
  const auto answer = session_->request(Command::region_write_multi, payload);
  if (!answer) return named(answer.error());
  const auto done = read_part<std::uint64_t>(answer->payload);
  if (!done) return named(done.error());
  if (*done != writes) return named({fmt::format("{} of {} writes were done", *done, writes), {}, 0});
  return {};
}

Result<MappedArea> ClientDevice::map(RegionIndex index, RegionArea area) {
  if (auto good = checked(index, area.offset, area.size_bytes, "map"); !good) return std::unexpected(good.error());
  const Region& region = facts_.regions[static_cast<std::size_t>(index)];
  const bool inside = std::ranges::any_of(region.info.mappable, [&](const RegionArea& whole) {
    return area.offset >= whole.offset && area.offset - whole.offset <= whole.size_bytes &&
           area.size_bytes <= whole.size_bytes - (area.offset - whole.offset);
  });
  if (!inside || area.size_bytes == 0)
    return named({fmt::format("{:#x}+{:#x} of region {} may not be mapped", area.offset, area.size_bytes,
                              static_cast<unsigned>(index)),
                  "read and write it by call", 0});
  const auto address = map_at(nullptr, index, area);
  if (!address) return named(address.error());
  const auto mapping = mappings_.insert(mappings_.end(), {*address, index, area});
  return MappedArea(static_cast<volatile std::byte*>(*address), area, [this, mapping] {
    munmap(mapping->address, mapping->area.size_bytes);
    mappings_.erase(mapping);
  });
}

// Over what is mapped at `address`; null: wherever there is room.
Result<void*> ClientDevice::map_at(void* address, RegionIndex index, RegionArea area) {
  const Region& region = facts_.regions[static_cast<std::size_t>(index)];
  const std::uint64_t offset = region.file_offset + area.offset;
  struct stat file{};
  // A touch beyond the file's end would be a SIGBUS.
  if (fstat(region.file.get(), &file) != 0 || offset < area.offset ||
      offset > static_cast<std::uint64_t>(file.st_size) ||
      area.size_bytes > static_cast<std::uint64_t>(file.st_size) - offset)
    return fail(fmt::format("{:#x}+{:#x} of region {} lies outside the file that the server gave for it", area.offset,
                            area.size_bytes, static_cast<unsigned>(index)));
  const int protection = (region.info.readable ? PROT_READ : 0) | (region.info.writable ? PROT_WRITE : 0);
  const int flags = MAP_SHARED | (address != nullptr ? MAP_FIXED : 0);
  void* const mapped = mmap(address, area.size_bytes, protection, flags, region.file.get(), static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return fail_errno(errno, "cannot map the file that the server gave for a region");
  return mapped;
}

// Whatever was told of the device before must still hold: others have made plans on it.
std::expected<void, NotBack> ClientDevice::reconnect() {
  const auto named_not_back = [&](const NotBack& not_back) {
    return std::unexpected(NotBack{named(not_back.why).error(), not_back.is_final});
  };
  const auto failed = [&](const Error& why) { return named_not_back(session_->not_back(why)); };
  const auto another = [&](const std::string& what) {
    return named_not_back({{"another device answers: " + what, "open the drive anew"}, true});
  };
  if (space_ == nullptr) return named_not_back({{"the device was given back", {}}, true});
  if (auto back = space_->reconnect(address_.target); !back) return named_not_back(back.error());
  auto facts = ask();
  if (!facts) return failed(facts.error());
  for (std::size_t number = 0; number < kRegions; ++number) {
    const RegionInfo &before = facts_.regions[number].info, &now = facts->regions[number].info;
    // What may be written too: a doorbell that lies under a mapping is stored to without a look.
    if (now.size_bytes != before.size_bytes || now.mappable != before.mappable || now.readable != before.readable ||
        now.writable != before.writable)
      return another(fmt::format("its region {} differs", number));
  }
  for (std::size_t number = 0; number < kInterruptKinds; ++number) {
    std::vector<int> fds;
    for (const Vector& vector : installed_[number]) fds.push_back(vector.eventfd.get());
    const auto fits = check_eventfds("the device", static_cast<InterruptIndex>(number), facts->interrupts[number], fds);
    if (!fits) return another(fits.error().message());
  }
  // What an owner that writes its doorbell by message may look at just now stays: it is equal. The rest is this
  // thread's.
  facts_.can_reset = facts->can_reset;
  facts_.interrupts = facts->interrupts;
  for (std::size_t number = 0; number < kRegions; ++number) {
    facts_.regions[number].file_offset = facts->regions[number].file_offset;
    facts_.regions[number].file = std::move(facts->regions[number].file);
  }
  for (const Mapping& one : mappings_)
    if (auto mapped = map_at(one.address, one.index, one.area); !mapped) return failed(mapped.error());
  if (auto taken = hand_over(*this); !taken) return failed(taken.error());
  for (std::size_t number = 0; number < kInterruptKinds; ++number)
    if (auto done = install(static_cast<InterruptIndex>(number)); !done) return failed(done.error());
  return {};
}

Result<InterruptInfo> ClientDevice::interrupt_info(InterruptIndex index) {
  const auto number = static_cast<std::size_t>(index);
  return number < kInterruptKinds ? facts_.interrupts[number] : InterruptInfo{};
}

Result<void> ClientDevice::set_range(InterruptIndex index, std::uint32_t flags, std::uint32_t start,
                                     std::uint32_t count, std::span<const int> fds) {
  InterruptSetPayload request;
  request.flags = flags;
  request.index = static_cast<std::uint32_t>(index);
  request.start = start;
  request.count = count;
  const auto answer = session_->request(Command::device_set_irqs, std::as_bytes(std::span(&request, 1)), fds);
  if (!answer) return named(answer.error());
  return {};
}

// A vector is not taken away by itself, since not every server takes that: all of the kind are turned off first.
Result<void> ClientDevice::set_interrupts(InterruptIndex index, std::span<const int> eventfds) {
  const auto info = interrupt_info(index);
  if (const auto fits = check_eventfds(address_.text, index, *info, eventfds); !fits) return fits;
  if (info->count == 0) return {};
  std::vector<Vector> next(eventfds.size());
  for (std::size_t vector = 0; vector < next.size(); ++vector) {
    next[vector].is_stand_in = eventfds[vector] < 0;
    next[vector].eventfd = FileDescriptor(next[vector].is_stand_in ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
                                                                   : fcntl(eventfds[vector], F_DUPFD_CLOEXEC, 0));
    if (!next[vector].eventfd) {
      const auto failed = fail_errno(errno, "cannot keep an eventfd");
      return named(failed.error());
    }
  }
  std::vector<Vector>& installed = installed_[static_cast<std::size_t>(index)];
  const bool takes_away = next.size() < installed.size() || (info->noresize && next.size() > installed.size());
  if (takes_away && !installed.empty())
    if (auto off = turn_off(index); !off) return off;
  installed.swap(next);
  if (auto done = install(index); !done) return done;
  // What has come for a vector meanwhile was pending.
  const std::vector<Vector>& before = next;
  for (std::size_t vector = 0; vector < std::min(before.size(), installed.size()); ++vector) {
    eventfd_t count = 0;
    if (before[vector].is_stand_in && eventfd_read(before[vector].eventfd.get(), &count) == 0)
      (void)eventfd_write(installed[vector].eventfd.get(), 1);
  }
  return {};
}

Result<void> ClientDevice::turn_off(InterruptIndex index) {
  if (auto stopped = enable_interrupts(*this, index, 0); !stopped) return stopped;
  return set_range(index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
}

// A message carries as many descriptors as the server takes: ranges, one after the other.
Result<void> ClientDevice::install(InterruptIndex index) {
  const std::vector<Vector>& installed = installed_[static_cast<std::size_t>(index)];
  if (installed.empty()) return {};
  std::vector<int> fds;
  for (const Vector& vector : installed) fds.push_back(vector.eventfd.get());
  const std::size_t most = session_->terms().capabilities.max_msg_fds;
  for (std::size_t start = 0; start < fds.size(); start += most) {
    const auto range = std::span(fds).subspan(start, std::min(most, fds.size() - start));
    constexpr std::uint32_t kOn = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const auto set =
        set_range(index, kOn, static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(range.size()), range);
    if (!set) return set;
  }
  return enable_interrupts(*this, index, fds.size());
}

Result<void> ClientDevice::unmask_interrupt(InterruptIndex index) {
  return set_range(index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1);
}

Result<void> ClientDevice::trigger_interrupts(InterruptIndex index) {
  const auto number = static_cast<std::size_t>(index);
  const auto count = static_cast<std::uint32_t>(number < kInterruptKinds ? installed_[number].size() : 0);
  if (count == 0) return named({"no interrupts are installed that could be triggered", {}, 0});
  return set_range(index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, count);
}

Result<void> ClientDevice::reset() {
  if (!facts_.can_reset) return named({"the server's device has no reset", {}, 0});
  const auto done = session_->request(Command::device_reset, {});
  if (!done) return named(done.error());
  return {};
}

}  // namespace pollux::vfio::user
