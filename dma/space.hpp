// An I/O address space together with its one IOVA allocator: where memory becomes reachable for devices. Several
// controllers may share one. Safe from any thread; held by shared_ptr, because buffers and drives keep it alive. Where
// the IoAddressSpace goes by physical addresses the allocator stays idle: memory is mapped where it lies. In a child
// that was forked every call here is an error, and buffers and registrations end without a word to the device.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "pollux/dma/iova_allocator.hpp"
#include "pollux/dma/memory.hpp"
#include "pollux/dma/slice.hpp"
#include "pollux/vfio/device.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux::dma {

class Space;

// What one map() made reachable: whole pages, shared by the registrations that lie in them.
struct Mapping {
  Iova iova;
  std::uint64_t size_bytes;
  std::uint64_t registrations = 0;  // the last one unmaps
  bool covered = false;             // a mapping made later held all of its memory too
  bool device_may_write = true;
  std::uint64_t claim_bytes = k4KiB;  // whole pages of this size are claimed
};
using Mappings = std::multimap<std::uintptr_t, Mapping>;  // by the address of the memory; they may overlap

// Memory of the application's own, made reachable; taken away by scope. The application frees the memory, and what
// shares its mapping, later than this. Destroy it only when no command names it, or when the device is disabled.
class Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&& other) noexcept;
  ~Registration();

  Slice slice() const { return slice_; }  // empty, and refused by every submission, where it was moved from
  Slice slice(std::uint64_t offset, std::uint64_t bytes) const { return slice_.part(offset, bytes); }

 private:
  friend class Space;
  friend class Buffer;
  bool is_kept() const noexcept;
  Registration(std::shared_ptr<Space> space, Mappings::iterator mapping, Slice slice)
      : space_(std::move(space)), mapping_(mapping), slice_(slice) {}

  std::shared_ptr<Space> space_;
  Mappings::iterator mapping_;  // of the space
  Slice slice_;
};

// Memory and its registration in one, both released by scope, in the right order.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept = default;
  ~Buffer() {
    if (registration_.is_kept()) memory_.leave();
  }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));  // what this held goes with `taken`: registration first, then the memory
    std::swap(memory_, taken.memory_);
    std::swap(registration_, taken.registration_);
    return *this;
  }

  Slice slice() const { return registration_.slice(); }
  Slice slice(std::uint64_t offset, std::uint64_t bytes) const { return registration_.slice(offset, bytes); }
  const Memory& memory() const { return memory_; }

 private:
  friend class Space;
  Buffer(Memory memory, Registration registration)
      : memory_(std::move(memory)), registration_(std::move(registration)) {}

  Memory memory_;  // destroyed after the registration that names it
  Registration registration_;
};

class Space : public std::enable_shared_from_this<Space> {
 public:
  static std::shared_ptr<Space> create(std::unique_ptr<vfio::IoAddressSpace> io);

  // Attaches a device and confines the allocator to what the IOMMU then reports. Error: a mapping made before lies
  // outside it.
  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address& address);

  // Zeroed memory of at least `size_bytes`, reachable for every device of this space; in one hugepage where the space
  // goes by physical addresses. It costs no file descriptor, or one where a space demands memory with a file. Errors:
  // those of Memory::allocate, or allocate_hugepage, and of register_memory().
  Result<Buffer> allocate(std::uint64_t size_bytes);

  // Makes [data, data + size_bytes) reachable: any size, from any dword on. Whole pages are mapped: the bytes beside it
  // on its first and last page are reachable too. Pages that lie within one mapping already share it; the last
  // Registration in a mapping takes it away, whole. A mapping remembers memory by its address: none of it may be
  // unmapped or replaced before then, or what comes to lie there next would be taken for it. `fd` names the file behind
  // the memory, where a space demands one, and `fd_offset` where in it `data` lies: neither is checked against the
  // memory, and a device given another file or place reads and writes that. Where the space goes by physical
  // addresses, the memory must lie in one hugepage: the kernel moves other pages. Errors: not a dword's address, size
  // 0, an offset that lies elsewhere in its page than the address, no IOVA space left, no mapping left (says how many
  // there are), memlock too small (says how much is needed), not in one physical piece, memory that the kernel does not
  // pin: not there, not writable, a shared mapping of a file that lies on a disk (says what can be); memory that
  // another space maps, where one of the two is a vfio-user server's.
  //
  // Such a space keeps its memory to itself, since it may have to take it back from a server that fell silent: then
  // private pages come to lie at the same addresses. Who uses the memory outside pollux (fixed buffers of io_uring,
  // another library's device, another mapping of the file) goes on with the pages before, and cannot be seen here: give
  // no memory of a vfio-user drive to them.
  Result<Registration> register_memory(void* data, std::uint64_t size_bytes, int fd = -1, std::uint64_t fd_offset = 0);

  // The same for memory that the devices may only read, so that a drive may write it to its blocks: this process needs
  // no right to write it either. Every read into its slices is refused. Where the space goes by physical addresses
  // nothing keeps a device from writing there.
  Result<Registration> register_memory(const void* data, std::uint64_t size_bytes, int fd = -1,
                                       std::uint64_t fd_offset = 0);

  // For a device that can still reach memory and that nothing keeps from it: from now on no mapping of this space is
  // taken away and no memory that it has allocated is freed, as long as the process lives. Memory that the application
  // registered is the application's to leave where it is.
  void keep_for_ever() noexcept;
  bool is_kept() const noexcept { return is_kept_.load(std::memory_order_acquire); }

  // What is mapped now, by the address of the memory: a copy, for who draws it.
  Mappings mappings();

  vfio::IoAddressSpace& io() { return *io_; }

  // What the slices of this space carry.
  SpaceId id() const { return id_; }

 private:
  friend class Registration;
  explicit Space(std::unique_ptr<vfio::IoAddressSpace> io);
  std::uint64_t page_sizes() const;
  Result<Registration> register_pages(vfio::DmaMapping memory);
  static std::optional<Mappings::iterator> find(Mappings& mappings, std::uintptr_t first, std::uintptr_t last);
  Result<Mappings::iterator> map_locked(const vfio::DmaMapping& pages);
  Result<Iova> map_claimed(vfio::DmaMapping pages, const vfio::MemoryDemands& demands);
  Result<Iova> choose_iova(const vfio::DmaMapping& pages);
  Error explain(Error error, std::uint64_t size_bytes) const;
  void unregister(Mappings::iterator mapping) noexcept;

  const SpaceId id_;
  const vfio::Opener opener_;
  std::unique_ptr<vfio::IoAddressSpace> io_;
  std::atomic<bool> is_kept_ = false;
  std::mutex mutex_;  // guards what follows, and keeps it in step with what is mapped and attached
  IovaAllocator allocator_;
  // In each, none was made of memory that lay within another.
  Mappings mappings_;
  Mappings only_read_;  // that devices may not write
};

}  // namespace pollux::dma
