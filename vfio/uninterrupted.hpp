// System calls that a signal handler may end early (EINTR, signal(7)): made again, so that no interval timer of the
// application turns up as an error of ours. Bounded: a call that is never left the time to end is an error with EINTR.
// Not for close(2), which has closed the descriptor by then, and not where a deadline passes meanwhile: that is counted
// down at its place. Any thread.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "pollux/vfio/file_descriptor.hpp"

namespace pollux::vfio {

inline constexpr unsigned kMaxInterruptions = 10'000;  // of one call: with a timer of a millisecond, ten seconds

// What `call` returns, which is negative, with errno set, where it failed.
template <typename Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  for (unsigned again = 0; result < 0 && errno == EINTR && again < kMaxInterruptions; ++again) result = call();
  return result;
}

// ioctl(2).
template <typename... Argument>
int control(int fd, unsigned long request, Argument... argument) {
  return uninterrupted([&] { return ioctl(fd, request, argument...); });
}

// open(2), without O_CREAT. Empty, with errno set, where it failed.
inline FileDescriptor open_file(const char* path, int flags) {
  return FileDescriptor(uninterrupted([&] { return ::open(path, flags); }));
}

}  // namespace pollux::vfio
