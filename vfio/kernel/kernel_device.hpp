// A PCI function behind the kernel's vfio-pci: regions, interrupts and resets through its device file, however that was
// opened. One thread at a time. Closing it resets the function, as opening it did.
//
// Where the kernel would answer a touch of a mapped BAR with SIGBUS, ordinary memory lies over the mapping: after
// release(), and while a write to config space through this object has Memory Space Enable off or the function in
// D3hot. Where the kernel has no room for that memory, such a write is refused; release() then switches Bus Master off,
// and the function goes back when the last MappedArea does. INTx is disabled at the function as long as nobody listens:
// an interrupt that no one takes would make the kernel switch off a line that other devices share.
//
// Source: linux/vfio.h, VFIO_DEVICE_GET_INFO, _GET_REGION_INFO, _GET_IRQ_INFO, _SET_IRQS, _RESET, _PCI_HOT_RESET; the
// kernel's vfio_basic_config_write() and __vfio_pci_memory_enabled().
#pragma once

#include <array>
#include <list>
#include <memory>
#include <optional>

#include "pollux/vfio/abi/kernel_info.hpp"
#include "pollux/vfio/device.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/kernel/kernel_space.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux::vfio {

class KernelDevice final : public Device {
 public:
  // Takes the device's file over; `space` opened it and outlives it. Errors: not a PCI device, fewer regions than a PCI
  // device has.
  static Result<std::unique_ptr<KernelDevice>> create(FileDescriptor file, const Address& address, unsigned group,
                                                      KernelSpace& space);
  ~KernelDevice() override;

  const Address& address() const override { return address_; }
  Result<RegionInfo> region_info(RegionIndex index) override;
  Result<void> read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override;
  Result<void> write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override;
  Result<MappedArea> map(RegionIndex index, RegionArea area) override;
  Result<InterruptInfo> interrupt_info(InterruptIndex index) override;
  Result<void> set_interrupts(InterruptIndex index, std::span<const int> eventfds) override;
  Result<void> unmask_interrupt(InterruptIndex index) override;
  Result<void> trigger_interrupts(InterruptIndex index) override;
  Result<void> reset() override;
  Result<void> hot_reset() override;
  void release() noexcept override;

  unsigned group() const { return group_; }
  bool can_reset() const;                         // VFIO_DEVICE_FLAGS_RESET
  std::uint32_t flags() const { return flags_; }  // VFIO_DEVICE_FLAGS_*
  std::uint32_t region_count() const { return region_count_; }
  std::uint32_t interrupt_count() const { return interrupt_count_; }

 private:
  static constexpr std::size_t kRegions = static_cast<std::size_t>(RegionIndex::config) + 1;
  static constexpr std::size_t kInterruptKinds = static_cast<std::size_t>(InterruptIndex::request) + 1;

  struct Mapping {
    void* address;
    std::uint64_t size_bytes;
    int protection;
    std::uint64_t file_offset;
    bool covered;  // ordinary memory lies over it
  };

  KernelDevice(FileDescriptor file, Address address, unsigned group)
      : file_(std::move(file)), address_(std::move(address)), group_(group) {}
  Result<const KernelRegion*> region(RegionIndex index);
  Result<const KernelRegion*> checked(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                                      const char* verb);
  Result<void> install(InterruptIndex index, std::span<const int> eventfds);
  Result<void> disable_intx(bool disabled);
  Result<void> disable_intx_again();
  Result<void> reset_by(unsigned long request, void* argument, const char* name);
  Result<void> put(const KernelRegion& region, RegionIndex index, std::uint64_t offset,
                   std::span<const std::byte> from);
  Result<bool> memory_answers(std::uint64_t offset, std::span<const std::byte> from);
  int cover() noexcept;
  int uncover() noexcept;
  std::vector<int> hot_reset_groups(std::span<const std::byte> info, std::string& foreign) const;

  const Opener opener_;
  FileDescriptor file_;
  Address address_;
  unsigned group_;
  KernelSpace* space_ = nullptr;  // told when the file is closed
  std::list<Mapping> mappings_;   // those that a MappedArea holds
  bool released_ = false;
  std::uint16_t power_offset_ = 0;  // of PMCSR in config space; 0: the function has no power management
  std::uint32_t flags_ = 0;
  std::uint32_t region_count_ = 0;
  std::uint32_t interrupt_count_ = 0;
  std::array<std::optional<KernelRegion>, kRegions>
      regions_;  // asked for once each: they do not change while the device is open
  std::array<std::size_t, kInterruptKinds> installed_{};  // vectors; 0: the kind is off
};

}  // namespace pollux::vfio
