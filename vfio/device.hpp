// The seam between the driver and whatever stands behind an address: the kernel's VFIO, a vfio-user socket, the
// software controller. A Device is one PCI function; the IoAddressSpace that it was attached to is where it does its
// DMA. Virtual calls are fine here: nothing on the data path goes through them. Source of the shapes: linux/vfio.h
// (VFIO_DEVICE_GET_REGION_INFO, _GET_IRQ_INFO, _SET_IRQS, VFIO_IOMMU_MAP_DMA).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pollux/vfio/address.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

using Iova = std::uint64_t;

// A closed range of I/O virtual addresses that the IOMMU translates: [first, last].
struct IovaRange {
  Iova first;
  Iova last;
  friend bool operator==(const IovaRange&, const IovaRange&) = default;
};

// Memory to be made reachable for devices. Address, IOVA and size are multiples of the smallest page size.
struct DmaMapping {
  void* address;
  Iova iova;
  std::uint64_t size_bytes;
  int fd = -1;                  // the file behind the memory, where there is one
  std::uint64_t fd_offset = 0;  // where in that file the memory begins
  bool device_may_read = true;
  bool device_may_write = true;
};

// VFIO's region indices of a PCI device (linux/vfio.h: VFIO_PCI_BAR0_REGION_INDEX …).
enum class RegionIndex : std::uint32_t { bar0 = 0, bar1, bar2, bar3, bar4, bar5, rom, config };

// Part of a region that may be mapped.
struct RegionArea {
  std::uint64_t offset;
  std::uint64_t size_bytes;
  friend bool operator==(const RegionArea&, const RegionArea&) = default;
};

struct RegionInfo {
  std::uint64_t size_bytes = 0;  // 0: the device has no such region
  bool readable = false;
  bool writable = false;
  bool msix_mappable =
      false;  // the MSI-X table may lie under a mapping; vectors are programmed by VFIO_DEVICE_SET_IRQS alone
  std::vector<RegionArea> mappable;  // empty: by call only; the whole region, or the sparse-mmap areas
};

// VFIO's interrupt indices of a PCI device (linux/vfio.h: VFIO_PCI_INTX_IRQ_INDEX …).
enum class InterruptIndex : std::uint32_t { intx = 0, msi, msix, error, request };

struct InterruptInfo {
  std::uint32_t count = 0;  // vectors; 0: the device has none of this kind
  bool eventfd = false;
  bool maskable = false;
  bool automasked = false;  // INTx: must be unmasked after each
  bool noresize = false;    // the whole set must be given at once
};

// Why a device that may come back is not back.
struct NotBack {
  Error why;
  bool is_final;  // somebody answers, and never as the device that was there before: asking again is in vain
};

// One mapped area of a region, unmapped by scope.
class MappedArea {
 public:
  MappedArea() = default;
  // `release` is called once, by the destructor.
  MappedArea(volatile std::byte* address, RegionArea area, std::function<void()> release)
      : address_(address), area_(area), release_(std::move(release)) {}
  MappedArea(MappedArea&& other) noexcept
      : address_(other.address_), area_(other.area_), release_(std::exchange(other.release_, nullptr)) {}
  MappedArea& operator=(MappedArea&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(area_, other.area_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~MappedArea() {
    if (release_) release_();
  }

  volatile std::byte* address() const { return address_; }  // of the first byte of area()
  RegionArea area() const { return area_; }

 private:
  volatile std::byte* address_ = nullptr;
  RegionArea area_{};
  std::function<void()> release_;
};

// One PCI function, open and ours. One thread at a time. Destroying it gives the device back; its MappedAreas go first.
class Device {
 public:
  virtual ~Device() = default;
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual const Address& address() const = 0;

  virtual Result<RegionInfo> region_info(RegionIndex index) = 0;

  // Reads or writes bytes of a region by call: what no mapping reaches, and config space. `offset` and the size must
  // lie in the region; an access of 4 or 8 bytes at its natural alignment reaches the device as one.
  virtual Result<void> read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) = 0;
  virtual Result<void> write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) = 0;

  // Maps one of RegionInfo::mappable, or a page-aligned part of one.
  virtual Result<MappedArea> map(RegionIndex index, RegionArea area) = 0;

  virtual Result<InterruptInfo> interrupt_info(InterruptIndex index) = 0;

  // Has the device add 1 to eventfds[v] with each interrupt of vector v, from vector 0 on and at most
  // InterruptInfo::count of them; −1 leaves a vector out: what comes for it stays pending until it has an eventfd. The
  // whole set is given at once, takes the place of the one before, and an empty one turns the interrupts off. The
  // device keeps references of its own: the caller may close an eventfd at any time. Destroying the device turns them
  // off.
  //
  // When: before the queues that use the vectors are created (vector 0: before the controller is enabled), since a
  // controller may refuse a vector while they are off, and drop what it posts. A set of another size turns them off for
  // a moment, one of the same size does not. They survive a reset of the controller, and reset() too.
  //
  // Errors: no such interrupts, more eventfds than vectors, a descriptor that is no eventfd, interrupts of another kind
  // installed, too few vectors in this machine. After an error the set before may be gone. Source: linux/vfio.h,
  // VFIO_DEVICE_SET_IRQS; the kernel's vfio_pci_set_msi_trigger(), and pci_restore_msi_state() after a reset.
  virtual Result<void> set_interrupts(InterruptIndex index, std::span<const int> eventfds) = 0;

  // INTx is masked by the kernel with each interrupt: this lets the next one through. Source:
  // VFIO_IRQ_SET_ACTION_UNMASK.
  virtual Result<void> unmask_interrupt(InterruptIndex index) { return unsupported("unmask", index); }

  // Has every installed eventfd of this kind signalled as if the device had raised its vector: whether the way from the
  // kernel to the sleeper works can be seen without a command. Source: VFIO_IRQ_SET_DATA_NONE | _ACTION_TRIGGER.
  virtual Result<void> trigger_interrupts(InterruptIndex index) { return unsupported("trigger", index); }

  // Function level reset (VFIO_DEVICE_RESET). Bounded. Error where the device has none.
  virtual Result<void> reset() = 0;

  // Resets the slot or bus that the function is on, and with it every other function there. Bounded. Error: one of
  // these belongs to somebody else (which), or there is nothing above it that could reset it. Source:
  // VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET.
  virtual Result<void> hot_reset() {
    return fail(address().text + ": this kind of device has no hot reset", "use a function reset");
  }

  // For a device whose other end may come back after it went (a vfio-user server): tries once to reach it. On success
  // the device is as after a function level reset, with the interrupts and the memory that were given to it before, and
  // MappedAreas show it at their old addresses. Bounded. Errors: nobody is there, or another kind of device.
  virtual std::expected<void, NotBack> reconnect() {
    return std::unexpected(NotBack{{address().text + ": this kind of device does not come back", {}}, true});
  }
  virtual bool may_come_back() const { return false; }

  // For such a device, when it does not answer: whether its other end may use the mapped memory all the same, since it
  // is silent and not known to be dead. While it may, reconnect() fails; release() ends it.
  virtual bool may_reach_memory() { return false; }

  // Gives the device back now, while others still hold its MappedAreas: these become ordinary memory, where a store
  // does nothing and a load finds zeros (where there is no room for that the device goes back with the last of them).
  // What the device could reach it reaches no more. Afterwards every other call is an Error. A kind of device that
  // nobody else can want does nothing here.
  virtual void release() noexcept {}

 private:
  std::unexpected<Error> unsupported(const char* what, InterruptIndex index) const {
    return fail(fmt::format("{}: this kind of device cannot {} interrupts of index {}", address().text, what,
                            static_cast<unsigned>(index)));
  }
};

// What a space wants of the memory that is mapped in it.
struct MemoryDemands {
  bool file_descriptor = false;     // memory must have an fd behind it (vfio-user)
  bool physical_addresses = false;  // an IOVA is a physical address (noiommu)
  bool alone = false;               // no other space may map it: other memory may come to lie there (vfio-user)
  std::uint64_t unit_bytes = 1;     // memory that is made for it is a multiple of this, and aligned to it
};

// An I/O address space: a VFIO container, an iommufd IOAS, a vfio-user session. Holds one or more devices. Safe from
// any thread.
class IoAddressSpace {
 public:
  virtual ~IoAddressSpace() = default;
  IoAddressSpace() = default;
  IoAddressSpace(const IoAddressSpace&) = delete;
  IoAddressSpace& operator=(const IoAddressSpace&) = delete;

  // Claims the device, attaches it to this space and opens it. May shrink usable_ranges(). The space outlives its
  // devices.
  virtual Result<std::unique_ptr<Device>> attach(const Address& address) = 0;

  // Makes memory reachable at an IOVA, or takes it away; unmap names exactly what one map() made. No device may be
  // using it any more.
  virtual Result<void> map(const DmaMapping& mapping) = 0;
  virtual Result<void> unmap(Iova iova, std::uint64_t size_bytes) = 0;

  // Ascending, disjoint. Empty before the first attach.
  virtual std::vector<IovaRange> usable_ranges() const = 0;

  // Bitmap of the page sizes that the IOMMU knows; the lowest bit is the granule of map().
  virtual std::uint64_t page_sizes() const = 0;

  // How many more mappings fit; nothing where there is no limit known.
  virtual std::optional<std::uint32_t> mappings_left() const = 0;

  virtual MemoryDemands demands() const { return {}; }

  // Where physical addresses are demanded: the one of this memory, which is where map() must put it. Error: it is not
  // in one physical piece, or the kernel does not tell.
  virtual Result<Iova> physical_address(const void*, std::uint64_t) const {
    return fail(describe() + " does not go by physical addresses");
  }

  // What a program tells its user each time it opens a drive here; empty: nothing.
  virtual std::string warning() const { return {}; }

  // For people: "group/container, type1v2", "software".
  virtual std::string describe() const = 0;
};

// A kind of address and how its address spaces are made. The library knows the kernel's (kernel.hpp); a program adds
// others when it opens a drive.
struct Scheme {
  std::string_view name;
  Result<std::unique_ptr<IoAddressSpace>> (*make_space)(const Address& address);
};

}  // namespace pollux::vfio
