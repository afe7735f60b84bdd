#include "pollux/vfio/abi/interrupt_set.hpp"

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pollux::vfio {
namespace {

const char* name_of(InterruptIndex index) {
  constexpr const char* kNames[] = {"INTx", "MSI", "MSI-X", "error", "request"};
  return kNames[static_cast<std::size_t>(index)];
}

}  // namespace

Result<void> check_eventfds(std::string_view target, InterruptIndex index, const InterruptInfo& info,
                            std::span<const int> eventfds) {
  if (eventfds.empty()) return {};
  if (info.count == 0) return fail(fmt::format("{} has no {} interrupts", target, name_of(index)));
  if (!info.eventfd) return fail(fmt::format("{} signals no eventfd for its {} interrupts", target, name_of(index)));
  if (eventfds.size() > info.count)
    return fail(fmt::format("{} eventfds for the {} interrupts of {}", eventfds.size(), name_of(index), target),
                fmt::format("it has {} vectors", info.count));
  if (const auto wrong = std::ranges::find_if(eventfds, [](int fd) { return fd < -1; }); wrong != eventfds.end())
    return fail(fmt::format("{} is no eventfd for vector {} of the {} interrupts of {}", *wrong,
                            wrong - eventfds.begin(), name_of(index), target),
                "-1 leaves a vector out");
  return {};
}

std::vector<std::byte> pack_interrupt_set(InterruptIndex index, std::span<const int> eventfds) {
  static_assert(sizeof(int) == sizeof(std::int32_t), "the kernel reads 32 bits a descriptor");
  vfio_irq_set head{};
  head.argsz = static_cast<std::uint32_t>(sizeof head + eventfds.size_bytes());
  head.flags = VFIO_IRQ_SET_ACTION_TRIGGER | (eventfds.empty() ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD);
  head.index = static_cast<std::uint32_t>(index);
  head.count = static_cast<std::uint32_t>(eventfds.size());
  std::vector<std::byte> set(head.argsz);
  std::memcpy(set.data(), &head, sizeof head);
  std::ranges::copy(std::as_bytes(eventfds), set.begin() + sizeof head);
  return set;
}

std::vector<std::byte> pack_interrupt_action(InterruptIndex index, std::uint32_t action, std::uint32_t count) {
  vfio_irq_set head{};
  head.argsz = sizeof head;
  head.flags = action | VFIO_IRQ_SET_DATA_NONE;
  head.index = static_cast<std::uint32_t>(index);
  head.count = count;
  std::vector<std::byte> set(sizeof head);
  std::memcpy(set.data(), &head, sizeof head);
  return set;
}

Result<void> interrupt_set_result(std::string_view target, InterruptIndex index, std::size_t eventfds, int returned,
                                  int os_error) {
  if (returned == 0) return {};
  if (returned > 0)
    return fail(fmt::format("the kernel has {} vectors for the {} interrupts of {}, not {}", returned, name_of(index),
                            target, eventfds),
                "ask for fewer");
  const char* advice = "";
  if (os_error == EINVAL)
    advice = "a descriptor is no eventfd, or interrupts of another kind are installed: take those off first";
  if (os_error == EBADF) advice = "a descriptor is not open";
  return fail_errno(os_error,
                    fmt::format("VFIO_DEVICE_SET_IRQS failed for the {} interrupts of {}, {} eventfds", name_of(index),
                                target, eventfds),
                    advice);
}

}  // namespace pollux::vfio
