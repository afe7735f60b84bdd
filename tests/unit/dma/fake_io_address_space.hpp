// An IoAddressSpace that holds every map and unmap against what the seam demands of its caller, and keeps what it saw.
// A wrong call is written to violations(), which tests assert empty. Limits, ranges and physical addresses are the
// test's to set.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pollux/vfio/device.hpp"

namespace pollux::dma::test {

// What tests of memory need of a device: that it is there.
class FakeDevice : public vfio::Device {
 public:
  explicit FakeDevice(vfio::Address address) : address_(std::move(address)) {}
  const vfio::Address& address() const override { return address_; }
  Result<vfio::RegionInfo> region_info(vfio::RegionIndex) override { return fail("no regions"); }
  Result<void> read(vfio::RegionIndex, std::uint64_t, std::span<std::byte>) override { return fail("no regions"); }
  Result<void> write(vfio::RegionIndex, std::uint64_t, std::span<const std::byte>) override {
    return fail("no regions");
  }
  Result<vfio::MappedArea> map(vfio::RegionIndex, vfio::RegionArea) override { return fail("no regions"); }
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex) override { return fail("no interrupts"); }
  Result<void> set_interrupts(vfio::InterruptIndex, std::span<const int>) override { return fail("no interrupts"); }
  Result<void> reset() override { return fail("no reset"); }

 private:
  vfio::Address address_;
};

class FakeIoAddressSpace : public vfio::IoAddressSpace {
 public:
  // Set before the calls that they are for.
  std::vector<vfio::IovaRange> ranges = {{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}};
  std::vector<vfio::IovaRange> ranges_after_attach = ranges;
  std::uint64_t sizes = 0x4020'1000;
  std::optional<std::uint32_t> entry_limit;
  std::uint64_t memlock_limit_bytes = ~0ull;
  vfio::MemoryDemands wants;
  bool unmap_fails = false;
  // Where memory lies, by its address: in hugepages of 2 MiB each, and what crosses from one to the next is in pieces.
  std::function<vfio::Iova(std::uintptr_t)> physical = [](std::uintptr_t address) { return address + (1ull << 50); };

  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address& address) override {
    ranges = ranges_after_attach;
    return std::make_unique<FakeDevice>(address);
  }

  Result<void> map(const vfio::DmaMapping& mapping) override {
    const std::lock_guard lock(mutex_);
    const auto address = reinterpret_cast<std::uintptr_t>(mapping.address);
    const std::uint64_t granule = 1ull << std::countr_zero(sizes);
    const vfio::Iova last = mapping.iova + (mapping.size_bytes - 1);
    if (((address | mapping.iova | mapping.size_bytes) & (granule - 1)) != 0) violate("map misaligned", mapping.iova);
    if (mapping.size_bytes == 0 || last < mapping.iova) violate("map of nothing", mapping.iova);
    if (wants.physical_addresses) {
      if (mapping.iova != physical(address)) violate("map elsewhere than where the memory lies", mapping.iova);
    } else {
      check_translated(mapping, last);
    }
    if (entry_limit && mapped_.size() >= *entry_limit) return fail_errno(ENOSPC, "mapping memory for DMA failed");
    if (locked_bytes_ + mapping.size_bytes > memlock_limit_bytes) {
      return fail_errno(ENOMEM, "mapping memory for DMA failed");
    }
    mapped_.emplace(mapping.iova, mapping);
    ++maps_made_;
    locked_bytes_ += mapping.size_bytes;
    return {};
  }

  Result<void> unmap(vfio::Iova iova, std::uint64_t size_bytes) override {
    const std::lock_guard lock(mutex_);
    if (unmap_fails) return fail_errno(EIO, "unmapping failed");
    auto [found, end] = mapped_.equal_range(iova);
    while (found != end && found->second.size_bytes != size_bytes) ++found;
    if (found == end) {
      violate("unmap of something that no one map() made", iova);
      return {};
    }
    // The order of release: memory that a device reaches is still there.
    unsigned char resident = 0;
    if (mincore(found->second.address, 1, &resident) != 0) violate("unmap after the memory was freed", iova);
    mapped_.erase(found);
    locked_bytes_ -= size_bytes;
    return {};
  }

  std::vector<vfio::IovaRange> usable_ranges() const override { return ranges; }
  std::uint64_t page_sizes() const override { return sizes; }
  std::optional<std::uint32_t> mappings_left() const override {
    const std::lock_guard lock(mutex_);
    if (!entry_limit) return std::nullopt;
    return *entry_limit - static_cast<std::uint32_t>(mapped_.size());
  }
  vfio::MemoryDemands demands() const override { return wants; }
  Result<vfio::Iova> physical_address(const void* memory, std::uint64_t size_bytes) const override {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if ((address >> 21) != ((address + size_bytes - 1) >> 21)) return fail("the memory is in two physical pieces");
    return physical(address);
  }
  std::string describe() const override { return "fake space"; }

  std::size_t mappings() const { return mapped_.size(); }
  std::size_t maps_made() const { return maps_made_; }  // ever
  // One that begins at this IOVA; an empty one where none does.
  vfio::DmaMapping mapping(vfio::Iova iova) const {
    const auto found = mapped_.find(iova);
    return found != mapped_.end() ? found->second : vfio::DmaMapping{};
  }

  // One of the mappings holds all of this memory.
  bool holds(const void* memory, std::uint64_t size_bytes) const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    for (const auto& [iova, mapping] : mapped_) {
      const auto first = reinterpret_cast<std::uintptr_t>(mapping.address);
      if (first <= address && address + size_bytes <= first + mapping.size_bytes) return true;
    }
    return false;
  }

  // The byte that a device reaches at this IOVA; nullptr: none.
  const std::byte* seen_at(vfio::Iova iova) const {
    for (const auto& [first, mapping] : mapped_) {
      if (first <= iova && iova - first < mapping.size_bytes) {
        return static_cast<const std::byte*>(mapping.address) + (iova - first);
      }
    }
    return nullptr;
  }
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  void check_translated(const vfio::DmaMapping& mapping, vfio::Iova last) {
    bool inside = false;
    for (const vfio::IovaRange& range : ranges) inside |= range.first <= mapping.iova && last <= range.last;
    if (!inside) violate("map outside the ranges", mapping.iova);
    if (mapping.iova == 0) violate("map at IOVA 0", mapping.iova);
    const auto next = mapped_.upper_bound(last);
    if (next != mapped_.begin()) {
      const auto& [iova, other] = *std::prev(next);
      if (iova + (other.size_bytes - 1) >= mapping.iova) violate("map over another mapping", mapping.iova);
    }
  }

  void violate(const char* what, vfio::Iova iova) { violations_.push_back(fmt::format("{} at {:#x}", what, iova)); }

  mutable std::mutex mutex_;
  std::multimap<vfio::Iova, vfio::DmaMapping> mapped_;  // physical addresses may meet
  std::size_t maps_made_ = 0;
  std::uint64_t locked_bytes_ = 0;
  std::vector<std::string> violations_;
};

}  // namespace pollux::dma::test
