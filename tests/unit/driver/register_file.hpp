// A device that is nothing but registers, for what no real controller does on demand: never getting ready, vanishing,
// odd capabilities. Config space answers too, so that bus mastering can be watched. Time is the test's.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::nvme {

class RegisterFile final : public vfio::Device {
 public:
  // Called after each write of a register, and before each read of one, to play the controller.
  std::function<void(std::uint32_t offset)> on_write;
  std::function<void(std::uint32_t offset)> on_read;
  std::function<void()> on_release;
  // Called when it shall come back after it was away; none: it never does.
  std::function<void()> comes_back;

  std::uint32_t& word(std::uint32_t offset) { return words_[offset / 4]; }
  void set64(std::uint32_t offset, std::uint64_t value) {
    word(offset) = static_cast<std::uint32_t>(value);
    word(offset + 4) = static_cast<std::uint32_t>(value >> 32);
  }

  const vfio::Address& address() const override { return address_; }
  Result<vfio::RegionInfo> region_info(vfio::RegionIndex) override { return region; }
  Result<void> read(vfio::RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override {
    auto* const from = index == vfio::RegionIndex::config ? config_ : reinterpret_cast<std::byte*>(words_.data());
    if (index == vfio::RegionIndex::bar0 && on_read) on_read(static_cast<std::uint32_t>(offset));
    std::memcpy(into.data(), from + offset, into.size());
    return {};
  }
  Result<void> write(vfio::RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override {
    if (index == vfio::RegionIndex::config && config_is_dead) return fail("config space cannot be written");
    auto* const into = index == vfio::RegionIndex::config ? config_ : reinterpret_cast<std::byte*>(words_.data());
    std::memcpy(into + offset, from.data(), from.size());
    if (index == vfio::RegionIndex::bar0 && on_write) on_write(static_cast<std::uint32_t>(offset));
    return {};
  }
  Result<vfio::MappedArea> map(vfio::RegionIndex, vfio::RegionArea area) override {
    ++maps;
    return vfio::MappedArea(reinterpret_cast<std::byte*>(words_.data()) + area.offset, area, nullptr);
  }
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex index) override {
    if (index != vfio::InterruptIndex::request) return vfio::InterruptInfo{};
    return vfio::InterruptInfo{.count = 1, .eventfd = true};
  }
  Result<void> set_interrupts(vfio::InterruptIndex index, std::span<const int> eventfds) override {
    if (index != vfio::InterruptIndex::request) return fail("no interrupts");
    request_fd = eventfds.empty() ? -1 : eventfds.front();
    return {};
  }
  Result<void> reset() override {
    ++resets;
    if (!can_reset) return fail("no function reset");
    return {};
  }

  void release() noexcept override {
    ++releases;
    reaches_memory = false;
    if (on_release) on_release();
  }
  bool may_come_back() const override { return comes_back != nullptr; }
  std::expected<void, vfio::NotBack> reconnect() override {
    comes_back();
    return {};
  }
  bool may_reach_memory() override { return reaches_memory; }
  ~RegisterFile() override {
    if (closed != nullptr) *closed = true;
  }

  bool bus_master() const { return (std::to_integer<unsigned>(config_[4]) & 4) != 0; }
  int resets = 0;
  int maps = 0;
  vfio::RegionInfo region{.size_bytes = kWords * 4, .readable = true, .writable = true, .mappable = {{0x1000, 0x1000}}};
  bool can_reset = false;
  bool reaches_memory = false;  // though it does not answer
  bool config_is_dead = false;  // its writes fail
  int releases = 0;
  bool* closed = nullptr;
  int request_fd = -1;  // the driver's eventfd, by which the machine asks for the device

 private:
  static constexpr std::size_t kWords = 0x2000 / 4;
  vfio::Address address_{"test:registers", "test", "registers", {}, {}};
  std::vector<std::uint32_t> words_ = std::vector<std::uint32_t>(kWords);
  std::byte config_[4096] = {};
};

// Time that passes only where somebody waits.
class ManualClock final : public Clock {
 public:
  std::uint64_t now_ns() override { return now_; }
  void pause_ns(std::uint64_t ns) override { now_ += std::max(ns, least_pause_ns); }
  std::uint64_t least_pause_ns = 0;  // a wait of minutes, looked at every 20 us, takes the processor seconds
  std::uint64_t now_ = 1;
};

// CAP with what pollux needs: 64 entries, TO in 500 ms units, the NVM command set.
inline std::uint64_t plain_cap(unsigned to_units) {
  std::uint64_t cap = cap::kMqes.put(std::uint64_t{0}, 63);
  cap = cap::kTo.put(cap, to_units);
  return cap::kCss.put(cap, cap::kCssNvm);
}

}  // namespace pollux::nvme
