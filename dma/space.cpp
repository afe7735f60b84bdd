// One mutex around attach, map and unmap: an address is handed out again only after its unmap, and a device that
// shrinks the ranges never meets a mapping under way.
#include "pollux/dma/space.hpp"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <optional>
#include <vector>

namespace pollux::dma {
namespace {

constexpr std::uint64_t kBytesPerKib = 1024;

}  // namespace

std::shared_ptr<Space> Space::create(std::unique_ptr<vfio::IoAddressSpace> io) {
  return std::shared_ptr<Space>(new Space(std::move(io)));
}

Result<std::unique_ptr<vfio::Device>> Space::attach(const vfio::Address& address) {
  const std::lock_guard lock(mutex_);
  Result<std::unique_ptr<vfio::Device>> device = io_->attach(address);
  if (!device) return device;
  if (Result<void> confined = allocator_.confine(io_->usable_ranges()); !confined) {
    return fail(fmt::format("{} cannot join this address space: {}", address.text, confined.error().what),
                confined.error().advice);
  }
  return device;
}

Result<Buffer> Space::allocate(std::uint64_t size_bytes) {
  Result<Memory> memory = Memory::allocate(size_bytes);
  if (!memory) return std::unexpected(std::move(memory.error()));
  Result<Registration> registration = register_memory(memory->data(), memory->size_bytes(), memory->fd());
  if (!registration) return std::unexpected(std::move(registration.error()));
  return Buffer(std::move(*memory), std::move(*registration));
}

Result<Registration> Space::register_memory(void* data, std::uint64_t size_bytes, int fd, std::uint64_t fd_offset) {
  const std::lock_guard lock(mutex_);
  const Result<Iova> iova = map_locked(data, size_bytes, fd, fd_offset);
  if (!iova) return std::unexpected(iova.error());
  return Registration(shared_from_this(), Slice{static_cast<std::byte*>(data), *iova, size_bytes});
}

Result<Iova> Space::map_locked(void* data, std::uint64_t size_bytes, int fd, std::uint64_t fd_offset) {
  const std::uint64_t page_sizes = io_->page_sizes() != 0 ? io_->page_sizes() : k4KiB;
  const std::uint64_t granule = 1ull << std::countr_zero(page_sizes);
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(data);
  if (size_bytes == 0 || ((address | size_bytes) & (granule - 1)) != 0) {
    return fail(fmt::format("memory at {} of {} bytes cannot be mapped for DMA", data, size_bytes),
                fmt::format("address and size must be multiples of {} bytes, and the size not 0", granule));
  }
  const vfio::MemoryDemands demands = io_->demands();
  if (demands.physical_addresses) {
    return fail(fmt::format("{} wants physical addresses, which pollux does not give yet", io_->describe()),
                "switch the IOMMU on");
  }
  if (demands.file_descriptor && fd < 0) {
    return fail(fmt::format("{} maps memory by its file, and the memory at {} has none", io_->describe(), data),
                "use memory on a memfd, as Space::allocate() gives");
  }
  // An IOMMU page of some size can be used only where IOVA and virtual address agree modulo that size: the largest that
  // the memory reaches, or the next where fragments are all that is left.
  std::optional<Iova> iova;
  for (std::uint64_t sizes = page_sizes; sizes != 0 && !iova;) {
    const std::uint64_t page = std::bit_floor(sizes);
    sizes &= ~page;
    if (page > size_bytes) continue;
    iova = allocator_.allocate(size_bytes, page, address & (page - 1));
  }
  if (!iova) {
    return fail(fmt::format("no {} bytes of I/O address space are left in {}: {} mappings hold {} bytes", size_bytes,
                            io_->describe(), allocator_.allocations(), allocator_.allocated_bytes()),
                io_->usable_ranges().empty() ? "attach a device first" : "release buffers or registrations");
  }

  Result<void> mapped =
      io_->map({.address = data, .iova = *iova, .size_bytes = size_bytes, .fd = fd, .fd_offset = fd_offset});
  if (!mapped) {
    allocator_.free(*iova, size_bytes);
    return std::unexpected(explain(std::move(mapped.error()), size_bytes));
  }
  return *iova;
}

// Adds what the backend does not know: how much this space holds already.
Error Space::explain(Error error, std::uint64_t size_bytes) const {
  if (error.os_error == ENOMEM || error.os_error == ENOSPC) {
    error.what += fmt::format("; this address space holds {} mappings of {} KiB, {} KiB with this one",
                              allocator_.allocations(), allocator_.allocated_bytes() / kBytesPerKib,
                              (allocator_.allocated_bytes() + size_bytes) / kBytesPerKib);
  }
  return error;
}

void Space::unregister(const Slice& slice) noexcept {
  const std::lock_guard lock(mutex_);
  // Where the unmap fails, a device may still reach the memory through this address: it is never handed out again.
  if (io_->unmap(slice.iova, slice.size_bytes)) allocator_.free(slice.iova, slice.size_bytes);
}

Registration::Registration(Registration&& other) noexcept
    : space_(std::move(other.space_)), slice_(std::exchange(other.slice_, {})) {}

Registration& Registration::operator=(Registration&& other) noexcept {
  Registration taken(std::move(other));
  std::swap(space_, taken.space_);
  std::swap(slice_, taken.slice_);
  return *this;
}

Registration::~Registration() {
  if (space_) space_->unregister(slice_);
}

}  // namespace pollux::dma
