#include "pollux/vfio/pci/open_files.hpp"

#include <fmt/format.h>

#include <charconv>

namespace pollux::vfio {

Process process_of(const Sysfs& sysfs, int pid) { return {pid, sysfs.line(fmt::format("/proc/{}/comm", pid))}; }

void each_open_file(const Sysfs& sysfs, const std::function<void(int pid, const std::string& file)>& meet) {
  for (const auto& entry : sysfs.names("/proc")) {
    int pid = 0;
    const auto [stop, error] = std::from_chars(entry.data(), entry.data() + entry.size(), pid);
    if (error != std::errc{} || stop != entry.data() + entry.size()) continue;
    const std::string folder = "/proc/" + entry + "/fd";
    for (const auto& file : sysfs.names(folder)) meet(pid, folder + "/" + file);
  }
}

std::string describe(const std::vector<Process>& processes) {
  std::string text;
  for (const auto& process : processes)
    text += fmt::format("{}{} (pid {})", text.empty() ? "" : ", ", process.name, process.pid);
  return text;
}

}  // namespace pollux::vfio
