#include "pollux/tests/simulation/device.hpp"

#include <algorithm>
#include <cstring>

#include "pollux/driver/spec/registers.hpp"

namespace pollux::simulation {
namespace {

constexpr std::uint32_t kVectors = 17;
constexpr unsigned kLooksBeforeSleep = 3;
constexpr vfio::IovaRange kUsable{0, 0x7f'ffff'ffff};

class SimulatedDevice final : public vfio::Device {
 public:
  SimulatedDevice(Hardware& hardware, vfio::Address address) : hardware_(hardware), address_(std::move(address)) {}

  const vfio::Address& address() const override { return address_; }

  Result<vfio::RegionInfo> region_info(vfio::RegionIndex index) override {
    vfio::RegionInfo info;
    info.size_bytes = index == vfio::RegionIndex::bar0 ? softnvme::kBar0Bytes : softnvme::kConfigSpaceBytes;
    return info;
  }
  Result<void> read(vfio::RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override {
    if (index != vfio::RegionIndex::bar0) {
      hardware_.read_config(offset, into);
      return {};
    }
    const std::uint32_t value = hardware_.read_bar0(static_cast<std::uint32_t>(offset));
    std::memcpy(into.data(), &value, std::min(into.size(), sizeof value));
    return {};
  }
  Result<void> write(vfio::RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override {
    if (index != vfio::RegionIndex::bar0) {
      hardware_.write_config(offset, from);
      return {};
    }
    std::uint32_t value = 0;
    std::memcpy(&value, from.data(), std::min(from.size(), sizeof value));
    hardware_.write_bar0(static_cast<std::uint32_t>(offset), value);
    return {};
  }
  Result<vfio::MappedArea> map(vfio::RegionIndex, vfio::RegionArea) override {
    return fail("simulation: nothing can be mapped");
  }
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex) override { return vfio::InterruptInfo{}; }
  Result<void> set_interrupts(vfio::InterruptIndex, std::span<const int>) override {
    return fail("simulation: there are no interrupts");
  }
  Result<void> reset() override {
    if (hardware_.gone()) return fail("simulation: the device is gone");
    hardware_.count_function_reset();
    hardware_.function_reset();
    return {};
  }

 private:
  Hardware& hardware_;
  vfio::Address address_;
};

}  // namespace

Hardware::Hardware(const softnvme::HostMemory& memory, bool shadow_doorbells, Faults& faults, Rng& rng)
    : memory_(memory), shadow_doorbells_(shadow_doorbells), faults_(faults), rng_(rng), config_(kVectors) {
  power_up();
}

void Hardware::power_up() {
  if (core_) first_violation_ = violation();
  softnvme::Config config;
  config.io_queues = kVectors - 1;
  config.shadow_doorbells = shadow_doorbells_;
  config.interrupt_vectors = kVectors;
  config.looks_before_sleep = kLooksBeforeSleep;
  config.serial = other_ ? "OTHER" : "SIMULATED";
  config.namespaces = {{1, kBlockBytes, blocks_, other_ ? &other_medium_ : &medium_}};
  doorbells_ = {};
  config_ = softnvme::ConfigSpace(kVectors);
  fatal_ = never_ready_ = false;
  core_.emplace(std::move(config), memory_, doorbells_.data());
  core_->set_fault_hook(&faults_);
  core_->set_bus_master(config_.bus_master());
}

unsigned Hardware::step(std::uint64_t now_ns) {
  now_ns_ = now_ns;
  return gone_ || fatal_ ? 0 : core_->step(now_ns);
}

std::uint32_t Hardware::read_bar0(std::uint32_t offset) {
  namespace csts = nvme::csts;
  if (gone_) return gone_reads_zero_ ? 0 : ~0u;
  auto value = static_cast<std::uint32_t>(core_->read(offset, 4));
  if (offset != nvme::reg::kCsts) return value;
  if (fatal_) value = csts::kCfs.put(value, 1);
  if (never_ready_) value = csts::kRdy.put(value, 0);
  return value;
}

void Hardware::write_bar0(std::uint32_t offset, std::uint32_t value) {
  if (gone_) return;
  const bool is_doorbell = offset >= nvme::reg::kDoorbells;
  if (is_doorbell && faults_.loses_doorbell()) return;
  if (offset == nvme::reg::kCc && nvme::cc::kEn.of(value) == 0) fatal_ = false;  // only a reset leads out of it
  if (offset == nvme::reg::kCc && never_ready_) value = nvme::cc::kEn.put(value, 0);
  core_->write(offset, 4, value);
  if (is_doorbell && rng_.one_in(2)) step(now_ns_);  // a controller may be that quick
}

void Hardware::read_config(std::uint64_t offset, std::span<std::byte> into) const {
  config_.read(offset, into);
  if (gone_) std::ranges::fill(into, std::byte{0xff});
}

void Hardware::write_config(std::uint64_t offset, std::span<const std::byte> from) {
  if (gone_) return;
  if (config_.write(offset, from)) function_reset();
  core_->set_bus_master(config_.bus_master());
}

void Hardware::function_reset() {
  fatal_ = never_ready_ = false;
  core_->function_reset();
}

void Hardware::resize(std::uint64_t blocks) {
  blocks_ = blocks;
  core_->resize_namespace(1, blocks);
}

void Hardware::lose_power() {
  (other_ ? other_medium_ : medium_).lose_power(rng_);
  power_up();
}

void Hardware::change_drive() {
  lose_power();
  other_ = true;
  power_up();
}

std::string Hardware::violation() const {
  if (!first_violation_.empty() || core_->violations().list().empty()) return first_violation_;
  return core_->violations().list().front().text;
}

Result<std::unique_ptr<vfio::Device>> SimulatedSpace::attach(const vfio::Address& address) {
  return std::make_unique<SimulatedDevice>(*hardware_, address);
}

Result<void> SimulatedSpace::map(const vfio::DmaMapping& mapping) {
  return table_.map(mapping, std::span(&kUsable, 1));
}

std::vector<vfio::IovaRange> SimulatedSpace::usable_ranges() const { return {kUsable}; }

}  // namespace pollux::simulation
