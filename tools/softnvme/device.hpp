// A soft: device: the core behind config space, BAR0 and a thread that steps it. The thread spins while there is work,
// soon gives the processor away when there is none, and after a while naps, at most kMaxNapNs long: a doorbell in
// memory can wake nobody.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "pollux/tools/softnvme/config_space.hpp"
#include "pollux/tools/softnvme/core/controller.hpp"
#include "pollux/tools/softnvme/doorbell_page.hpp"
#include "pollux/tools/softnvme/gate.hpp"
#include "pollux/tools/softnvme/options.hpp"
#include "pollux/tools/softnvme/random_faults.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"
#include "pollux/tools/softnvme/store/file_store.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux::softnvme {

class SoftSpace;

class SoftDeviceThread final : public SoftDevice, private Interrupts {
 public:
  static constexpr std::uint64_t kMinNapNs = 20'000;
  static constexpr std::uint64_t kMaxNapNs = 1'000'000;
  static constexpr unsigned kSteps = 8;                 // of the controller in a turn
  static constexpr std::uint64_t kSpinNs = 10'000;      // without work before the processor is given away
  static constexpr std::uint64_t kYieldNs = 1'000'000;  // and before the first nap

  // Everything but the thread: start() begins it. The space outlives the device.
  static Result<std::unique_ptr<SoftDeviceThread>> create(SoftSpace& space, const vfio::Address& address);
  ~SoftDeviceThread() override;

  Result<void> start();

  // A turn of the thread: a few steps of the controller. Returns how much there was to do; nothing: a visitor has the
  // gate. For whoever lets time pass himself, and does not call start().
  std::optional<unsigned> turn(std::uint64_t now_ns);

  Gate& gate() { return gate_; }

  const vfio::Address& address() const override { return address_; }
  Result<vfio::RegionInfo> region_info(vfio::RegionIndex index) override;
  Result<void> read(vfio::RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override;
  Result<void> write(vfio::RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override;
  Result<vfio::MappedArea> map(vfio::RegionIndex index, vfio::RegionArea area) override;
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex index) override;
  Result<void> set_interrupts(vfio::InterruptIndex index, std::span<const int> eventfds) override;
  Result<void> reset() override;

  std::vector<Violation> violations() const override;
  std::uint64_t violation_count() const override;
  void clear_violations() override;
  std::uint64_t doorbell_writes() const override;
  ServedCommands served() const override;
  std::vector<MetFault> met_faults() const override;
  void set_fault_hook(FaultHook* hook) override;
  std::string store_error() const override;

  // For who keeps MSI-X Enable and its like himself, by config space, as behind a socket: set_interrupts() without
  // these. Errors: as there.
  Result<void> install_eventfds(vfio::InterruptIndex index, std::span<const int> eventfds);

  // From now on an interrupt leaves the function while INTx is not disabled or MSI-X is enabled, for the admin queue
  // on vector 0 always; one for a vector without an eventfd is a fatal error of the controller. There is no MSI, and
  // power_cycle() leaves config space as it is. So targets behave that have no kernel between them and their host.
  // Before anybody uses the device.
  void be_strict();
  bool is_strict() const { return strict_; }

  // The file behind what region_info() says can be mapped: an offset there is the same in BAR0. −1: nothing can.
  int mappable_file() const { return trap_ ? -1 : doorbells_->fd(); }

  // What a power cycle of the function leaves: controller and config space as at first (not after be_strict()),
  // interrupts off, and a doorbell page that nobody outside this process has mapped. The medium keeps its blocks.
  // Error: no such page can be made.
  Result<void> power_cycle();

 private:
  // An MSI-X or MSI vector. Without an eventfd it is masked: what comes for it stays pending.
  struct Vector {
    vfio::FileDescriptor eventfd;
    bool pending = false;
  };

  SoftDeviceThread(SoftSpace& space, vfio::Address address, const Options& options, std::uint64_t size_bytes,
                   std::unique_ptr<Store> store, FileStore* file, std::unique_ptr<DoorbellPage> doorbells);
  Config controller_config(const Options& options, std::uint64_t size_bytes, Store* store) const;
  Result<void> check_access(vfio::RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                            const char* verb) const;
  std::uint64_t region_size(vfio::RegionIndex index) const;
  void read_bar0(std::uint32_t offset, std::span<std::byte> into);
  void write_bar0(std::uint32_t offset, std::span<const std::byte> from);
  void signal(std::uint16_t vector) override;
  void signal_pending();
  void follow_config_space();
  void run();

  SoftSpace& space_;
  vfio::Address address_;
  std::uint32_t vectors_;
  const bool trap_;
  std::unique_ptr<Store> store_;
  FileStore* file_;                          // store_, where that is a file
  std::optional<RandomFaults> faults_;       // of faults=N%; changed, as what follows, under the gate
  std::shared_ptr<DoorbellPage> doorbells_;  // shared with what the host has mapped of it
  mutable Gate gate_;                        // guards what follows, and keeps the space's table still
  ConfigSpace config_space_;
  Controller controller_;
  std::vector<Vector> installed_;  // empty: interrupts are off
  vfio::InterruptIndex installed_kind_ = vfio::InterruptIndex::msix;
  bool strict_ = false;
  std::uint64_t doorbell_writes_ = 0;
  std::atomic<bool> stopping_ = false;
  const vfio::Opener opener_;
  std::thread thread_;
};

}  // namespace pollux::softnvme
