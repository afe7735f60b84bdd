// The program softnvme, run in the background by a test, and a folder for its socket.
#pragma once

#include <sys/types.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "pollux/vfio/clock.hpp"

namespace pollux::softnvme {

inline constexpr std::uint64_t kPatienceNs = 10'000'000'000;

// Asks again and again, up to kPatienceNs.
template <typename Done>
bool wait_until(Done&& done) {
  const std::uint64_t end_ns = steady_clock().now_ns() + kPatienceNs;
  while (!done()) {
    if (steady_clock().now_ns() > end_ns) return false;
    steady_clock().pause_ns(2 * kNsPerMs);
  }
  return true;
}

struct Folder {
  Folder();
  Folder(const Folder&) = delete;
  ~Folder();

  std::string path;
  std::string socket;
};

// Serves at the folder's socket from when it is made. What it prints goes to a file there.
class ServerProgram {
 public:
  ServerProgram(const Folder& folder, std::vector<std::string> arguments);
  ServerProgram(const ServerProgram&) = delete;
  ~ServerProgram();

  // The exit code; −1: it was ended by the signal.
  int end(int signal);

  void freeze();  // until thaw(), or end(SIGKILL)
  void thaw();

  pid_t pid() const { return pid_; }
  std::string output() const;
  bool says(const std::string& text) const;  // now or soon

 private:
  std::string log_;
  pid_t pid_ = -1;
};

}  // namespace pollux::softnvme
