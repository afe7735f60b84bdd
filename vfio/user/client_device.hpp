// A PCI function behind a vfio-user server: regions by message, and by mapping where the server gives a file for it;
// interrupts by eventfd. What the server tells of its regions and interrupts is asked once, when the device is opened.
// read() and write() are safe from any thread, the rest is one thread's at a time. Source: the specification.
#pragma once

#include <array>
#include <list>
#include <vector>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/process.hpp"
#include "pollux/vfio/user/client_space.hpp"

namespace pollux::vfio::user {

class ClientDevice final : public Device {
 public:
  // `space` outlives it. Errors: no PCI device, answers that make no sense.
  static Result<std::unique_ptr<ClientDevice>> create(std::shared_ptr<Session> session, ClientSpace& space,
                                                      const Address& address);
  ~ClientDevice() override;

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
  bool may_come_back() const override { return space_ != nullptr; }
  bool may_reach_memory() override { return space_ != nullptr && space_->is_held(); }
  std::expected<void, NotBack> reconnect() override;
  void release() noexcept override;

 private:
  static constexpr std::size_t kRegions = static_cast<std::size_t>(RegionIndex::config) + 1;
  static constexpr std::size_t kInterruptKinds = static_cast<std::size_t>(InterruptIndex::request) + 1;

  struct Region {
    RegionInfo info;  // any thread's, and for good
    std::uint64_t file_offset = 0;
    FileDescriptor file;
  };
  struct Mapping {
    void* address;
    RegionIndex index;
    RegionArea area;
  };

  // A vector's eventfd, of our own. One that was left out of its set has a stand-in, which nobody waits for: there are
  // servers to which a vector without an eventfd is a fatal error.
  struct Vector {
    FileDescriptor eventfd;
    bool is_stand_in = false;
  };

  ClientDevice(std::shared_ptr<Session> session, ClientSpace& space, Address address)
      : session_(std::move(session)), space_(&space), address_(std::move(address)) {}
  struct Facts {
    bool can_reset = false;
    std::array<Region, kRegions> regions;
    std::array<InterruptInfo, kInterruptKinds> interrupts;
  };
  Result<Facts> ask();
  Result<Region> ask_region(std::uint32_t index);
  Result<InterruptInfo> ask_interrupts(std::uint32_t index);
  Result<void*> map_at(void* address, RegionIndex index, RegionArea area);
  Result<void> install(InterruptIndex index);
  Result<void> turn_off(InterruptIndex index);
  Result<void> checked(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes, const char* verb) const;
  Result<void> write_by_register(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from);
  Result<void> set_range(InterruptIndex index, std::uint32_t flags, std::uint32_t start, std::uint32_t count,
                         std::span<const int> fds = {});
  std::unexpected<Error> named(const Error& error) const;

  const Opener opener_;
  std::shared_ptr<Session> session_;
  ClientSpace* space_;  // null: released
  Address address_;
  Facts facts_;
  std::array<std::vector<Vector>, kInterruptKinds> installed_;
  std::list<Mapping> mappings_;  // those that a MappedArea holds
};

}  // namespace pollux::vfio::user
