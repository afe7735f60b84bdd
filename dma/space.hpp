// An I/O address space together with its one IOVA allocator: where memory becomes reachable for devices. Several
// controllers may share one. Safe from any thread; held by shared_ptr, because buffers and drives keep it alive.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "pollux/dma/iova_allocator.hpp"
#include "pollux/dma/memory.hpp"
#include "pollux/dma/slice.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::dma {

class Space;

// Memory of the application's own, made reachable; taken away by scope. The application frees the memory later than
// this. Destroy it only when no command names it, or when the device is disabled.
class Registration {
 public:
  Registration() = default;
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&& other) noexcept;
  ~Registration();

  Slice slice() const { return slice_; }
  Slice slice(std::uint64_t offset, std::uint64_t bytes) const { return slice_.part(offset, bytes); }

 private:
  friend class Space;
  Registration(std::shared_ptr<Space> space, Slice slice) : space_(std::move(space)), slice_(slice) {}

  std::shared_ptr<Space> space_;
  Slice slice_;
};

// Memory and its registration in one, both released by scope, in the right order.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept = default;
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

  // Zeroed memory of at least `size_bytes`, reachable for every device of this space. Errors: those of Memory::allocate
  // and of map().
  Result<Buffer> allocate(std::uint64_t size_bytes);

  // Makes [data, data + size_bytes) reachable; both are multiples of the smallest page size. `fd` names the file behind
  // the memory, where a space demands one. Errors: misaligned, no IOVA space left, no mapping left (says how many there
  // are), memlock too small (says how much is needed).
  Result<Registration> register_memory(void* data, std::uint64_t size_bytes, int fd = -1, std::uint64_t fd_offset = 0);

  vfio::IoAddressSpace& io() { return *io_; }

 private:
  friend class Registration;
  explicit Space(std::unique_ptr<vfio::IoAddressSpace> io) : io_(std::move(io)) {}
  Result<Iova> map_locked(void* data, std::uint64_t size_bytes, int fd, std::uint64_t fd_offset);
  Error explain(Error error, std::uint64_t size_bytes) const;
  void unregister(const Slice& slice) noexcept;

  std::unique_ptr<vfio::IoAddressSpace> io_;
  std::mutex mutex_;  // guards allocator_, and keeps it in step with what is mapped and attached
  IovaAllocator allocator_;
};

}  // namespace pollux::dma
