// The software controller's core as a vfio::Device in one thread: it advances when the world steps it, and its BAR0
// cannot be mapped, so that each register access is a moment at which something may happen.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "pollux/tests/simulation/faults.hpp"
#include "pollux/tests/simulation/medium.hpp"
#include "pollux/tools/softnvme/config_space.hpp"
#include "pollux/tools/softnvme/core/controller.hpp"
#include "pollux/tools/softnvme/mapping_table.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::simulation {

// The hardware: it outlives the vfio::Device that shows it.
class Hardware {
 public:
  Hardware(const softnvme::HostMemory& memory, bool shadow_doorbells, Faults& faults, Rng& rng);

  unsigned step(std::uint64_t now_ns);

  std::uint32_t read_bar0(std::uint32_t offset);
  void write_bar0(std::uint32_t offset, std::uint32_t value);
  void read_config(std::uint64_t offset, std::span<std::byte> into) const;
  void write_config(std::uint64_t offset, std::span<const std::byte> from);
  void function_reset();  // by whomever

  void become_fatal() { fatal_ = true; }
  void become_never_ready() { never_ready_ = true; }
  void resize(std::uint64_t blocks);  // of the namespace; 0: it is not there
  void lose_power();                  // and get it back
  void change_drive();                // the same with another drive
  void go() {
    gone_ = true;
    gone_reads_zero_ = rng_.one_in(2);
  }

  bool gone() const { return gone_; }
  bool reaches_memory() const { return !gone_ && config_.bus_master(); }
  unsigned function_resets() const { return function_resets_; }  // asked for by the host
  void count_function_reset() { ++function_resets_; }
  bool other_drive_was_changed() const { return other_medium_.changes() != 0; }
  std::string violation() const;  // the first one, or nothing

 private:
  void power_up();

  const softnvme::HostMemory& memory_;
  const bool shadow_doorbells_;
  Faults& faults_;
  Rng& rng_;
  Medium medium_, other_medium_;
  std::array<std::uint32_t, softnvme::kDoorbellWords> doorbells_{};
  softnvme::ConfigSpace config_;
  std::optional<softnvme::Controller> core_;
  std::string first_violation_;  // of cores that are no more
  std::uint64_t now_ns_ = 0;
  std::uint64_t blocks_ = kBlocks;
  bool other_ = false;
  bool fatal_ = false;
  bool never_ready_ = false;
  bool gone_ = false;
  bool gone_reads_zero_ = false;
  unsigned function_resets_ = 0;
};

// The address space that all worlds of this process use, one after the other: so what one leaves mapped shows.
class SimulatedSpace final : public vfio::IoAddressSpace {
 public:
  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address& address) override;
  Result<void> map(const vfio::DmaMapping& mapping) override;
  Result<void> unmap(vfio::Iova iova, std::uint64_t size_bytes) override { return table_.unmap(iova, size_bytes); }
  std::vector<vfio::IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override { return 0x4020'1000; }
  std::optional<std::uint32_t> mappings_left() const override { return table_.mappings_left(); }
  std::string describe() const override { return "simulation"; }

  const softnvme::MappingTable& table() const { return table_; }
  void insert(Hardware* hardware) { hardware_ = hardware; }  // what the next attach() finds

 private:
  softnvme::MappingTable table_;
  Hardware* hardware_ = nullptr;
};

}  // namespace pollux::simulation
