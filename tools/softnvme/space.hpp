// The I/O address space of soft: devices: a table of mappings that all of them share. Safe from any thread. It demands
// nothing of the memory: the controllers run in this process and reach it by address. Its ranges and limits are those
// of an Intel IOMMU, hole included, so that they are exercised; or those that its maker wants.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "pollux/tools/softnvme/gate.hpp"
#include "pollux/tools/softnvme/mapping_table.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::softnvme {

class SoftSpace final : public vfio::IoAddressSpace {
 public:
  SoftSpace();
  // `usable`: ascending, disjoint. For a server, which has mapped the memory of its clients itself: that is taken as it
  // is, where a program's own is refused as the kernel would refuse it.
  explicit SoftSpace(std::vector<vfio::IovaRange> usable) : usable_(std::move(usable)) {}

  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address& address) override;
  Result<void> map(const vfio::DmaMapping& mapping) override;
  Result<void> unmap(vfio::Iova iova, std::uint64_t size_bytes) override;
  std::vector<vfio::IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  std::optional<std::uint32_t> mappings_left() const override;
  std::string describe() const override { return "software"; }

  // For the devices: their controllers read the table while they hold their own gate.
  const MappingTable& table() const { return table_; }
  void leave(Gate& gate);

 private:
  // Every controller stands still as long as this lives.
  class Standstill;

  const std::vector<vfio::IovaRange> usable_;
  bool as_the_kernel_ = false;
  mutable std::mutex mutex_;  // taken before any gate
  MappingTable table_;        // changed with mutex_ and every gate held
  std::vector<Gate*> gates_;  // of the devices that are attached
  bool attached_ = false;
};

}  // namespace pollux::softnvme
