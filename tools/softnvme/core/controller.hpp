// The software controller: registers to write, doorbells to ring, and step(), which does whatever there is to do. It
// owns no thread, no clock and no memory of the host's; one thread at a time calls it. Written from the specification,
// not from a driver. NVMe base 2.0c; NVM command set 1.0c.
#pragma once

#include <cstdint>

#include "pollux/tools/softnvme/core/admin.hpp"
#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/core/fault.hpp"
#include "pollux/tools/softnvme/core/host_memory.hpp"
#include "pollux/tools/softnvme/core/interrupts.hpp"
#include "pollux/tools/softnvme/core/io.hpp"
#include "pollux/tools/softnvme/core/state.hpp"

namespace pollux::softnvme {

class Controller {
 public:
  // `memory` and `doorbells` (kDoorbellWords words, zero: what BAR0 shows from 1000h on) outlive the controller, as do
  // the stores.
  Controller(Config config, const HostMemory& memory, std::uint32_t* doorbells);

  // Does what there is to do at `now_ns` and returns how much that was: 0 means idle. Bounded: at most kBurst commands
  // a queue.
  unsigned step(std::uint64_t now_ns);

  // Registers of BAR0, 4 or 8 bytes at their natural alignment, doorbells included. Any other access is a violation and
  // reads as 0.
  std::uint64_t read(std::uint32_t offset, unsigned size_bytes);
  void write(std::uint32_t offset, unsigned size_bytes, std::uint64_t value);

  // PCI Command register, Bus Master Enable: without it there is no DMA, so no command is fetched and nothing is
  // posted.
  void set_bus_master(bool enabled) { bus_master_ = enabled; }

  // A fatal error that has its cause outside: CSTS.CFS, until a reset.
  void fail() { state_.registers.set_fatal(); }

  // Function level reset: as after power-on, all queues gone.
  void function_reset();

  // Namespace `nsid` of the configuration grows, shrinks, vanishes (0 blocks) or comes back; its content stays. The
  // host is told by an event and by log page 04h.
  void resize_namespace(std::uint32_t nsid, std::uint64_t block_count);

  // nullptr: none. The hook outlives its use here.
  void set_fault_hook(FaultHook* hook);

  // Where interrupts go from now on; nullptr: nowhere, as with MSI-X off. What was posted before is not made up for. It
  // outlives its use here.
  void set_interrupts(Interrupts* interrupts);

  // What it has served, resets notwithstanding.
  const HealthCounters& counters() const { return state_.logs.health(); }

  const ViolationLog& violations() const { return state_.violations; }
  ViolationLog& violations() { return state_.violations; }

  static constexpr unsigned kBurst = 64;         // commands from one queue before the next has its turn
  static constexpr unsigned kScanInterval = 64;  // steps between two looks at the doorbells of queues that do not exist

 private:
  unsigned advance();  // enable, reset, shutdown
  void enable();
  void reset();
  unsigned serve(SubmissionQueue& sq);
  Reply execute(SubmissionQueue& sq, const nvme::Command& command);
  Reply execute_unless_faulty(SubmissionQueue& sq, const nvme::Command& command);
  bool header_is_good(const SubmissionQueue& sq, const nvme::Command& command);
  unsigned serve_held();
  unsigned report_events();
  void look_for_shutdown_breach();

  // To be called before queues are looked at: after a change of mappings they are found anew. False: the memory of one
  // is gone, which is fatal.
  bool follow_mappings() {
    if (!state_.dma.refresh() || state_.queues.rebind()) [[likely]]
      return true;
    state_.registers.set_fatal();
    return false;
  }

  State state_;
  AdminCommands admin_;
  IoCommands io_;
  Interrupts* interrupts_ = nullptr;
  bool bus_master_ = false;
  bool changing_ = false;  // advance() has something to finish
  bool breach_reported_ = false;
  bool enabling_ = false;
  std::uint64_t enable_start_ns_ = 0;
  unsigned steps_since_scan_ = 0;
};

}  // namespace pollux::softnvme
