// The lock between a controller's thread, which takes it again and again, and everybody else, who wants it seldom and
// soon: the thread steps back while a visitor waits. Without that a spinning thread could keep a mutex for seconds.
#pragma once

#include <atomic>
#include <mutex>

namespace pollux::softnvme {

class Gate {
 public:
  // For visitors: a BasicLockable, so that std::lock_guard fits.
  void lock() {
    visitors_.fetch_add(1, std::memory_order_relaxed);
    mutex_.lock();
    visitors_.fetch_sub(1, std::memory_order_relaxed);
  }
  void unlock() { mutex_.unlock(); }

  // For the controller's thread: false while a visitor waits or is inside.
  bool try_lock_as_owner() { return !is_wanted() && mutex_.try_lock(); }
  bool is_wanted() const { return visitors_.load(std::memory_order_relaxed) != 0; }

 private:
  std::mutex mutex_;
  std::atomic<unsigned> visitors_ = 0;
};

}  // namespace pollux::softnvme
