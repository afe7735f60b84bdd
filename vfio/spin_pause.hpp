// A word to the processor in a loop that looks at memory again and again.
#pragma once

namespace pollux {

// Leaves the core to its other thread for a moment. From any thread; it orders nothing, and holds the compiler alone.
inline void spin_pause() {
#if defined(__x86_64__)
  asm volatile("pause" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

}  // namespace pollux
