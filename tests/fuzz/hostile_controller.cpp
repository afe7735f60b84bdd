#include "hostile_controller.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::fuzz {
namespace {

using namespace nvme;

HostileController* the_only = nullptr;  // a Scheme is a plain function

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBarBytes = 0x2000;

}  // namespace

class HostileController::Device final : public vfio::Device {
 public:
  explicit Device(HostileController& controller) : c_(controller) {}
  const vfio::Address& address() const override { return address_; }
  Result<vfio::RegionInfo> region_info(vfio::RegionIndex index) override {
    if (index == vfio::RegionIndex::bar0) return c_.region_;
    return vfio::RegionInfo{.size_bytes = index == vfio::RegionIndex::config ? kPage : 0, .mappable = {}};
  }
  Result<void> read(vfio::RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override {
    if (index == vfio::RegionIndex::config) {
      if (offset > kPage || into.size() > kPage - offset) return fail("outside");
      std::copy_n(c_.config_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
      return {};
    }
    const std::uint32_t value = c_.read_register(static_cast<std::uint32_t>(offset));
    std::memcpy(into.data(), &value, std::min(into.size(), sizeof value));
    return {};
  }
  Result<void> write(vfio::RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override {
    if (index == vfio::RegionIndex::config) {
      if (offset > kPage || from.size() > kPage - offset) return fail("outside");
      if ((c_.traits_ & kOddRegisters) == 0 || c_.input_.u8() != 1)
        std::ranges::copy(from, c_.config_.begin() + static_cast<std::ptrdiff_t>(offset));
      return {};
    }
    c_.write_register(offset, from);
    return {};
  }
  Result<vfio::MappedArea> map(vfio::RegionIndex, vfio::RegionArea area) override {
    // As a kernel would: what it said may be mapped, can be, as far as there is something.
    if (area.offset % kPage != 0 || area.offset > kBarBytes || area.size_bytes > kBarBytes - area.offset)
      return fail("cannot be mapped");
    return vfio::MappedArea(c_.bar_.data() + area.offset, area, nullptr);
  }
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex) override {
    if ((c_.traits_ & kInterrupts) == 0) return vfio::InterruptInfo{};
    return vfio::InterruptInfo{.count = c_.honest_ ? 4u : c_.input_.u8() + 1u, .eventfd = true};
  }
  Result<void> set_interrupts(vfio::InterruptIndex index, std::span<const int> eventfds) override {
    int& kept = c_.eventfds_[static_cast<std::size_t>(index)];
    if (kept >= 0) close(kept);
    kept = eventfds.empty() || eventfds.back() < 0 ? -1 : fcntl(eventfds.back(), F_DUPFD_CLOEXEC, 0);
    return {};
  }
  Result<void> reset() override {
    if ((c_.traits_ & kNoReset) != 0) return fail("no reset");
    c_.mood_ = Mood::well;
    c_.reset();
    return {};
  }
  bool may_come_back() const override { return (c_.traits_ & kReturns) != 0; }
  std::expected<void, vfio::NotBack> reconnect() override {
    if (!c_.honest_)
      if (const unsigned how = c_.input_.u8() % 4; how % 2 != 0)
        return std::unexpected(vfio::NotBack{{"not yet, or another", {}}, how == 3});
    if (const auto done = reset(); !done) return std::unexpected(vfio::NotBack{done.error(), false});
    return {};
  }

 private:
  HostileController& c_;
  vfio::Address address_{"fuzz:", "fuzz", "", {}, {}};
};

class HostileController::Space final : public vfio::IoAddressSpace {
 public:
  explicit Space(HostileController& controller) : c_(controller) {}
  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address&) override { return std::make_unique<Device>(c_); }
  Result<void> map(const vfio::DmaMapping& mapping) override {
    must(c_.mapped_.emplace(mapping.iova, mapping).second, "an IOVA is mapped once");
    return {};
  }
  Result<void> unmap(vfio::Iova iova, std::uint64_t) override {
    must(c_.mapped_.erase(iova) == 1, "what is unmapped was mapped");
    return {};
  }
  std::vector<vfio::IovaRange> usable_ranges() const override { return {{0x1000, 0x7f'ffff'ffff}}; }
  std::uint64_t page_sizes() const override { return kPage; }
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  std::string describe() const override { return "fuzz"; }

 private:
  HostileController& c_;
};

vfio::Scheme HostileController::scheme() {
  return {"fuzz", [](const vfio::Address&) -> Result<std::unique_ptr<vfio::IoAddressSpace>> {
            return std::make_unique<Space>(*the_only);
          }};
}

HostileController::HostileController(Input& input, bool honest) : input_(input), honest_(honest), bar_(kBarBytes) {
  the_only = this;
  eventfds_.fill(-1);
  traits_ = input_.u8();
  cap_ = cap::kMqes.put(std::uint64_t{0}, 63);
  cap_ = cap::kCss.put(cap::kTo.put(cap_, 2), cap::kCssNvm);
  version_ = (traits_ & kOldVersion) != 0 ? 0x0001'0000 : 0x0002'0000;
  region_ = {.size_bytes = kBarBytes, .readable = true, .writable = true, .mappable = {}};
  if ((traits_ & kMapped) != 0) region_.mappable = {{reg::kDoorbells, kPage}};
  if ((traits_ & kOddRegisters) != 0) {
    cap_ = input_.u64();
    version_ = input_.u32();
    crto_ = input_.u32();
  }
  if ((traits_ & kOddRegion) != 0) {
    region_.size_bytes = input_.u64();
    region_.readable = region_.writable = input_.u8() % 2 == 0;
    region_.mappable = {{input_.u64(), input_.u64()}};
    std::ranges::copy(std::as_bytes(input_.bytes(0x40)), bar_.begin());  // what a mapping of the registers shows
  }
  const std::uint32_t ids = softnvme::kVendorId | std::uint32_t{softnvme::kDeviceId} << 16;
  std::memcpy(config_.data(), &ids, sizeof ids);
}

HostileController::~HostileController() {
  for (const int fd : eventfds_)
    if (fd >= 0) close(fd);
  the_only = nullptr;
}

void HostileController::pause_ns(std::uint64_t ns) {
  now_ns_ += ns + (mood_ == Mood::all_ones || mood_ == Mood::zeros ? kStepWhileGoneNs : kStepNs);
  step();
}

std::byte* HostileController::memory(std::uint64_t iova, std::uint64_t size_bytes) {
  const auto above = mapped_.upper_bound(iova);
  if (above == mapped_.begin()) return nullptr;
  const vfio::DmaMapping& one = std::prev(above)->second;
  const std::uint64_t offset = iova - one.iova;
  if (offset > one.size_bytes || size_bytes > one.size_bytes - offset) return nullptr;
  return static_cast<std::byte*>(one.address) + offset;
}

std::uint32_t HostileController::read_register(std::uint32_t offset) {
  if (mood_ == Mood::all_ones) return kAllOnes;
  if (mood_ == Mood::zeros) return 0;
  switch (offset) {
    case reg::kCap:
      return static_cast<std::uint32_t>(cap_);
    case reg::kCap + 4:
      return static_cast<std::uint32_t>(cap_ >> 32);
    case reg::kVs:
      return version_;
    case reg::kCc:
      return cc_;
    case reg::kCrto:
      return crto_;
    case reg::kCsts: {
      const bool slow = mood_ == Mood::slow && ++looks_ % 8 != 0;
      std::uint32_t status = csts_;
      if (mood_ == Mood::stuck || slow) status ^= 1;
      if (mood_ == Mood::fatal) status |= 2;
      return status;
    }
    default:
      return 0;
  }
}

void HostileController::write_register(std::uint64_t offset, std::span<const std::byte> from) {
  std::uint32_t value = 0;
  std::memcpy(&value, from.data(), std::min(from.size(), sizeof value));
  const auto low = [&](std::uint64_t old) { return (old & ~0xffff'ffffull) | value; };
  const auto high = [&](std::uint64_t old) { return (old & 0xffff'ffff) | std::uint64_t{value} << 32; };
  switch (offset) {
    case reg::kAqa:
      aqa_ = value;
      break;
    case reg::kAsq:
      asq_ = low(asq_);
      break;
    case reg::kAsq + 4:
      asq_ = high(asq_);
      break;
    case reg::kAcq:
      acq_ = low(acq_);
      break;
    case reg::kAcq + 4:
      acq_ = high(acq_);
      break;
    case reg::kCc:
      configure(value);
      break;
    default:
      if (offset >= reg::kDoorbells) ring_doorbell((offset - reg::kDoorbells) >> (2 + cap::kDstrd.of(cap_)), value);
  }
}

void HostileController::configure(std::uint32_t cc) {
  if (!honest_) mood_ = static_cast<Mood>(input_.u8() % 8 % 6);
  const bool was_enabled = cc::kEn.of(cc_) != 0, is_enabled = cc::kEn.of(cc) != 0;
  cc_ = cc;
  if (was_enabled && !is_enabled) reset();
  if (is_enabled && !was_enabled) {
    queues_[0].submissions = {asq_, static_cast<std::uint32_t>(aqa::kAsqs.of(aqa_)) + 1};
    queues_[0].completions = {acq_, static_cast<std::uint32_t>(aqa::kAcqs.of(aqa_)) + 1};
    csts_ = 1;
  }
  if (cc::kShn.of(cc) != 0) csts_ = csts::kShst.put(csts_, csts::kShstComplete);
}

void HostileController::reset() {
  queues_ = {};
  event_request_.reset();
  shadows_iova_ = 0;
  csts_ = 0;
  cc_ = 0;
}

void HostileController::ring_doorbell(std::uint64_t index, std::uint32_t value) {
  const std::uint64_t qid = index / 2;
  if (qid >= kQueues) return;
  Queue& queue = queues_[qid];
  (index % 2 == 0 ? queue.submissions : queue.completions).doorbell = value;
  if (index % 2 == 0) fetch(static_cast<std::uint16_t>(qid));
}

void HostileController::step() {
  for (std::uint16_t qid = 0; qid < kQueues; ++qid) {
    const std::uint64_t offset = 2 * qid * 4;
    std::uint32_t value = queues_[qid].submissions.doorbell;
    if (!region_.mappable.empty()) std::memcpy(&value, bar_.data() + reg::kDoorbells + offset, sizeof value);
    if (const std::byte* const shadow = shadows_iova_ != 0 ? memory(shadows_iova_ + offset, 4) : nullptr)
      std::memcpy(&value, shadow, sizeof value);
    queues_[qid].submissions.doorbell = value;
    fetch(qid);
  }
  if (honest_) return;
  const std::uint8_t unasked = input_.u8();
  if (unasked < 0xe0) return;
  if (unasked < 0xe8) return scribble();
  if (unasked < 0xf0) return signal(unasked % 5);
  if (unasked < 0xf8) return raise_event(input_.u32());
  mood_ = static_cast<Mood>(unasked % 6);
}

// Bytes anywhere in the memory that it may reach: rings, lists, shadows, data.
void HostileController::scribble() {
  if (mapped_.empty()) return;
  const vfio::DmaMapping& one =
      std::next(mapped_.begin(), static_cast<std::ptrdiff_t>(input_.u8() % mapped_.size()))->second;
  const std::uint64_t offset = input_.u16() * std::uint64_t{8} % one.size_bytes;
  const auto bytes = input_.bytes(std::min<std::uint64_t>(input_.u8() % 64, one.size_bytes - offset));
  std::ranges::copy(std::as_bytes(bytes), static_cast<std::byte*>(one.address) + offset);
}

void HostileController::raise_event(std::uint32_t dw0) {
  if (event_request_) complete(0, *std::exchange(event_request_, std::nullopt), dw0, 0);
}

void HostileController::signal(unsigned index) {
  constexpr std::uint64_t kOne = 1;
  if (eventfds_[index] >= 0) (void)!::write(eventfds_[index], &kOne, sizeof kOne);
}

}  // namespace pollux::fuzz
