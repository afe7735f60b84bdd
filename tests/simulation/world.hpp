// One run of a schedule: the driver with its channels, the hardware and time, all in one thread. While the driver waits
// in a call, the hardware and the owners of other channels go on, as they would on threads of their own.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pollux/driver/block/block.hpp"
#include "pollux/tests/simulation/device.hpp"
#include "pollux/tests/simulation/faults.hpp"
#include "pollux/tests/simulation/model.hpp"
#include "pollux/tests/simulation/schedule.hpp"

namespace pollux::simulation {

inline constexpr std::uint64_t kSlotBytes = 16384;  // of a request: 12 KiB from any dword of its first page on
inline constexpr std::uint64_t kSettleStepNs = 50 * kNsPerMs;
inline constexpr std::uint64_t kWordsABlock = kBlockBytes / sizeof(std::uint64_t);

// No two blocks of any write look alike; zeros are zeros.
constexpr std::uint64_t word_of(Value value, std::uint64_t lba) { return value == 0 ? 0 : value << 16 | lba; }

// Channel::flush(): acknowledged writes may be gone.
inline bool tells_of_loss(nvme::Status status) { return status.code() == nvme::StatusCode::write_fault; }

// How often each rung of the ladder was met.
struct Rungs {
  std::uint64_t aborts = 0;
  std::uint64_t controller_resets = 0;
  std::uint64_t function_resets = 0;
  std::uint64_t given_up = 0;

  void add(const Rungs& other) {
    aborts += other.aborts;
    controller_resets += other.controller_resets;
    function_resets += other.function_resets;
    given_up += other.given_up;
  }
};

struct Verdict {
  std::string failure;  // empty: all is as it must be
  std::array<std::uint64_t, kActs> met{};
  Rungs rungs;
  std::uint64_t requests = 0;
};

// What worlds of one process share: memory is costly to make.
struct Ground {
  Ground();
  SimulatedSpace* io;  // owned by space
  std::shared_ptr<dma::Space> space;
  dma::Buffer buffer;
};

class World final : private Clock {
 public:
  World(Ground& ground, const Schedule& schedule);
  Verdict run();

 private:
  struct Request {
    World* world;
    unsigned channel;
    Act act;
    std::uint64_t lba;
    std::uint64_t blocks;
    Value value;  // of a write
    dma::Slice slice;
    Model::Moment begun;
    std::uint64_t submitted_ns;
    bool again;  // its callback submits a read of the same blocks
    unsigned answers = 0;
    nvme::Status status{};
    std::uint64_t sum = 0;  // of its memory when it was answered
  };
  struct Owner {
    std::unique_ptr<Channel> channel;
    bool busy = false;
    bool revoked = false;
    unsigned in_flight = 0;  // requests
  };

  std::uint64_t now_ns() override { return now_ns_; }
  void pause_ns(std::uint64_t ns) override;

  void act(const Step& step);
  void strike(Act fault);
  void submit(unsigned owner, Act act, std::uint64_t lba, std::uint64_t blocks, bool again);
  static void on_done(void* context, nvme::Status status) noexcept;
  void done(Request& request, nvme::Status status);
  void check_status(const Request& request);
  bool is_late(const Request& request) const;
  void check_data(const Request& request);
  void poll(unsigned owner);
  void poll_drive();
  void take_events();
  void check_events();
  void check_fetched();
  void check_quiet();
  void pass(std::uint64_t ns);
  void reset(ResetReach reach);
  void open(unsigned owner);
  void reopen(unsigned owner);
  void settle();
  void read_everything();
  void close();
  bool cache_may_be_lost() const;
  bool may_be_lost() const;
  std::uint64_t epoch() { return nvme::Pulse{drive_->controller().pulse().load()}.epoch(); }
  void fail(std::string text) {
    if (verdict_.failure.empty()) verdict_.failure = std::move(text);
  }

  Ground& ground_;
  const Schedule& schedule_;
  Rng rng_;
  Faults faults_;
  Hardware hardware_;
  Model model_;
  std::uint64_t now_ns_ = 1'000'000'000;
  unsigned idle_pauses_ = 0;
  std::optional<Act> later_;  // a fault that waits until the driver has paused so often
  unsigned pauses_left_ = 0;
  unsigned pauses_ = 0;
  unsigned resets_asked_ = 0;
  unsigned function_resets_asked_ = 0;  // and made
  std::unique_ptr<Drive> drive_;
  Namespace ns_;
  std::vector<Owner> owners_;
  std::deque<Request> requests_;
  bool lost_ = false;
  bool closing_ = false;
  unsigned resizes_told_ = 0;
  Verdict verdict_;
};

}  // namespace pollux::simulation
