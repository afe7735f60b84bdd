// The controller's slow changes of state, as machines: step() does what can be done now, says whether the change is
// complete, and never waits. Whoever owns time calls it again: run_to_end() in a driver, a simulation in its own order.
// Each gives up at a bound that the controller itself names, and at kLongestBoundMs whatever it names. NVMe
// base 2.0c, 3.5.1 (initialisation), 3.6.1 (shutdown), 3.7.2 (controller reset).
#pragma once

#include <cstdint>

#include "pollux/driver/controller/admin_queue.hpp"
#include "pollux/driver/controller/registers.hpp"
#include "pollux/driver/controller/shadow_doorbells.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::nvme {

// CRTO may name 9 hours and RTD3E 71 minutes; CAP.TO ends at 128 s.
inline constexpr std::uint64_t kLongestBoundMs = 300'000;

// CC.EN to 0, and CSTS.RDY with it: afterwards the controller reaches no memory of ours. Bound: CAP.TO, twice where it
// was still becoming ready.
class Disable {
 public:
  // `delay_ms`: for so long no register is read after CC.EN was written (Quirk::delay_before_chk_rdy).
  explicit Disable(Registers& registers, std::uint32_t delay_ms = 0) : registers_(registers), delay_ms_(delay_ms) {}
  Result<bool> step(std::uint64_t now_ns);
  // Whether it was enabled when this began, and without a fatal error until it was disabled.
  bool was_well() const { return was_well_; }

 private:
  enum class Stage : std::uint8_t { look, wait_ready, wait_not_ready };
  Registers& registers_;
  const std::uint32_t delay_ms_;
  std::uint64_t quiet_until_ns_ = 0;
  Stage stage_ = Stage::look;
  bool was_well_ = true;
  std::uint64_t bound_ns_ = 0;
  std::uint64_t deadline_ns_ = 0;
};

// From disabled to identified, with the number of queues, the events and the doorbells agreed. Bound: CAP.TO or CRTO,
// and kAdminTimeoutMs for each of four admin commands.
class BringUp {
 public:
  // What it learns on the way.
  struct Facts {
    std::uint64_t cap = 0;
    std::uint32_t version = 0;
    IdentifyController identity{};
    std::uint16_t io_queue_pairs = 0;  // granted; 0: none, and admin commands work
    Status queues_refused{};           // why not, where it was asked for some
    bool shadow_doorbells = false;     // the controller reads them
    bool kept_admin_queue = false;     // AQA, ASQ and ACQ, as over any reset that CC.EN makes (3.7.2)
  };

  // `shadows`: handed to a controller that can use them; nullptr: to none.
  BringUp(Registers& registers, AdminQueue& admin, ShadowDoorbells* shadows, std::uint16_t io_queues_wanted)
      : registers_(registers), admin_(admin), shadows_(shadows), io_queues_wanted_(io_queues_wanted) {}
  Result<bool> step(std::uint64_t now_ns);
  const Facts& facts() const { return facts_; }

 private:
  enum class Stage : std::uint8_t { enable, wait_ready, identify, set_queues, set_events, configure_shadows, done };
  Result<void> enable(std::uint64_t now_ns);
  Result<bool> ready(std::uint64_t now_ns);
  void ask_for_events(std::uint64_t now_ns);

  Registers& registers_;
  AdminQueue& admin_;
  ShadowDoorbells* const shadows_;
  const std::uint16_t io_queues_wanted_;
  Facts facts_;
  Stage stage_ = Stage::enable;
  std::uint64_t ready_bound_ns_ = 0;
  std::uint64_t deadline_ns_ = 0;
};

// CC.SHN to 01b, and CSTS.SHST to 10b. I/O queues are deleted before. Bound: RTD3E, at least kShutdownFloorMs.
class ShutDown {
 public:
  static constexpr std::uint32_t kShutdownFloorMs = 5'000;  // for controllers that report no RTD3E

  ShutDown(Registers& registers, std::uint32_t rtd3e_us);
  Result<bool> step(std::uint64_t now_ns);

 private:
  Registers& registers_;
  const std::uint64_t bound_ms_;
  std::uint64_t deadline_ns_ = 0;  // 0: not begun
};

// CSTS, if the controller is there: a device that is gone reads as all ones, or as zeros while vfio still answers for
// its config space.
Result<std::uint32_t> read_csts(Registers& registers);

// Whether AQA, ASQ and ACQ are those of this queue: CC.EN keeps them, every other reset empties them (3.7.2).
Result<bool> has_admin_queue(Registers& registers, const AdminQueue& admin);

// Error: it is gone, was disabled by somebody else, or has met a fatal error; it answers no command any more.
Result<void> still_ready(Registers& registers);

// Steps a machine until it is done or fails, and calls `meanwhile(now_ns)` between two steps. The machine bounds it.
template <typename Machine, typename Meanwhile>
Result<void> run_to_end(Machine& machine, Clock& clock, Meanwhile&& meanwhile) {
  constexpr std::uint64_t kPauseNs = 20'000;
  for (;;) {
    const std::uint64_t now_ns = clock.now_ns();
    const Result<bool> done = machine.step(now_ns);
    if (!done) return std::unexpected(done.error());
    if (*done) return {};
    meanwhile(now_ns);
    clock.pause_ns(kPauseNs);
  }
}

template <typename Machine>
Result<void> run_to_end(Machine& machine, Clock& clock) {
  return run_to_end(machine, clock, [](std::uint64_t) {});
}

}  // namespace pollux::nvme
