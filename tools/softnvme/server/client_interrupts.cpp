#include "pollux/tools/softnvme/server/client_interrupts.hpp"

#include <linux/vfio.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "pollux/vfio/uninterrupted.hpp"
#include "pollux/vfio/user/protocol.hpp"

namespace pollux::softnvme::server {
namespace {

using vfio::FileDescriptor;
using vfio::InterruptIndex;
using vfio::user::InterruptSetPayload;

static_assert(sizeof(InterruptSetPayload) == sizeof(vfio_irq_set));

constexpr std::uint32_t kAllData = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD;
constexpr std::uint32_t kMasking = VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK;

std::unexpected<Error> refuse(const InterruptSetPayload& wanted, int os_error, std::string_view why) {
  return fail_errno(os_error, fmt::format("interrupts {} to {} of index {}, flags {:#x}: {}", wanted.start,
                                          std::uint64_t{wanted.start} + wanted.count, wanted.index, wanted.flags, why));
}

// A write to anything else could block, or do who knows what.
bool is_eventfd(const FileDescriptor& file) {
  char target[64];
  const ssize_t length = readlink(fmt::format("/proc/self/fd/{}", file.get()).c_str(), target, sizeof target);
  return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == "anon_inode:[eventfd]";
}

// Whether a write finds room: one that is full has been signalled anyway.
bool has_room(const FileDescriptor& eventfd) {
  pollfd entry{eventfd.get(), POLLOUT, 0};
  return vfio::uninterrupted([&] { return poll(&entry, 1, 0); }) == 1;  // EINTR, although it does not wait
}

}  // namespace

Result<void> ClientInterrupts::set(std::span<const std::byte> payload, std::vector<FileDescriptor> fds) {
  const Result<InterruptSetPayload> read = vfio::user::read_part<InterruptSetPayload>(payload);
  if (!read) return fail_errno(EINVAL, read.error().what);
  const InterruptSetPayload& wanted = *read;
  const std::uint32_t data = wanted.flags & kAllData;
  const std::uint32_t action = wanted.flags & ~kAllData;
  if (wanted.argsz < sizeof wanted || wanted.index >= VFIO_PCI_NUM_IRQS)
    return refuse(wanted, EINVAL, fmt::format("argsz {}, or no such index", wanted.argsz));
  const auto index = static_cast<InterruptIndex>(wanted.index);
  const Result<vfio::InterruptInfo> info = device_.interrupt_info(index);
  if (!info) return std::unexpected(info.error());
  if (wanted.count > info->count || wanted.start > info->count - wanted.count)
    return refuse(wanted, EINVAL, fmt::format("there are {}", info->count));
  if (action != 0 && (action & ~kMasking) == 0) return refuse(wanted, EOPNOTSUPP, "they cannot be masked");
  if (action != VFIO_IRQ_SET_ACTION_TRIGGER) return refuse(wanted, EINVAL, "no action, or several");
  const std::span<const std::byte> chosen = payload.subspan(sizeof wanted);
  switch (data) {
    case VFIO_IRQ_SET_DATA_NONE:
      if (wanted.count == 0 && wanted.start == 0) return turn_off(index);
      return trigger(wanted, {});
    case VFIO_IRQ_SET_DATA_BOOL:
      if (chosen.size() != wanted.count)
        return refuse(wanted, EINVAL, fmt::format("{} bytes of choice", chosen.size()));
      return trigger(wanted, chosen);
    case VFIO_IRQ_SET_DATA_EVENTFD:
      return install(wanted, std::move(fds));
    default:
      return refuse(wanted, EINVAL, "no kind of data, or several");
  }
}

Result<void> ClientInterrupts::turn_off(InterruptIndex index) {
  Result<void> off = device_.install_eventfds(index, {});
  if (off && kind_ == index) eventfds_.clear();
  return off;
}

Result<void> ClientInterrupts::install(const InterruptSetPayload& wanted, std::vector<FileDescriptor> fds) {
  if (!fds.empty() && fds.size() != wanted.count)
    return refuse(wanted, EINVAL, fmt::format("{} descriptors with it", fds.size()));
  if (!std::ranges::all_of(fds, is_eventfd)) return refuse(wanted, EINVAL, "a descriptor is no eventfd");
  const auto index = static_cast<InterruptIndex>(wanted.index);
  std::vector<int> next;
  if (kind_ == index) std::ranges::transform(eventfds_, std::back_inserter(next), &FileDescriptor::get);
  const std::size_t end = wanted.start + wanted.count;
  if (!fds.empty()) next.resize(std::max(next.size(), end), -1);
  // Without descriptors the range loses those that it has.
  for (std::size_t v = wanted.start; v < std::min(end, next.size()); ++v)
    next[v] = fds.empty() ? -1 : fds[v - wanted.start].get();
  if (next.empty()) return {};
  if (Result<void> done = device_.install_eventfds(index, next); !done) return done;
  kind_ = index;
  eventfds_.resize(next.size());
  for (std::size_t v = wanted.start; v < std::min(end, next.size()); ++v)
    eventfds_[v] = fds.empty() ? FileDescriptor() : std::move(fds[v - wanted.start]);
  return {};
}

Result<void> ClientInterrupts::trigger(const InterruptSetPayload& wanted, std::span<const std::byte> chosen) const {
  if (eventfds_.empty() || kind_ != static_cast<InterruptIndex>(wanted.index))
    return refuse(wanted, EINVAL, "none of these are installed");
  constexpr std::uint64_t kOne = 1;
  for (std::size_t i = 0; i < wanted.count && wanted.start + i < eventfds_.size(); ++i) {
    const FileDescriptor& eventfd = eventfds_[wanted.start + i];
    if (!eventfd || (!chosen.empty() && chosen[i] == std::byte{0}) || !has_room(eventfd)) continue;
    if (write(eventfd.get(), &kOne, sizeof kOne) != sizeof kOne) return refuse(wanted, errno, "cannot signal");
  }
  return {};
}

}  // namespace pollux::softnvme::server
