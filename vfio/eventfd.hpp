// An eventfd, closed by scope: what set_interrupts() is given, and what a thread sleeps on. Each interrupt adds 1 to
// its count. No wakeup is lost by whoever goes round in this order: drain(), look for what there is to do, and wait()
// only if there was nothing. An interrupt that comes after the look is then still in the count. Any thread. Source:
// eventfd(2).
#pragma once

#include <cstdint>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"

namespace pollux::vfio {

class Eventfd {
 public:
  // Its count is 0, it does not block and is not inherited. Error: no descriptor left.
  static Result<Eventfd> create();

  // One for another thread to sleep on: several hear every interrupt that comes to this one from then on, whichever of
  // them drains its own first, and count several as one. Nobody drains this one any more; it outlives them. Error: no
  // descriptor left. Source: epoll(7), edge-triggered: each signal is an event of its own for each listener.
  Result<Eventfd> listener() const;

  int fd() const { return file_.get(); }

  // Sleeps until the count is not 0, at most `timeout_ns`; 0 only looks. True: it is not 0, and stays so until drain().
  bool wait(std::uint64_t timeout_ns) const;

  // Takes the count back to 0 and returns what it was: how many interrupts came since the last time.
  std::uint64_t drain() const;

 private:
  explicit Eventfd(FileDescriptor file, bool is_listener = false) : file_(std::move(file)), is_listener_(is_listener) {}

  FileDescriptor file_;  // an eventfd; a listener's is an epoll instance
  bool is_listener_;
};

}  // namespace pollux::vfio
