// An application's interval timer: SIGALRM every millisecond, into a handler that was installed without SA_RESTART, so
// that it ends every system call that can be ended.
#pragma once

#include <signal.h>
#include <sys/time.h>

#include <atomic>

namespace pollux::test {

class Ticker {
 public:
  Ticker() {
    ticks = 0;
    struct sigaction action{};
    action.sa_handler = [](int) { ticks.fetch_add(1, std::memory_order_relaxed); };
    sigaction(SIGALRM, &action, &before_);
    const itimerval each_ms{.it_interval = {0, 1000}, .it_value = {0, 1000}};
    setitimer(ITIMER_REAL, &each_ms, nullptr);
  }
  ~Ticker() {
    const itimerval off{};
    setitimer(ITIMER_REAL, &off, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  static inline std::atomic<unsigned> ticks = 0;  // of the one that lives, or lived last

 private:
  struct sigaction before_{};
};

}  // namespace pollux::test
