#include "pollux/vfio/eventfd.hpp"

#include <poll.h>
#include <sys/epoll.h>
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

Result<Eventfd> Eventfd::listener() const {
  FileDescriptor file(epoll_create1(EPOLL_CLOEXEC));
  if (!file) return fail_errno(errno, "cannot make an epoll instance");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (epoll_ctl(file.get(), EPOLL_CTL_ADD, file_.get(), &event) != 0) {
    return fail_errno(errno, "cannot listen to an eventfd");
  }
  return Eventfd(std::move(file), true);
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
  if (is_listener_) {
    epoll_event event{};
    return epoll_wait(file_.get(), &event, 1, 0) == 1 ? 1 : 0;
  }
  std::uint64_t count = 0;
  return ::read(file_.get(), &count, sizeof count) == sizeof count ? count : 0;
}

}  // namespace pollux::vfio
