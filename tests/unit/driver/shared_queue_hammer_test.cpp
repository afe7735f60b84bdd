// Many threads at one shared queue pair. Each submission has to come to the controller once and unharmed, to be
// answered once, and with what the controller made of just this command; doorbells have to move forwards, and a
// completion has to find a place.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <thread>

#include "raw_shared_queue.hpp"

namespace pollux::nvme {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kUnderTsan = true;
#elif defined(__has_feature)
constexpr bool kUnderTsan = __has_feature(thread_sanitizer);
#else
constexpr bool kUnderTsan = false;
#endif

constexpr std::uint32_t kCommandsInAll = kUnderTsan ? 200'000 : 1'000'000;

// What a command asks for and what the controller answers, both told by its number alone.
std::uint64_t word_of(std::uint64_t number) { return (number + 1) * 0x9e37'79b9'7f4a'7c15; }
std::uint16_t status_of(std::uint64_t number) { return static_cast<std::uint16_t>(word_of(number) >> 49); }

// One submission. Plain members are handed from thread to thread by the queue, or TSan would say so.
struct Submission {
  std::uint64_t number = 0;
  std::uint64_t data = 0;  // the controller writes it
  int fetched = 0;
  std::atomic<int> answered{0};
  bool right = false;

  void fill(Command& slot) {
    slot = {};
    slot.nsid = static_cast<std::uint32_t>(number);
    slot.mptr = word_of(number);
    slot.prp1 = reinterpret_cast<std::uintptr_t>(this);
    slot.prp2 = ~word_of(number);
    slot.cdw10 = slot.cdw15 = static_cast<std::uint32_t>(number);
  }
  bool filled(const Command& slot) const {
    const auto low = static_cast<std::uint32_t>(number);
    return slot.nsid == low && slot.mptr == word_of(number) && slot.prp2 == ~word_of(number) && slot.cdw10 == low &&
           slot.cdw15 == low && cdw0::kOpcode.of(slot.cdw0) == 0;
  }
  static void done(void* context, Status status) noexcept {
    auto* const self = static_cast<Submission*>(context);
    self->answered.fetch_add(1, std::memory_order_relaxed);
    self->right = status.bits == status_of(self->number) && self->data == word_of(self->number);
  }
};

// An honest controller: fetches in order, completes in any, and looks whether the host keeps to the rules. One thread
// at a time.
class Controller {
 public:
  Controller(RawSharedQueue& queue, std::uint32_t depth, unsigned seed) : queue_(queue), depth_(depth), random_(seed) {
    pending_.reserve(queue.entries());
  }

  // Fetches what there is, posts some of it. False: there was nothing to do.
  bool step() {
    while (const auto command = queue_.fetch()) {
      auto* const submission = reinterpret_cast<Submission*>(command->prp1);
      broken_ |= submission == nullptr || !submission->filled(*command) || submission->fetched++ != 0;
      if (broken_) return false;
      for (const Command& other : pending_)
        broken_ |= RawSharedQueue::cid_of(other) == RawSharedQueue::cid_of(*command);
      pending_.push_back(*command);
      broken_ |= pending_.size() > depth_;
    }
    if (pending_.empty()) return false;
    for (std::size_t left = random_() % pending_.size() + 1; left > 0; --left) {
      std::swap(pending_[random_() % pending_.size()], pending_.back());
      const Command command = pending_.back();
      pending_.pop_back();
      auto* const submission = reinterpret_cast<Submission*>(command.prp1);
      submission->data = word_of(submission->number);
      broken_ |= queue_.unacknowledged() == queue_.entries() - 1;  // no place for this one
      queue_.post(RawSharedQueue::cid_of(command), status_of(submission->number));
    }
    return true;
  }

  bool broken() const { return broken_; }  // the host, that is

 private:
  RawSharedQueue& queue_;
  std::uint32_t depth_;
  std::minstd_rand random_;
  std::vector<Command> pending_;
  bool broken_ = false;
};

struct Hammer {
  RawSharedQueue queue;
  Controller controller;
  std::vector<Submission> submissions;
  std::atomic<std::uint32_t> answered{0};
  std::atomic<bool> controller_busy{false};
  std::atomic<bool> given_up{false};

  Hammer(std::uint32_t entries, std::uint32_t depth, std::uint32_t count)
      : queue(entries, depth), controller(queue, depth, entries + depth), submissions(count) {
    for (std::uint32_t number = 0; number < count; ++number) submissions[number].number = number;
  }

  // The controller's side is one thread at a time's; the others pass by.
  bool step_controller() {
    if (controller_busy.exchange(true, std::memory_order_acquire)) return false;
    const bool busy = controller.step();
    if (controller.broken()) given_up = true;
    controller_busy.store(false, std::memory_order_release);
    return busy;
  }

  // One of `threads`: submits its share, polls until all is answered. Now and then it is away at a bad moment.
  void work(unsigned thread, unsigned threads, bool plays_controller) {
    std::minstd_rand random(thread + 1);
    const auto count = static_cast<std::uint32_t>(submissions.size());
    std::uint32_t next = thread;
    while (!given_up && (next < count || answered.load(std::memory_order_relaxed) < count)) {
      bool moved = false;
      for (auto batch = random() % 40; batch > 0 && next < count; --batch) {
        Submission& submission = submissions[next];
        if (!queue.pair().submit(Submission::done, &submission, 0, [&](Command& slot, std::uint16_t) {
              submission.fill(slot);
              if (random() % 256 == 0) std::this_thread::yield();
            })) {
          break;
        }
        next += threads;
        moved = true;
      }
      if (random() % 2 == 0) queue.pair().ring();
      if (plays_controller) moved |= step_controller();
      const unsigned polled = queue.pair().poll(static_cast<unsigned>(random() % 80));
      answered.fetch_add(polled, std::memory_order_relaxed);
      if (!moved && polled == 0) std::this_thread::yield();
    }
  }

  void check() {
    CHECK_FALSE(controller.broken());
    CHECK(queue.pair().strays() == 0);
    CHECK(queue.pair().in_flight() == 0);
    CHECK(queue.unacknowledged() == 0);
    CHECK(std::ranges::all_of(submissions, [](const Submission& each) {
      return each.fetched == 1 && each.answered.load() == 1 && each.right;
    }));
  }
};

struct Shape {
  unsigned threads;
  std::uint32_t entries;
  std::uint32_t depth;
};

const std::vector<Shape> kShapes{{2, 2, 1},   {2, 128, 127}, {3, 8, 7},   {4, 4, 3},
                                 {4, 64, 33}, {8, 128, 100}, {16, 32, 31}};

}  // namespace

TEST_CASE("threads that submit and poll beside a controller's thread get each command done once, with its own data") {
  for (const auto& [threads, entries, depth] : kShapes) {
    CAPTURE(threads, entries, depth);
    Hammer hammer(entries, depth, kCommandsInAll / static_cast<std::uint32_t>(kShapes.size()));
    {
      std::jthread device([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          if (!hammer.step_controller()) std::this_thread::yield();
        }
      });
      std::vector<std::jthread> workers;
      for (unsigned thread = 0; thread < threads; ++thread) {
        workers.emplace_back([&hammer, thread, count = threads] { hammer.work(thread, count, false); });
      }
    }
    hammer.check();
  }
}

TEST_CASE("threads that submit, poll and play the controller in turn get each command done once, with its own data") {
  for (const auto& [threads, entries, depth] : kShapes) {
    CAPTURE(threads, entries, depth);
    Hammer hammer(entries, depth, kCommandsInAll / static_cast<std::uint32_t>(kShapes.size()));
    {
      std::vector<std::jthread> workers;
      for (unsigned thread = 0; thread < threads; ++thread) {
        workers.emplace_back([&hammer, thread, count = threads] { hammer.work(thread, count, true); });
      }
    }
    hammer.check();
  }
}

TEST_CASE("callbacks that submit again from whatever thread polls keep a queue full without losing a command") {
  struct Chain {
    Hammer* hammer;
    std::atomic<std::uint32_t>* next;
    Submission* now;
    static void again(void* context, Status status) noexcept {
      auto* const self = static_cast<Chain*>(context);
      Submission::done(self->now, status);
      self->hammer->answered.fetch_add(1, std::memory_order_relaxed);
      self->submit_next();
    }
    // There is a free index: this command's own at least. To catch one may take several calls.
    void submit_next() {
      const std::uint32_t number = next->fetch_add(1, std::memory_order_relaxed);
      if (number >= hammer->submissions.size()) return;
      now = &hammer->submissions[number];
      while (!hammer->queue.pair().submit(again, this, 0, [&](Command& slot, std::uint16_t) { now->fill(slot); })) {
        if (hammer->given_up) return;
      }
    }
  };
  for (const unsigned threads : {2u, 8u}) {
    constexpr std::uint32_t kDepth = 31;
    Hammer hammer(32, kDepth, kCommandsInAll / 4);
    std::atomic<std::uint32_t> next{0};
    std::vector<Chain> chains(kDepth, Chain{&hammer, &next, nullptr});
    for (Chain& chain : chains) chain.submit_next();
    {
      std::vector<std::jthread> workers;
      for (unsigned thread = 0; thread < threads; ++thread) {
        workers.emplace_back([&hammer] {
          while (!hammer.given_up && hammer.answered.load(std::memory_order_relaxed) < hammer.submissions.size()) {
            const bool moved = hammer.step_controller();
            if (hammer.queue.pair().poll(16) == 0 && !moved) std::this_thread::yield();
          }
        });
      }
    }
    hammer.check();
  }
}

TEST_CASE("a controller that makes completions up has each submission answered once all the same") {
  constexpr std::uint32_t kEntries = 16, kDepth = 15;
  for (const unsigned threads : {2u, 4u}) {
    RawSharedQueue queue(kEntries, kDepth);
    std::vector<Submission> submissions(kCommandsInAll / 32);
    {
      std::jthread liar([&](const std::stop_token& stop) {
        std::minstd_rand random(threads);
        while (!stop.stop_requested()) {
          if (queue.unacknowledged() == kEntries - 1) {
            std::this_thread::yield();
            continue;
          }
          const auto cid = static_cast<std::uint16_t>(random() % 16 << 12 | random() % (kDepth + 1));
          queue.post(cid);
          if (random() % 2 == 0 && queue.unacknowledged() < kEntries - 1) queue.post(cid);
        }
      });
      std::vector<std::jthread> workers;
      for (unsigned thread = 0; thread < threads; ++thread) {
        workers.emplace_back([&, thread] {
          for (std::size_t next = thread; next < submissions.size();) {
            if (queue.pair().submit(Submission::done, &submissions[next], 0,
                                    [&](Command& slot, std::uint16_t) { submissions[next].fill(slot); })) {
              next += threads;
            } else if (queue.pair().poll(8) == 0) {
              std::this_thread::yield();
            }
          }
        });
      }
      workers.clear();
      liar.request_stop();
    }
    queue.pair().fail_all(Status::from(StatusCode::aborted_by_host));
    CHECK(queue.pair().in_flight() == 0);
    CHECK(queue.pair().strays() > 0);
    CHECK(std::ranges::all_of(submissions, [](const Submission& each) { return each.answered.load() == 1; }));
  }
}

}  // namespace pollux::nvme
