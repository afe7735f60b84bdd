#include "pollux/dma/available.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string_view>

namespace pollux::dma {
namespace {

constexpr std::size_t kMaxGroupDepth = 64;  // how far up a control group's parents are asked

// The files of one version of control groups.
struct Version {
  std::string_view folder;  // where the hierarchy is mounted
  const char *limit, *usage;
  std::string_view cache[2];  // in memory.stat: what the kernel takes back before it kills
};
constexpr Version kVersion2{"/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file ", "active_file "}};
constexpr Version kVersion1{"/sys/fs/cgroup/memory",
                            "memory.limit_in_bytes",
                            "memory.usage_in_bytes",
                            {"total_inactive_file ", "total_active_file "}};

// Nothing: no such file, or "max".
std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

std::uint64_t sum_of_lines(const std::string& path, std::span<const std::string_view> names, std::uint64_t unit) {
  std::ifstream file(path);
  std::uint64_t sum = 0;
  for (std::string line; std::getline(file, line);) {
    for (const std::string_view name : names) {
      if (line.starts_with(name)) sum += std::strtoull(line.c_str() + name.size(), nullptr, 10) * unit;
    }
  }
  return sum;
}

std::optional<std::uint64_t> machine_bytes(const std::string& root) {
  constexpr std::string_view kName[] = {"MemAvailable:"};
  const std::uint64_t bytes = sum_of_lines(root + "/proc/meminfo", kName, 1024);
  if (bytes == 0) return std::nullopt;
  return bytes;
}

// Every group from this one up to the root bounds what its processes have together.
void bound_by_groups(const Version& version, const std::string& root, std::string group, Available& available) {
  for (std::size_t depth = 0; depth < kMaxGroupDepth; ++depth) {
    const std::string folder = fmt::format("{}{}{}/", root, version.folder, group == "/" ? "" : group);
    const auto limit = number_in(folder + version.limit), usage = number_in(folder + version.usage);
    if (limit && usage) {
      const std::uint64_t used = *usage - std::min(*usage, sum_of_lines(folder + "memory.stat", version.cache, 1));
      const std::uint64_t left = *limit - std::min(*limit, used);
      if (!available.bytes || left < *available.bytes) {
        available = {left, fmt::format("the control group {} may use {} bytes ({})", group.empty() ? "/" : group,
                                       *limit, version.limit)};
      }
    }
    if (group.empty() || group == "/") return;
    group.erase(group.rfind('/'));
  }
}

}  // namespace

Available available_memory(const std::string& root) {
  Available available{machine_bytes(root), {}};
  std::ifstream groups(root + "/proc/self/cgroup");
  // "HIERARCHY:CONTROLLERS:PATH", and "0::PATH" is version 2.
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos || line[second + 1] != '/') continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (line.starts_with("0::")) bound_by_groups(kVersion2, root, group, available);
    if (controllers.find(",memory,") != std::string::npos) bound_by_groups(kVersion1, root, group, available);
  }
  return available;
}

}  // namespace pollux::dma
