// A PCI function behind the kernel's vfio-pci: regions, interrupts and reset through its device file.
// Made by Container::attach(). One thread at a time. Closing it resets the function, as opening it did.
// Source: linux/vfio.h, VFIO_DEVICE_GET_INFO, _GET_REGION_INFO, _GET_IRQ_INFO, _SET_IRQS, _RESET.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/kernel_info.hpp"

namespace pollux::vfio {

class KernelDevice final : public Device {
 public:
  // Takes the device's file over. Errors: not a PCI device, fewer regions than a PCI device has.
  static Result<std::unique_ptr<KernelDevice>> create(FileDescriptor file, const Address& address, unsigned group);

  const Address& address() const override { return address_; }
  Result<RegionInfo> region_info(RegionIndex index) override;
  Result<void> read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override;
  Result<void> write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override;
  Result<MappedArea> map(RegionIndex index, RegionArea area) override;
  Result<InterruptInfo> interrupt_info(InterruptIndex index) override;
  Result<void> set_interrupts(InterruptIndex index, std::span<const int> eventfds) override;
  Result<void> reset() override;

  unsigned group() const { return group_; }
  bool can_reset() const;                         // VFIO_DEVICE_FLAGS_RESET
  std::uint32_t flags() const { return flags_; }  // VFIO_DEVICE_FLAGS_*
  std::uint32_t region_count() const { return region_count_; }
  std::uint32_t interrupt_count() const { return interrupt_count_; }

 private:
  static constexpr std::size_t kRegions = static_cast<std::size_t>(RegionIndex::config) + 1;
  static constexpr std::size_t kInterruptKinds = static_cast<std::size_t>(InterruptIndex::request) + 1;

  KernelDevice(FileDescriptor file, Address address, unsigned group)
      : file_(std::move(file)), address_(std::move(address)), group_(group) {}
  Result<const KernelRegion*> region(RegionIndex index);
  Result<const KernelRegion*> checked(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                                      const char* verb);
  Result<void> install(InterruptIndex index, std::span<const int> eventfds);

  FileDescriptor file_;
  Address address_;
  unsigned group_;
  std::uint32_t flags_ = 0;
  std::uint32_t region_count_ = 0;
  std::uint32_t interrupt_count_ = 0;
  std::array<std::optional<KernelRegion>, kRegions>
      regions_;  // asked for once each: they do not change while the device is open
  std::array<std::size_t, kInterruptKinds> installed_{};  // vectors; 0: the kind is off
};

}  // namespace pollux::vfio
