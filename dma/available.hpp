// How much ordinary memory this process can still have, and what bounds it. The kernel does not refuse what goes beyond
// it, it kills: the machine's OOM killer, or that of a control group.
// Source: proc_meminfo(5) (MemAvailable); the kernel's Documentation/admin-guide/cgroup-v2.rst (memory.max,
// memory.current, memory.stat) and cgroup-v1/memory.rst.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pollux::dma {

struct Available {
  std::optional<std::uint64_t> bytes;  // nothing: the kernel does not tell
  // "the control group /a/b may use 67108864 bytes (memory.max)"; empty: it is the machine's memory.
  std::string bound;
};

// `root`: where a test keeps a /proc and a /sys of its own. Any thread.
Available available_memory(const std::string& root = {});

}  // namespace pollux::dma
