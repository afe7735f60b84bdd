// The controller's life: enabling, reset, shutdown, and access to its registers. NVMe base 2.0c, 3.5 to 3.7.
#include <fmt/format.h>

#include "pollux/tools/softnvme/core/controller.hpp"

namespace pollux::softnvme {
namespace {
constexpr std::uint32_t kWordBytes = 4;
constexpr std::uint32_t kDoorbellsEnd = nvme::reg::kDoorbells + kDoorbellWords * kWordBytes;
}  // namespace

unsigned Controller::advance() {
  Registers& registers = state_.registers;
  unsigned done = 0;
  changing_ = false;
  if (registers.take_reset_request()) {
    reset();
    ++done;
  }
  if (registers.enabled() && !registers.ready() && !registers.fatal()) {
    if (!enabling_) enable_start_ns_ = state_.now_ns;
    enabling_ = true;
    if (state_.now_ns - enable_start_ns_ >= state_.config.ready_delay_ns) {
      enable();
      ++done;
    } else {
      changing_ = true;
    }
  }
  if (registers.shutdown_status() == nvme::csts::kShstOccurring) {
    // A medium that cannot be flushed has said so itself; the shutdown ends all the same.
    io_.flush_all();
    registers.set_shutdown_status(nvme::csts::kShstComplete);
    ++done;
  }
  if (registers.take_shutdown_request() && registers.shutdown_status() == nvme::csts::kShstNormal) {
    registers.set_shutdown_status(nvme::csts::kShstOccurring);
    // What was rung before the shutdown is no breach of it. After a fatal error a ring may be gone.
    if (!registers.fatal() && follow_mappings()) {
      for (SubmissionQueue* sq : state_.queues.submission_queues()) state_.queues.observe(*sq);
    }
    breach_reported_ = false;
    changing_ = true;
    ++done;
  }
  return done;
}

// 3.5.1. What cannot be enabled ends in CSTS.CFS, and only a reset leads out of that.
void Controller::enable() {
  Registers& registers = state_.registers;
  enabling_ = false;
  registers.set_shutdown_status(nvme::csts::kShstNormal);
  // Doorbells rung while the controller was disabled are void: queues begin with theirs at 0.
  state_.queues.clear();
  state_.dma.refresh();
  if (!registers.can_enable()) return registers.set_fatal();
  // The admin queue's interrupt is always on, and is vector 0 (3.1.3.10).
  if (!state_.queues.create_cq(0, registers.acq(), registers.acq_entries(), 0)) {
    state_.violations.add(Rule::dma_unmapped,
                          fmt::format("enabled with ACQ {:#x}, {} entries, not all mapped for writing", registers.acq(),
                                      registers.acq_entries()));
    return registers.set_fatal();
  }
  if (!state_.queues.create_sq(0, registers.asq(), registers.asq_entries(), 0)) {
    state_.violations.add(Rule::dma_unmapped,
                          fmt::format("enabled with ASQ {:#x}, {} entries, not all mapped for reading", registers.asq(),
                                      registers.asq_entries()));
    return registers.set_fatal();
  }
  registers.set_ready();
}

void Controller::reset() {
  enabling_ = false;
  state_.queues.clear();
  state_.held.reset();
  state_.events.reset();
  state_.features = Features(state_.config);
  state_.registers.controller_reset();
}

void Controller::function_reset() {
  if (state_.registers.ready() && state_.registers.shutdown_status() != nvme::csts::kShstComplete) {
    ++state_.logs.health().unsafe_shutdowns;
  }
  reset();
  state_.registers.function_reset();
  changing_ = false;
}

void Controller::look_for_shutdown_breach() {
  for (const SubmissionQueue* sq : state_.queues.submission_queues()) {
    // After a shutdown the host may take its memory back, and with it a shadow.
    if (sq->event != nullptr && state_.dma.stale()) continue;
    const std::uint32_t tail = __atomic_load_n(sq->told, __ATOMIC_ACQUIRE);
    if (tail == sq->tail || breach_reported_) continue;
    state_.violations.add(Rule::command_after_shutdown, fmt::format("tail {} rung for SQ {} with CSTS.SHST {}", tail,
                                                                    sq->id, state_.registers.shutdown_status()));
    breach_reported_ = true;
  }
}

std::uint64_t Controller::read(std::uint32_t offset, unsigned size_bytes) {
  if ((size_bytes != 4 && size_bytes != 8) || offset % size_bytes != 0) {
    state_.violations.add(Rule::register_access, fmt::format("read of {} bytes at {:#x}", size_bytes, offset));
    return 0;
  }
  // A doorbell's value when read is the vendor's choice (PCIe transport 1.0c, 3.1.2).
  return offset < nvme::reg::kDoorbells ? state_.registers.read(offset, size_bytes) : 0;
}

void Controller::write(std::uint32_t offset, unsigned size_bytes, std::uint64_t value) {
  const bool doorbell = offset >= nvme::reg::kDoorbells && offset < kDoorbellsEnd;
  if ((size_bytes != 4 && size_bytes != 8) || offset % size_bytes != 0 || (doorbell && size_bytes != kWordBytes)) {
    state_.violations.add(Rule::register_access,
                          fmt::format("write of {:#x}, {} bytes, at {:#x}", value, size_bytes, offset));
    return;
  }
  if (offset < nvme::reg::kDoorbells) return state_.registers.write(offset, size_bytes, value);
  if (doorbell) {
    state_.queues.write_doorbell((offset - nvme::reg::kDoorbells) / kWordBytes, static_cast<std::uint32_t>(value));
    return;
  }
  state_.violations.add(Rule::register_read_only, fmt::format("write of {:#x} at {:#x}", value, offset));
}

}  // namespace pollux::softnvme
