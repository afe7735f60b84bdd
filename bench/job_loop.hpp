// One job at work: keeps the engine filled to its depth, reaps completions, measures, verifies; ends by itself, when
// told, or on an error that it is not to outlive. A thread runs it from run() to the end. Time is stamped once for each
// submission and once for each batch of completions, after the batch was reaped: a request's latency includes the
// reaping of those that were reaped with it, and is never flattered.
#pragma once

#include <sched.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pollux/bench/engine.hpp"
#include "pollux/bench/statistics.hpp"
#include "pollux/bench/verify.hpp"
#include "pollux/bench/workload.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::bench {

// What a loop has to do, in its own terms.
struct LoopPlan {
  WorkloadShape shape;
  std::uint64_t offset_bytes = 0;  // of block 0 on the namespace
  std::uint64_t block_bytes = 4096;
  std::uint64_t max_ios = 0;     // requests to submit at most, ramp included; 0: no limit
  std::uint64_t runtime_ns = 0;  // measured time; 0: no limit
  std::uint64_t ramp_time_ns = 0;
  std::optional<VerifyScope> verify;
  bool continue_on_error[kDirections] = {};  // reads, writes: one that fails is counted, and the job goes on
  bool yield_when_idle = false;              // whoever answers may need this processor
  std::uint64_t stall_limit_ns = 160ull * 1'000'000'000;  // without any completion: beyond the driver's own bounds
};

struct LoopResult {
  Statistics statistics;
  std::uint64_t measured_ns = 0;      // from the ramp's end to the last completion
  int error = 0;                      // an errno, as fio's "error"; 0: none
  std::vector<std::string> messages;  // what went wrong, in order
  std::uint64_t submitted = 0;        // requests that the engine accepted, the ramp's and the last pass's included
  std::uint64_t answered = 0;         // and completed; as many, unless one was lost, or completed twice
  std::uint64_t io_errors = 0;
  int first_io_error = 0;            // an errno
  std::uint64_t checked_in_mix = 0;  // reads judged while the job ran
  std::uint64_t checked_at_end = 0;  // blocks judged in the last pass
  std::uint64_t written_blocks = 0;
  std::uint64_t mismatches = 0;
  bool last_pass_skipped = false;  // verification was asked for and the job was stopped or failed before it
  bool stalled = false;            // requests are still outstanding: their memory must outlive the device's use of it
};

inline constexpr std::size_t kMaxMismatchesShown = 8;  // a job's; all are counted

template <Engine E>
class JobLoop {
 public:
  // `stop` asks for an early end; `progress` is written once a batch. All three outlive the loop.
  JobLoop(const LoopPlan& plan, E& engine, const std::atomic<int>& stop, Progress& progress, Clock& clock)
      : plan_(plan), engine_(engine), stop_(stop), progress_(progress), clock_(clock), workload_(plan.shape) {
    const unsigned depth = engine_.depth();
    requests_.resize(depth);
    free_.reserve(depth);
    done_.reserve(depth);
    for (std::uint32_t i = 0; i < depth; ++i) {
      requests_[i].index = depth - 1 - i;
      requests_[i].owner = this;
      free_.push_back(&requests_[i]);
    }
  }
  JobLoop(const JobLoop&) = delete;
  JobLoop& operator=(const JobLoop&) = delete;

  LoopResult run() {
    if (plan_.verify) {
      verifier_ = Verifier::create(*plan_.verify);
      if (!verifier_) {
        stop_with(ENOMEM, fmt::format("no memory to verify {} blocks (4 bytes each): use a smaller size or a larger bs",
                                      plan_.verify->blocks));
        progress_.phase.store(Phase::ended, std::memory_order_relaxed);
        return std::move(result_);
      }
    }
    begin();
    pump();
    end_measurement();
    if (verifier_) verify_all();
    look_for_lost();
    progress_.phase.store(Phase::ended, std::memory_order_relaxed);
    return std::move(result_);
  }

 private:
  static constexpr unsigned kIdlePollsPerLook = 16;    // how often an idle loop looks at the clock
  static constexpr unsigned kIdlePollsPerYield = 256;  // a few microseconds
  static constexpr unsigned kMaxRereads = 8;           // of a block in the last pass, where read errors are outlived

  void begin() {
    const std::uint64_t now = clock_.now_ns();
    ramping_ = plan_.ramp_time_ns != 0;
    measure_from_ns_ = now + plan_.ramp_time_ns;
    set_deadline();
    last_completion_ns_ = now;
    progress_.phase.store(ramping_ ? Phase::ramp : Phase::measure, std::memory_order_relaxed);
  }

  void set_deadline() { deadline_ns_ = plan_.runtime_ns == 0 ? ~0ull : measure_from_ns_ + plan_.runtime_ns; }

  // Submits and reaps until nothing is left to submit and nothing is outstanding.
  void pump() {
    unsigned idle_polls = 0;
    std::uint64_t now = clock_.now_ns();
    last_completion_ns_ = now;
    for (;;) {
      fill_queue(now);
      if (in_flight_ == 0 && ended_) return;
      const bool polled = engine_.poll() != 0;
      if (!done_.empty()) {
        now = clock_.now_ns();
        last_completion_ns_ = now;
        reap(now);
        idle_polls = 0;
        continue;
      }
      if (polled) continue;
      ++idle_polls;
      if (idle_polls % kIdlePollsPerLook == 0) now = clock_.now_ns();
      if (plan_.yield_when_idle && idle_polls % kIdlePollsPerYield == 0) sched_yield();
      if (now > last_completion_ns_ && now - last_completion_ns_ > plan_.stall_limit_ns) return give_up();
    }
  }

  void fill_queue(std::uint64_t now) {
    if (!ended_ && (now >= deadline_ns_ || stop_.load(std::memory_order_relaxed) != 0)) end_submitting();
    unsigned batch = 0;
    std::uint64_t stamp = ended_ || free_.empty() ? 0 : clock_.now_ns();
    while (!free_.empty() && !ended_) {
      if (!holding_ && !next_pick()) break;
      Request& request = *free_.back();
      if (!prepare(request, stamp)) break;
      request.begun_ns = stamp;
      const Submitted submitted = engine_.template submit<&JobLoop::completed>(request);
      if (submitted != Submitted::accepted) [[unlikely]] {
        if (submitted == Submitted::refused) fail_request(request, EINVAL, engine_.last_refusal());
        break;
      }
      stamp = clock_.now_ns();
      request.issued_ns = stamp;
      if (request.write && verifier_) verifier_->write_begins(request.block);
      free_.pop_back();
      holding_ = false;
      request.outstanding = true;
      ++result_.submitted;
      ++in_flight_;
      ++batch;
      if (!last_pass_) ++result_.statistics.depth[depth_class(in_flight_)];
    }
    if (batch == 0) return;
    engine_.ring();
    if (!last_pass_) ++result_.statistics.submitted[batch_class(batch)];
  }

  // Decides what comes next; it is held until the engine has accepted it. False: nothing comes.
  bool next_pick() {
    if (last_pass_) {
      pick_ = {next_to_judge(), false};
      if (pick_.block == verifier_->scope().blocks) ended_ = true;
    } else if (plan_.max_ios != 0 && picked_ == plan_.max_ios) {
      ended_ = true;
    } else {
      pick_ = workload_.next();
      ++picked_;
    }
    holding_ = !ended_;
    return holding_;
  }

  // The last pass: all blocks in order; then, a round each, those again whose read failed. scope().blocks: no more.
  std::uint64_t next_to_judge() {
    if (rereads_ == 0) {
      const std::uint64_t block = verifier_->next_written(next_to_verify_);
      next_to_verify_ = block + 1;
      return block;
    }
    if (to_reread_.empty()) return verifier_->scope().blocks;
    const std::uint64_t block = to_reread_.back();
    to_reread_.pop_back();
    return block;
  }

  // False: the block's write has to wait for an outstanding one.
  bool prepare(Request& request, std::uint64_t& stamp) {
    request.block = pick_.block;
    request.write = pick_.write;
    request.offset_bytes = plan_.offset_bytes + pick_.block * plan_.block_bytes;
    if (!verifier_) return true;
    if (!request.write) {
      request.generation = verifier_->expected(request.block);
      return true;
    }
    if (verifier_->write_outstanding(request.block)) return false;
    verifier_->fill(request.block, engine_.memory(request.index));
    stamp = clock_.now_ns();  // the content's making is no part of the submission
    return true;
  }

  static void completed(Request& request, std::uint32_t code) noexcept {
    JobLoop& loop = *static_cast<JobLoop*>(request.owner);
    ++loop.result_.answered;
    if (!request.outstanding) [[unlikely]]
      return;
    request.outstanding = false;
    request.code = code;
    loop.done_.push_back(&request);  // never beyond what was reserved
  }

  void reap(std::uint64_t now) {
    if (!last_pass_) ++result_.statistics.completed[batch_class(static_cast<unsigned>(done_.size()))];
    for (Request* request : done_) {
      --in_flight_;
      if (request->code != 0) [[unlikely]] {
        fail_request(*request, EIO, engine_.describe(request->code));
      } else {
        account(*request, now);
        if (verifier_ && !request->write) judge(*request);
      }
      if (request->write && verifier_) verifier_->write_ends(request->block, request->code == 0);
      free_.push_back(request);
    }
    done_.clear();
    publish();
    if (ramping_ && now >= measure_from_ns_) end_ramp(now);
  }

  void account(const Request& request, std::uint64_t now) {
    if (last_pass_) return;
    const auto d = static_cast<std::size_t>(request.write ? Direction::write : Direction::read);
    ++ios_[d];
    DirectionStatistics& statistics = result_.statistics.direction[d];
    const std::uint64_t slat = request.issued_ns - request.begun_ns;
    const std::uint64_t clat = now - request.issued_ns;
    statistics.slat.add(slat);
    statistics.clat.add(clat);
    statistics.lat.add(slat + clat);
    statistics.slat_histogram.add(slat);
    statistics.clat_histogram.add(clat);
    ++statistics.ios;
    statistics.bytes += plan_.block_bytes;
  }

  void judge(const Request& request) {
    if (!verifier_->judgeable(request.block, request.generation)) return;
    ++(last_pass_ ? result_.checked_at_end : result_.checked_in_mix);
    auto mismatch = verifier_->mismatch(request.block, request.generation, engine_.memory(request.index));
    if (!mismatch) return;
    ++result_.mismatches;
    if (result_.error == 0) result_.error = EILSEQ;
    if (result_.mismatches <= kMaxMismatchesShown) result_.messages.push_back(std::move(*mismatch));
  }

  void publish() {
    for (std::size_t d = 0; d < kDirections; ++d) {
      progress_.ios[d].store(ios_[d], std::memory_order_relaxed);
      progress_.bytes[d].store(ios_[d] * plan_.block_bytes, std::memory_order_relaxed);
    }
    if (last_pass_) progress_.verified.store(result_.checked_at_end, std::memory_order_relaxed);
  }

  void end_ramp(std::uint64_t now) {
    ramping_ = false;
    result_.statistics = Statistics{};
    measure_from_ns_ = now;
    set_deadline();
    progress_.phase.store(Phase::measure, std::memory_order_relaxed);
  }

  void end_measurement() {
    if (ramping_) {
      result_.statistics = Statistics{};
      result_.messages.push_back("note: it ended within ramp_time, so nothing was measured");
    } else if (last_completion_ns_ > measure_from_ns_) {
      result_.measured_ns = last_completion_ns_ - measure_from_ns_;
    }
  }

  void end_submitting() {
    ended_ = true;
    holding_ = false;
  }

  void verify_all() {
    result_.written_blocks = verifier_->written();
    if (failed_ || stop_.load(std::memory_order_relaxed) != 0) {
      result_.last_pass_skipped = true;
      return;
    }
    last_pass_ = true;
    ended_ = holding_ = false;
    deadline_ns_ = ~0ull;
    progress_.to_verify.store(result_.written_blocks, std::memory_order_relaxed);
    progress_.phase.store(Phase::verify, std::memory_order_relaxed);
    pump();
    for (rereads_ = 1; rereads_ <= kMaxRereads && !unread_.empty() && !failed_; ++rereads_) {
      to_reread_.swap(unread_);
      ended_ = false;
      pump();
    }
    result_.last_pass_skipped = result_.checked_at_end != result_.written_blocks;
    if (failed_ || unread_.empty() || stop_.load(std::memory_order_relaxed) != 0) return;
    stop_with(EIO, fmt::format("{} of {} written blocks could not be read in the last pass, the first at offset {}: "
                               "they are not verified",
                               unread_.size(), result_.written_blocks,
                               plan_.offset_bytes + *std::ranges::min_element(unread_) * plan_.block_bytes));
  }

  void fail_request(const Request& request, int error, const std::string& why) {
    ++result_.io_errors;
    if (result_.first_io_error == 0) result_.first_io_error = error;
    const bool goes_on = error == EIO && plan_.continue_on_error[request.write ? 1 : 0];
    if (goes_on && last_pass_) unread_.push_back(request.block);
    if (failed_ || (goes_on && result_.io_errors > 1)) return;
    std::string message = fmt::format("{} of {} bytes at offset {} failed: {}", request.write ? "write" : "read",
                                      plan_.block_bytes, request.offset_bytes, why);
    if (!goes_on) return stop_with(error, std::move(message));
    result_.messages.push_back("the first error, others are only counted: " + message);
  }

  // The engine's promise, and the driver's: each request is answered once.
  void look_for_lost() {
    if (result_.submitted == result_.answered || result_.stalled) return;
    stop_with(EIO, fmt::format("{} requests were submitted and {} answered", result_.submitted, result_.answered));
  }

  void give_up() {
    result_.stalled = in_flight_ != 0;
    stop_with(ETIMEDOUT, fmt::format("nothing completed in {} s, {} requests are outstanding",
                                     plan_.stall_limit_ns / 1'000'000'000, in_flight_));
  }

  void stop_with(int error, std::string message) {
    failed_ = true;
    if (result_.error == 0) result_.error = error;
    result_.messages.push_back(std::move(message));
    end_submitting();
  }

  const LoopPlan plan_;
  E& engine_;
  const std::atomic<int>& stop_;
  Progress& progress_;
  Clock& clock_;
  Workload workload_;
  std::optional<Verifier> verifier_;

  std::vector<Request> requests_;
  std::vector<Request*> free_;
  std::vector<Request*> done_;  // completed, to be reaped after this poll
  unsigned in_flight_ = 0;

  Pick pick_{};
  bool holding_ = false;  // pick_ waits to be accepted
  bool ended_ = false;    // nothing more is submitted
  bool failed_ = false;   // by an error that the job does not outlive
  bool last_pass_ = false;
  bool ramping_ = false;
  std::uint64_t picked_ = 0;
  std::uint64_t next_to_verify_ = 0;
  unsigned rereads_ = 0;
  std::vector<std::uint64_t> unread_;     // blocks whose read failed in this round of the last pass
  std::vector<std::uint64_t> to_reread_;  // in the round before
  std::uint64_t measure_from_ns_ = 0;
  std::uint64_t deadline_ns_ = ~0ull;
  std::uint64_t last_completion_ns_ = 0;
  std::uint64_t ios_[kDirections] = {};
  LoopResult result_;
};

}  // namespace pollux::bench
