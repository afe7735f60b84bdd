// pollux-bench: reads the command line, runs the jobs, writes the report. Exit status: 0; 1 where anything was wrong;
// 128, as fio's, after Ctrl-C.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "pollux/bench/command_line.hpp"
#include "pollux/bench/job_file.hpp"
#include "pollux/bench/run.hpp"

namespace {

using namespace pollux;

constexpr int kExitFailed = 1;
constexpr int kExitInterrupted = 128;

std::atomic<int> stop_requested = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler touches it");

// The first asks for an orderly end; a second one, of either kind, meets no handler and ends the program at once.
void on_signal(int) {
  stop_requested.store(1);
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

void install_handlers() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void say(const std::string& text) { fmt::print(stderr, "pollux-bench: {}\n", text); }

int fail_with(const Error& error) {
  say(error.message());
  return kExitFailed;
}

// Where the report goes: standard output, or --output's file. Opened before the jobs run, so that a wrong path costs no
// run; emptied only when there is a report, and taken away again if there never is one.
class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() {
    if (file_ == nullptr || path_.empty()) return;
    std::fclose(file_);
    if (created_ && !written_) unlink(path_.c_str());
  }

  Result<void> open(const std::string& path) {
    path_ = path;
    created_ = !path.empty() && access(path.c_str(), F_OK) != 0;
    file_ = path.empty() ? stdout : std::fopen(path.c_str(), "ae");
    if (file_ != nullptr) return {};
    return fail_errno(errno, fmt::format("cannot write output={}", path), "name a file in a folder that you may write");
  }

  Result<void> write(const std::string& text) {
    written_ = true;
    // What is no plain file (a pipe, a terminal) cannot be emptied, and need not be.
    struct stat facts{};
    const bool plain = !path_.empty() && fstat(fileno(file_), &facts) == 0 && S_ISREG(facts.st_mode);
    if ((!plain || ftruncate(fileno(file_), 0) == 0) &&
        std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0) {
      return {};
    }
    return fail_errno(errno, fmt::format("cannot write the report to {}", path_.empty() ? "standard output" : path_),
                      "make room, or name another file");
  }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  bool created_ = false;
  bool written_ = false;
};

int run_jobs(const bench::CommandLine& line, const bench::JobList& list) {
  Output output;
  if (auto opened = output.open(line.output); !opened) return fail_with(opened.error());
  install_handlers();
  const auto report = bench::run(list, {&stop_requested, isatty(STDERR_FILENO) == 1, say});
  if (!report) return fail_with(report.error());

  for (const bench::ReportEntry& entry : report->entries) {
    for (const std::string& message : entry.messages) say(message);
  }
  for (const bench::DriveReport& drive : report->drives) {
    for (const std::string& text : drive.texts) say(text);
  }
  const bool json = line.format == bench::Format::json;
  if (auto written = output.write(json ? bench::json_report(*report) : bench::text_report(*report)); !written) {
    return fail_with(written.error());
  }
  if (report->failed()) return kExitFailed;
  return report->interrupted ? kExitInterrupted : 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit on its size (ulimit -f) is a write that fails, and is told
  auto line = bench::parse_command_line({argv + 1, static_cast<std::size_t>(argc - 1)});
  if (!line) return fail_with(line.error());
  if (line->help) {
    fmt::print("{}", bench::help_text());
    return 0;
  }
  if (line->version) {
    fmt::print("pollux-bench {}\n", POLLUX_VERSION);
    return 0;
  }
  if (line->job_file.empty()) return run_jobs(*line, line->list);
  const auto list = bench::read_job_file(line->job_file);
  return list ? run_jobs(*line, *list) : fail_with(list.error());
}
