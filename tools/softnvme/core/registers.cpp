#include "pollux/tools/softnvme/core/registers.hpp"

#include <fmt/format.h>

namespace pollux::softnvme {
namespace {

namespace cap = nvme::cap;
namespace cc = nvme::cc;
namespace reg = nvme::reg;

constexpr std::uint32_t kVersion = 0x0002'0000;  // 2.0
constexpr std::uint32_t kPageMask = 0xfff;       // bits 11:0 of ASQ and ACQ are reserved
constexpr std::uint64_t kTimeoutUnits = kTimeoutMs / cap::kTimeoutUnitMs;

constexpr std::uint32_t kCcBits =
    static_cast<std::uint32_t>(cc::kEn.mask() | cc::kCss.mask() | cc::kMps.mask() | cc::kAms.mask() | cc::kShn.mask() |
                               cc::kIosqes.mask() | cc::kIocqes.mask());
constexpr std::uint32_t kAqaBits = static_cast<std::uint32_t>(nvme::aqa::kAsqs.mask() | nvme::aqa::kAcqs.mask());

std::uint64_t capabilities(const Config& config) {
  std::uint64_t value = 0;
  value = cap::kMqes.put(value, config.max_queue_entries - 1);
  value = cap::kCqr.put(value, 1);
  value = cap::kTo.put(value, kTimeoutUnits);
  value = cap::kCss.put(value, cap::kCssNvm);
  value = cap::kMpsmax.put(value, kMaxPageShift - 12);
  return cap::kCrms.put(value, 1);
}

}  // namespace

Registers::Registers(const Config& config, ViolationLog& violations)
    : violations_(violations), cap_(capabilities(config)) {}

std::uint64_t Registers::read(std::uint32_t offset, unsigned size_bytes) const {
  if (size_bytes == 4) return read32(offset);
  return read32(offset) | std::uint64_t{read32(offset + 4)} << 32;
}

std::uint32_t Registers::read32(std::uint32_t offset) const {
  switch (offset) {
    case reg::kCap:
      return static_cast<std::uint32_t>(cap_);
    case reg::kCap + 4:
      return static_cast<std::uint32_t>(cap_ >> 32);
    case reg::kVs:
      return kVersion;
    case reg::kIntms:
    case reg::kIntmc:
      return intm_;
    case reg::kCc:
      return cc_;
    case reg::kCsts:
      return csts_;
    case reg::kAqa:
      return aqa_;
    case reg::kAsq:
      return static_cast<std::uint32_t>(asq_);
    case reg::kAsq + 4:
      return static_cast<std::uint32_t>(asq_ >> 32);
    case reg::kAcq:
      return static_cast<std::uint32_t>(acq_);
    case reg::kAcq + 4:
      return static_cast<std::uint32_t>(acq_ >> 32);
    case reg::kCrto:
      return nvme::crto::kCrwmt.put(std::uint32_t{0}, kTimeoutUnits);
    default:
      return 0;
  }
}

void Registers::write(std::uint32_t offset, unsigned size_bytes, std::uint64_t value) {
  const bool is_64_bits = offset == reg::kCap || offset == reg::kAsq || offset == reg::kAcq;
  if (size_bytes == 8 && !is_64_bits) {
    violations_.add(Rule::register_access, fmt::format("64-bit write of {:#x} at {:#x}", value, offset));
  }
  write32(offset, static_cast<std::uint32_t>(value));
  if (size_bytes == 8) write32(offset + 4, static_cast<std::uint32_t>(value >> 32));
}

void Registers::write32(std::uint32_t offset, std::uint32_t value) {
  switch (offset) {
    case reg::kIntms:
      intm_ |= value;
      return;
    case reg::kIntmc:
      intm_ &= ~value;
      return;
    case reg::kCc:
      return write_cc(value);
    case reg::kCsts:
      // NSSRO is write-1-to-clear and always 0 here, with no subsystem reset; zeros change nothing.
      if ((value & ~static_cast<std::uint32_t>(nvme::csts::kNssro.mask())) == 0) return;
      break;
    case reg::kAqa:
      if (!admin_queue_writable("AQA")) return;
      if ((value & ~kAqaBits) != 0) {
        violations_.add(Rule::register_reserved_bits, fmt::format("AQA written with {:#010x}", value));
      }
      aqa_ = value & kAqaBits;
      return;
    case reg::kAsq:
      return write_queue_base(asq_, false, value, "ASQ");
    case reg::kAsq + 4:
      return write_queue_base(asq_, true, value, "ASQ");
    case reg::kAcq:
      return write_queue_base(acq_, false, value, "ACQ");
    case reg::kAcq + 4:
      return write_queue_base(acq_, true, value, "ACQ");
    default:
      break;
  }
  violations_.add(Rule::register_read_only, fmt::format("write of {:#x} at {:#x}", value, offset));
}

bool Registers::admin_queue_writable(const char* name) {
  if (!enabled()) return true;
  violations_.add(Rule::admin_queue_changed_while_enabled, fmt::format("{} written while CC.EN is 1", name));
  return false;
}

void Registers::write_queue_base(std::uint64_t& base, bool high, std::uint32_t value, const char* name) {
  if (!admin_queue_writable(name)) return;
  if (high) {
    base = (base & 0xffff'ffff) | std::uint64_t{value} << 32;
    return;
  }
  if ((value & kPageMask) != 0) {
    violations_.add(Rule::admin_queue_misaligned, fmt::format("{} written with {:#x} in its low half", name, value));
  }
  base = (base & ~0xffff'ffffull) | (value & ~kPageMask);
}

void Registers::write_cc(std::uint32_t value) {
  if ((value & ~kCcBits) != 0) {
    violations_.add(Rule::register_reserved_bits, fmt::format("CC written with {:#010x}", value));
    value &= kCcBits;
  }
  const bool enabling = cc::kEn.of(value) != 0;
  if (enabled() && enabling) {
    const std::uint64_t fixed = cc::kCss.mask() | cc::kMps.mask() | cc::kAms.mask();
    const std::uint64_t sizes = cc::kIosqes.mask() | cc::kIocqes.mask();
    const std::uint64_t held = io_queues_exist_ ? fixed | sizes : fixed;
    if (((value ^ cc_) & held) != 0) {
      violations_.add(Rule::cc_changed_while_enabled, fmt::format("CC changed from {:#010x} to {:#010x}", cc_, value));
      value = static_cast<std::uint32_t>((value & ~held) | (cc_ & held));
    }
  }
  if (!enabled() && enabling && (ready() || reset_requested_)) {
    violations_.add(Rule::enabled_before_reset_finished, "CC.EN set to 1 while CSTS.RDY is 1");
  }
  if (enabled() && !enabling) {
    if (!ready() && !fatal()) violations_.add(Rule::disabled_before_ready, "CC.EN set to 0 while CSTS.RDY is 0");
    reset_requested_ = true;
  }
  if (cc::kShn.of(cc_) == cc::kShnNone && cc::kShn.of(value) != cc::kShnNone) shutdown_requested_ = true;
  cc_ = value;
  cc_written_ = true;
}

bool Registers::can_enable() {
  bool good = true;
  if (cc::kCss.of(cc_) != cc::kCssNvm || page_shift() > kMaxPageShift || cc::kAms.of(cc_) != 0) {
    violations_.add(Rule::enabled_with_unsupported_value, fmt::format("CC is {:#010x} and CAP {:#018x}", cc_, cap_));
    good = false;
  }
  if (asq_entries() < 2 || acq_entries() < 2) {
    violations_.add(Rule::admin_queue_bad_size,
                    fmt::format("enabled with {} submission and {} completion entries", asq_entries(), acq_entries()));
    good = false;
  }
  const std::uint64_t page_mask = (1ull << page_shift()) - 1;
  if (((asq_ | acq_) & page_mask) != 0) {
    violations_.add(Rule::admin_queue_misaligned,
                    fmt::format("enabled with ASQ {:#x}, ACQ {:#x} and pages of {} bytes", asq_, acq_, page_mask + 1));
    good = false;
  }
  return good;
}

void Registers::controller_reset() {
  csts_ = 0;
  intm_ = 0;
  io_queues_exist_ = false;
}

void Registers::function_reset() {
  controller_reset();
  cc_ = aqa_ = 0;
  asq_ = acq_ = 0;
  reset_requested_ = shutdown_requested_ = cc_written_ = false;
}

}  // namespace pollux::softnvme
