// Runs a program as a child of the test: its exit, what it printed; on request with a terminal as its standard error,
// with a signal on the way, or with a limit on the files that it writes. Bounded: after kTimeoutS it is killed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace pollux::bench {

struct ProgramOptions {
  bool terminal = false;  // standard error is a terminal
  int signal = 0;         // sent once the program catches it and `signal_after` has passed
  std::chrono::milliseconds signal_after{300};
  int signals = 1;             // how many, 100 ms apart
  bool unread_output = false;  // standard output is a full pipe that nobody reads: the program hangs when it reports
  std::uint64_t file_limit_bytes = 0;  // RLIMIT_FSIZE; 0: none
};

struct ProgramResult {
  int exit_code = -1;  // -1: ended by a signal
  int ended_by = 0;    // that signal
  std::string out, err;
};

inline constexpr int kTimeoutS = 60;

ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramOptions& options = {});

}  // namespace pollux::bench
