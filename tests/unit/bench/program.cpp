#include "pollux/tests/unit/bench/program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <system_error>
#include <thread>

namespace pollux::bench {
namespace {

using Time = std::chrono::steady_clock;

// No REQUIRE: a test may run the program in another thread than its own, and Catch knows one thread.
void must(bool done, const char* what) {
  if (!done) throw std::system_error(errno, std::generic_category(), what);
}

[[noreturn]] void become(const std::vector<std::string>& arguments, int out, int err, const ProgramOptions& options) {
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  if (options.file_limit_bytes != 0) {
    const rlimit limit{options.file_limit_bytes, options.file_limit_bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  _exit(127);
}

// Whether the process has a handler for the signal: /proc/PID/status, SigCgt.
bool catches(pid_t pid, int signal) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigCgt:")) return (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0;
  }
  return false;
}

void send_signals(pid_t pid, const ProgramOptions& options, Time::time_point deadline) {
  while (!catches(pid, options.signal) && Time::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::this_thread::sleep_for(options.signal_after);
  for (int i = 0; i < options.signals; ++i) {
    if (i != 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    kill(pid, options.signal);
  }
}

void fill_pipe(int end) {
  fcntl(end, F_SETFL, O_NONBLOCK);
  const std::string zeros(4096, '\0');
  while (write(end, zeros.data(), zeros.size()) > 0) {
  }
  fcntl(end, F_SETFL, 0);
}

// Reads both ends until the program has closed them, or the deadline has passed; -1: not that one. A terminal answers
// EIO at the end.
void collect(int out, int err, ProgramResult& result, Time::time_point deadline) {
  pollfd ends[] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  while ((ends[0].fd >= 0 || ends[1].fd >= 0) && Time::now() < deadline) {
    if (poll(ends, 2, 1000) <= 0) continue;
    for (pollfd& end : ends) {
      if (end.fd < 0 || end.revents == 0) continue;
      char buffer[4096];
      const ssize_t got = read(end.fd, buffer, sizeof buffer);
      if (got > 0) {
        (end.fd == out ? result.out : result.err).append(buffer, static_cast<std::size_t>(got));
      } else {
        end.fd = -1;
      }
    }
  }
}

}  // namespace

ProgramResult run_program(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  const auto deadline = Time::now() + std::chrono::seconds(kTimeoutS);
  int out[2], err[2];
  must(pipe2(out, O_CLOEXEC) == 0, "pipe2");
  if (options.terminal) {
    must(openpty(&err[0], &err[1], nullptr, nullptr, nullptr) == 0, "openpty");
  } else {
    must(pipe2(err, O_CLOEXEC) == 0, "pipe2");
  }
  if (options.unread_output) fill_pipe(out[1]);
  const pid_t pid = fork();
  must(pid >= 0, "fork");
  if (pid == 0) become(arguments, out[1], err[1], options);
  close(out[1]);
  close(err[1]);

  ProgramResult result;
  std::thread signaller;
  if (options.signal != 0) signaller = std::thread([&] { send_signals(pid, options, deadline); });
  collect(options.unread_output ? -1 : out[0], err[0], result, deadline);
  if (signaller.joinable()) signaller.join();
  if (Time::now() >= deadline) kill(pid, SIGKILL);
  close(out[0]);
  close(err[0]);
  int status = 0;
  must(waitpid(pid, &status, 0) == pid, "waitpid");
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.ended_by = WTERMSIG(status);
  return result;
}

}  // namespace pollux::bench
