#include "pollux/bench/live_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "pollux/bench/report.hpp"

namespace pollux::bench {
namespace {

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// How much of a job's work is done: by time or by requests, whichever ends it first.
double work_done(const LoopPlan& plan, const Progress& progress, std::uint64_t elapsed_ns) {
  const Phase phase = progress.phase.load(std::memory_order_relaxed);
  if (phase == Phase::verify || phase == Phase::ended) return 1.0;
  const std::uint64_t ios =
      progress.ios[0].load(std::memory_order_relaxed) + progress.ios[1].load(std::memory_order_relaxed);
  const double by_time = plan.runtime_ns == 0 ? 0.0 : ratio(elapsed_ns, plan.ramp_time_ns + plan.runtime_ns);
  return std::min(1.0, std::max(by_time, ratio(ios, plan.max_ios)));
}

// Everything goes to a terminal that may be gone: nothing is to be done about a short write.
void put(int fd, const std::string& text) {
  [[maybe_unused]] const ssize_t written = write(fd, text.data(), text.size());
}

}  // namespace

std::string live_text(const LiveState& state) {
  const std::string left =
      fmt::format("{}:{:02}:{:02}", state.left_s / 3600, state.left_s / 60 % 60, state.left_s % 60);
  return fmt::format("{}{:5.1f}%  read {} IOPS, write {} IOPS, {}, {} left", state.verifying ? "verify " : "",
                     100 * state.done, count_text(state.iops[0]), count_text(state.iops[1]),
                     bandwidth_text(state.bytes_per_second), left);
}

void LiveLine::update(std::span<const PlannedJob> jobs, std::span<const Progress> progress, std::uint64_t elapsed_ns) {
  if (!on_ || elapsed_ns - last_ns_ < kIntervalNs) return;
  std::array<std::uint64_t, kDirections> ios{};
  std::uint64_t bytes = 0, verified = 0, to_verify = 0;
  LiveState state;
  state.done = 1.0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    for (std::size_t d = 0; d < kDirections; ++d) {
      ios[d] += progress[i].ios[d].load(std::memory_order_relaxed);
      bytes += progress[i].bytes[d].load(std::memory_order_relaxed);
    }
    verified += progress[i].verified.load(std::memory_order_relaxed);
    to_verify += progress[i].to_verify.load(std::memory_order_relaxed);
    state.done = std::min(state.done, work_done(jobs[i].loop, progress[i], elapsed_ns));
  }
  if (state.done == 1.0 && to_verify != 0) {
    state.verifying = true;
    state.done = ratio(verified, to_verify);
  }
  const std::uint64_t interval_ns = elapsed_ns - last_ns_;
  for (std::size_t d = 0; d < kDirections; ++d) state.iops[d] = per_second(ios[d] - last_ios_[d], interval_ns);
  state.bytes_per_second = per_second(bytes - last_bytes_, interval_ns);
  if (state.done > 0 && !state.verifying) {
    state.left_s =
        static_cast<std::uint64_t>(static_cast<double>(elapsed_ns) / 1e9 * (1 - state.done) / state.done + 0.5);
  }
  put(fd_, fmt::format("\r{}\033[K", live_text(state)));
  drawn_ = true;
  last_ns_ = elapsed_ns;
  last_ios_ = ios;
  last_bytes_ = bytes;
}

void LiveLine::clear() {
  if (drawn_) put(fd_, "\r\033[K");
  drawn_ = false;
}

}  // namespace pollux::bench
