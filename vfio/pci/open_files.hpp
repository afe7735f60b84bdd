// Which processes have a file open, as far as /proc shows it: without root (or CAP_SYS_PTRACE) that is our own alone,
// and of another PID namespace than ours nothing. Source: proc_pid_fd(5).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

struct Process {
  int pid;
  std::string name;
};

// The process with its name.
Process process_of(const Sysfs& sysfs, int pid);

// Calls `meet` with every open file, "/proc/PID/fd/N", process after process.
void each_open_file(const Sysfs& sysfs, const std::function<void(int pid, const std::string& file)>& meet);

// "fio (pid 4711), pollux-bench (pid 4712)"; empty for none.
std::string describe(const std::vector<Process>& processes);

}  // namespace pollux::vfio
