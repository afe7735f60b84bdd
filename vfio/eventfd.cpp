#include "pollux/vfio/eventfd.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <cerrno>

#include "pollux/vfio/clock.hpp"

namespace pollux::vfio {

Result<Eventfd> Eventfd::create() {
  FileDescriptor file(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!file) return fail_errno(errno, "cannot make an eventfd");
  return Eventfd(std::move(file));
}

bool Eventfd::wait(std::uint64_t timeout_ns) const {
  constexpr std::uint64_t kNsPerSecond = 1'000 * kNsPerMs;
  const std::uint64_t start_ns = steady_clock().now_ns();
  for (std::uint64_t passed_ns = 0;; passed_ns = steady_clock().now_ns() - start_ns) {
    const std::uint64_t left_ns = passed_ns < timeout_ns ? timeout_ns - passed_ns : 0;
    const timespec left{static_cast<time_t>(left_ns / kNsPerSecond), static_cast<long>(left_ns % kNsPerSecond)};
    pollfd entry{file_.get(), POLLIN, 0};
    const int ready = ppoll(&entry, 1, &left, nullptr);
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

std::uint64_t Eventfd::drain() const {
  std::uint64_t count = 0;
  return ::read(file_.get(), &count, sizeof count) == sizeof count ? count : 0;
}

}  // namespace pollux::vfio
