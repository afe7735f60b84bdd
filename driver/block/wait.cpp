#include "pollux/driver/block/wait.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pollux {
namespace {

enum class Monitor : std::uint8_t { none, waitpkg, monitorx };

// Intel SDM, CPUID leaf 07h: ECX bit 5 is WAITPKG. AMD APM, CPUID leaf 80000001h: ECX bit 29 is MONITORX.
Monitor find_monitor() {
#if defined(__x86_64__)
  constexpr unsigned kWaitpkg = 1u << 5, kMonitorx = 1u << 29;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kWaitpkg) != 0) return Monitor::waitpkg;
  if (__get_cpuid(0x8000'0001, &eax, &ebx, &ecx, &edx) != 0 && (ecx & kMonitorx) != 0) return Monitor::monitorx;
#endif
  return Monitor::none;
}

const Monitor kMonitor = find_monitor();

}  // namespace

Result<void> can_wait(Wait wait) {
  if (wait != Wait::monitor || kMonitor != Monitor::none) return {};
  return fail("this processor cannot wait for a write: it has neither WAITPKG (umwait) nor MONITORX (mwaitx)",
              "choose poll, adaptive or interrupt");
}

void wait_for_write(const std::uint64_t* word, std::uint64_t value) noexcept {
#if defined(__x86_64__)
  constexpr std::uint64_t kTicks = 100'000;  // some tens of microseconds: a reset is noticed in time
  if (kMonitor == Monitor::waitpkg) {
    asm volatile("umonitor %0" : : "r"(word) : "memory");
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return;
    const std::uint64_t end = __builtin_ia32_rdtsc() + kTicks;
    // C0.1: the lighter sleep, out of which the processor is back sooner.
    asm volatile("umwait %0"
                 :
                 : "r"(1u), "a"(static_cast<std::uint32_t>(end)), "d"(static_cast<std::uint32_t>(end >> 32))
                 : "cc", "memory");
  } else if (kMonitor == Monitor::monitorx) {
    asm volatile("monitorx" : : "a"(word), "c"(0u), "d"(0u) : "memory");
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return;
    asm volatile("mwaitx" : : "a"(0u), "b"(static_cast<std::uint32_t>(kTicks)), "c"(2u) : "memory");  // 2: the timer
  }
#else
  static_cast<void>(word);
  static_cast<void>(value);
#endif
}

std::string_view name_of(Wait wait) noexcept {
  switch (wait) {
    case Wait::poll:
      return "poll";
    case Wait::adaptive:
      return "adaptive";
    case Wait::interrupt:
      return "interrupt";
    case Wait::monitor:
      return "monitor";
  }
  return "";
}

}  // namespace pollux
