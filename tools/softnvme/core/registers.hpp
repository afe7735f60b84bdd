// The controller's registers: what they read as, what a write may change and when. Effects (enable, reset, shutdown)
// are the Controller's: a write of CC only leaves word that something is to be done. NVMe base 2.0c, 3.1.3.
#pragma once

#include <cstdint>
#include <utility>

#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/core/violation_log.hpp"

namespace pollux::softnvme {

inline constexpr std::uint64_t kTimeoutMs =
    5000;                                      // CAP.TO and CRTO.CRWMT: the longest that enabling or disabling takes
inline constexpr unsigned kMaxPageShift = 16;  // CAP.MPSMAX: pages of up to 64 KiB

class Registers {
 public:
  Registers(const Config& config, ViolationLog& violations);

  // `size_bytes` 4 or 8; `offset` below the doorbells. Reserved registers read as 0.
  std::uint64_t read(std::uint32_t offset, unsigned size_bytes) const;
  // A write of a 64-bit register in two halves takes effect half by half: low, then high.
  void write(std::uint32_t offset, unsigned size_bytes, std::uint64_t value);

  std::uint32_t cc() const { return cc_; }
  bool enabled() const { return nvme::cc::kEn.of(cc_) != 0; }
  bool ready() const { return nvme::csts::kRdy.of(csts_) != 0; }
  bool fatal() const { return nvme::csts::kCfs.of(csts_) != 0; }
  std::uint32_t shutdown_status() const { return static_cast<std::uint32_t>(nvme::csts::kShst.of(csts_)); }
  unsigned page_shift() const { return 12 + static_cast<unsigned>(nvme::cc::kMps.of(cc_)); }
  std::uint64_t asq() const { return asq_; }
  std::uint64_t acq() const { return acq_; }
  std::uint32_t asq_entries() const { return static_cast<std::uint32_t>(nvme::aqa::kAsqs.of(aqa_)) + 1; }
  std::uint32_t acq_entries() const { return static_cast<std::uint32_t>(nvme::aqa::kAcqs.of(aqa_)) + 1; }

  // CC.EN went from 1 to 0 since this was asked last.
  bool take_reset_request() { return std::exchange(reset_requested_, false); }
  // CC.SHN went from 00b to 01b or 10b since this was asked last.
  bool take_shutdown_request() { return std::exchange(shutdown_requested_, false); }
  // CC was written since this was asked last.
  bool take_cc_written() { return std::exchange(cc_written_, false); }

  // Whether what was written can be enabled; what cannot is a violation.
  bool can_enable();

  void set_ready() { csts_ = nvme::csts::kRdy.put(csts_, 1); }
  void set_fatal() { csts_ = nvme::csts::kCfs.put(csts_, 1); }
  void set_shutdown_status(std::uint32_t shst) { csts_ = nvme::csts::kShst.put(csts_, shst); }
  void set_io_queues_exist(bool exist) { io_queues_exist_ = exist; }

  // Controller Reset by CC.EN: AQA, ASQ, ACQ and CC stay (3.7.2).
  void controller_reset();
  // Function level reset: everything back to its value at power-on.
  void function_reset();

 private:
  std::uint32_t read32(std::uint32_t offset) const;
  void write32(std::uint32_t offset, std::uint32_t value);
  void write_cc(std::uint32_t value);
  bool admin_queue_writable(const char* name);
  void write_queue_base(std::uint64_t& base, bool high, std::uint32_t value, const char* name);

  ViolationLog& violations_;
  std::uint64_t cap_;
  std::uint64_t asq_ = 0;
  std::uint64_t acq_ = 0;
  std::uint32_t intm_ = 0;
  std::uint32_t cc_ = 0;
  std::uint32_t csts_ = 0;
  std::uint32_t aqa_ = 0;
  bool reset_requested_ = false;
  bool shutdown_requested_ = false;
  bool cc_written_ = false;
  bool io_queues_exist_ = false;
};

}  // namespace pollux::softnvme
