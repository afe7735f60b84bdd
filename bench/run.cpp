#include "pollux/bench/run.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <latch>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "pollux/bench/devices.hpp"
#include "pollux/bench/job_loop.hpp"
#include "pollux/bench/live_line.hpp"
#include "pollux/bench/plan.hpp"
#include "pollux/bench/sampler.hpp"
#include "pollux/vfio/thread.hpp"

namespace pollux::bench {
namespace {

using Loop = JobLoop<PolluxEngine>;

constexpr auto kTick = std::chrono::milliseconds(20);  // how often the main thread looks after the drives

// One job's thread and what it brings home.
struct Worker {
  std::unique_ptr<PolluxEngine> engine;
  std::unique_ptr<Loop> loop;
  LoopResult result;
  CpuUse cpu;
};

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

void work(Worker& worker) {
  rusage before{}, after{};
  getrusage(RUSAGE_THREAD, &before);
  const std::uint64_t begin_ns = steady_clock().now_ns();
  worker.result = worker.loop->run();
  const std::uint64_t end_ns = steady_clock().now_ns();
  getrusage(RUSAGE_THREAD, &after);
  const auto grown = [](long from, long to) { return static_cast<std::uint64_t>(to - from); };
  worker.cpu = {
      .user_us = microseconds(after.ru_utime) - microseconds(before.ru_utime),
      .system_us = microseconds(after.ru_stime) - microseconds(before.ru_stime),
      .wall_us = (end_ns - begin_ns) / 1'000,
      .context_switches = grown(before.ru_nvcsw + before.ru_nivcsw, after.ru_nvcsw + after.ru_nivcsw),
      .major_faults = grown(before.ru_majflt, after.ru_majflt),
      .minor_faults = grown(before.ru_minflt, after.ru_minflt),
  };
}

// The jobs at work: all threads start at once, and the destructor joins them.
class Crew {
 public:
  explicit Crew(std::span<Worker> workers) : start_(static_cast<std::ptrdiff_t>(workers.size()) + 1) {
    for (Worker& worker : workers) {
      auto thread = vfio::start_thread("a job's thread", [this, &worker] {
        start_.arrive_and_wait();
        if (!whole_) return;
        work(worker);
        const std::lock_guard lock(mutex_);
        ++ended_;
        changed_.notify_one();
      });
      if (!thread) {
        whole_ = std::unexpected(std::move(thread.error()));
        break;
      }
      threads_.push_back(std::move(*thread));
    }
    // Those that could not be started are counted, so that the others come out of their wait.
    start_.arrive_and_wait(static_cast<std::ptrdiff_t>(workers.size() - threads_.size()) + 1);
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  ~Crew() {
    for (std::thread& thread : threads_) thread.join();
  }

  // Whether every job has its thread; else none of them has begun.
  const Result<void>& whole() const { return whole_; }

  // Waits for a tick at most. True: every job has ended.
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kTick, [this] { return ended_ == threads_.size(); });
  }

 private:
  std::latch start_;
  std::mutex mutex_;  // guards ended_
  std::condition_variable changed_;
  std::size_t ended_ = 0;
  Result<void> whole_;  // not touched once the threads have started
  std::vector<std::thread> threads_;
};

using Groups = std::vector<std::vector<std::size_t>>;

// Which jobs share a report: those with group_reporting all one, the others each its own.
Groups group(std::span<const PlannedJob> jobs) {
  Groups groups;
  std::size_t shared = jobs.size();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].job->group_reporting && shared != jobs.size()) {
      groups[shared].push_back(i);
      continue;
    }
    if (jobs[i].job->group_reporting) shared = groups.size();
    groups.push_back({i});
  }
  return groups;
}

void merge(ReportEntry& entry, const PlannedJob& job, const Worker& worker) {
  const LoopResult& result = worker.result;
  if (entry.jobs++ == 0) entry.job = job.job;
  if (entry.error == 0) entry.error = result.error;
  entry.statistics.merge(result.statistics);
  entry.runtime_ns = std::max(entry.runtime_ns, result.measured_ns);
  entry.runtime_sum_ns += result.measured_ns;
  entry.longest_ns = std::max(entry.longest_ns, worker.cpu.wall_us * 1'000);
  entry.cpu.user_us += worker.cpu.user_us;
  entry.cpu.system_us += worker.cpu.system_us;
  entry.cpu.wall_us += worker.cpu.wall_us;
  entry.cpu.context_switches += worker.cpu.context_switches;
  entry.cpu.major_faults += worker.cpu.major_faults;
  entry.cpu.minor_faults += worker.cpu.minor_faults;
  entry.verify.asked = entry.verify.asked || job.job->verify;
  entry.verify.written_blocks += result.written_blocks;
  entry.verify.checked_in_mix += result.checked_in_mix;
  entry.verify.checked_at_end += result.checked_at_end;
  entry.verify.mismatches += result.mismatches;
  entry.verify.last_pass_skipped = entry.verify.last_pass_skipped || result.last_pass_skipped;
  entry.submitted += result.submitted;
  entry.answered += result.answered;
  entry.continues_on_error =
      entry.continues_on_error || job.job->continue_on_read_error || job.job->continue_on_write_error;
  entry.io_errors += result.io_errors;
  if (entry.first_io_error == 0) entry.first_io_error = result.first_io_error;
  for (const std::string& message : result.messages) {
    entry.messages.push_back(fmt::format("job \"{}\": {}", job.job->name, message));
  }
}

// Every run has a number of its own, so that verification never takes an earlier run's block for this one's.
std::uint64_t draw_run() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

std::uint64_t unix_time_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

Result<std::vector<Worker>> hire(Devices& devices, std::span<PlannedJob> planned, const std::atomic<int>& stop,
                                 std::span<Progress> progress) {
  // A job that spins keeps the processor from whoever has to answer it: a software controller, or other jobs.
  const bool shares = devices.soft_count() != 0 || planned.size() > std::thread::hardware_concurrency();
  std::vector<Worker> workers(planned.size());
  for (std::size_t i = 0; i < planned.size(); ++i) {
    auto engine = devices.engine_for(planned[i]);
    if (!engine) return std::unexpected(engine.error());
    workers[i].engine = std::move(*engine);
    planned[i].loop.yield_when_idle = shares;
    workers[i].loop = std::make_unique<Loop>(planned[i].loop, *workers[i].engine, stop, progress[i], steady_clock());
  }
  return workers;
}

}  // namespace

Result<Report> run(const JobList& list, const RunOptions& options) {
  auto devices = Devices::open(list);
  if (!devices) return std::unexpected(devices.error());
  auto planned = plan_jobs(devices->placed(), draw_run());
  if (!planned) return std::unexpected(planned.error());

  std::atomic<int> stop = 0;  // raised by the user's, and by a drive that is lost
  std::vector<Progress> progress(planned->size());
  auto workers = hire(*devices, *planned, stop, progress);
  if (!workers) return std::unexpected(workers.error());
  for (const std::string& note : devices->notes()) options.note(note);

  const Groups groups = group(*planned);
  std::vector<Sampler> samplers(groups.size());
  LiveLine live(STDERR_FILENO, options.live_line);
  bool lost = false;
  {
    Crew crew(*workers);
    if (!crew.whole()) return std::unexpected(crew.whole().error());
    const std::uint64_t begin_ns = steady_clock().now_ns();
    while (!crew.wait()) {
      const std::uint64_t elapsed_ns = steady_clock().now_ns() - begin_ns;
      if (options.stop->load(std::memory_order_relaxed) != 0) stop.store(1, std::memory_order_relaxed);
      if (!lost && !devices->poll()) {  // what was lost, and why, closing it tells
        lost = true;
        stop.store(1, std::memory_order_relaxed);
      }
      for (std::size_t g = 0; g < groups.size(); ++g) samplers[g].update(groups[g], progress, elapsed_ns);
      live.update(*planned, progress, elapsed_ns);
    }
  }
  live.clear();

  Report report;
  report.list = &list;
  report.interrupted = options.stop->load(std::memory_order_relaxed) != 0;
  report.unix_time_ms = unix_time_ms();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    ReportEntry& entry = report.entries.emplace_back();
    for (const std::size_t i : groups[g]) merge(entry, (*planned)[i], (*workers)[i]);
    entry.bandwidth_kib = samplers[g].bandwidth_kib();
    entry.iops = samplers[g].iops();
  }
  workers->clear();  // the channels, before the drives
  report.drives = devices->close();
  return report;
}

}  // namespace pollux::bench
