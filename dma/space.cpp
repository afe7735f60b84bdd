// One mutex around attach, map and unmap: an address is handed out again only after its unmap, and a device that
// shrinks the ranges never meets a mapping under way.
#include "pollux/dma/space.hpp"

#include <fmt/format.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <optional>
#include <vector>

#include "pollux/dma/claims.hpp"
#include "pollux/vfio/kept.hpp"
#include "pollux/vfio/memory_kind.hpp"

namespace pollux::dma {
namespace {

constexpr std::uint64_t kBytesPerKib = 1024;
constexpr std::uint64_t kDwordBytes = 4;

SpaceId next_id() {
  static std::atomic<SpaceId> last = 0;
  return last.fetch_add(2, std::memory_order_relaxed) + 2;
}

// The addresses that a mapping claims.
struct Claimed {
  std::uintptr_t first, last;
  Claimed(std::uintptr_t address, std::uint64_t size_bytes, std::uint64_t page_bytes)
      : first(address & ~(page_bytes - 1)), last((address + (size_bytes - 1)) | (page_bytes - 1)) {}
};

// The address of a mapping's last byte.
std::uintptr_t last_of(const Mappings::value_type& mapping) { return mapping.first + (mapping.second.size_bytes - 1); }

}  // namespace

Space::Space(std::unique_ptr<vfio::IoAddressSpace> io) : id_(next_id()), io_(std::move(io)) {}

std::shared_ptr<Space> Space::create(std::unique_ptr<vfio::IoAddressSpace> io) {
  return std::shared_ptr<Space>(new Space(std::move(io)));
}

Mappings Space::mappings() {
  if (!opener_.is_this_process()) return {};
  const std::lock_guard lock(mutex_);
  Mappings all = mappings_;
  all.insert(only_read_.begin(), only_read_.end());
  return all;
}

Result<std::unique_ptr<vfio::Device>> Space::attach(const vfio::Address& address) {
  if (!opener_.is_this_process()) return vfio::not_the_opener("the address space");
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
  if (!opener_.is_this_process()) return vfio::not_the_opener("the address space");
  const vfio::MemoryDemands demands = io_->demands();
  const bool physical = demands.physical_addresses;
  if (const std::uint64_t odd = size_bytes % demands.unit_bytes; odd != 0) size_bytes += demands.unit_bytes - odd;
  Result<Memory> memory = physical ? Memory::allocate_hugepage(size_bytes) : Memory::allocate(size_bytes);
  if (!memory) return std::unexpected(std::move(memory.error()));
  Result<Registration> registration = register_memory(memory->data(), memory->size_bytes(), memory->fd());
  if (!registration) return std::unexpected(std::move(registration.error()));
  // It is mapped, here and for the device; who maps it again, as a vfio-user client, has a descriptor of its own. A
  // thousand buffers would spend the usual limit.
  memory->close_file();
  return Buffer(std::move(*memory), std::move(*registration));
}

Result<Registration> Space::register_memory(void* data, std::uint64_t size_bytes, int fd, std::uint64_t fd_offset) {
  return register_pages({.address = data, .iova = 0, .size_bytes = size_bytes, .fd = fd, .fd_offset = fd_offset});
}

Result<Registration> Space::register_memory(const void* data, std::uint64_t size_bytes, int fd,
                                            std::uint64_t fd_offset) {
  return register_pages({.address = const_cast<void*>(data),  // which nobody writes to
                         .iova = 0,
                         .size_bytes = size_bytes,
                         .fd = fd,
                         .fd_offset = fd_offset,
                         .device_may_write = false});
}

Result<Registration> Space::register_pages(vfio::DmaMapping memory) {
  if (!opener_.is_this_process()) return vfio::not_the_opener("the address space");
  const std::lock_guard lock(mutex_);
  const std::uint64_t granule = 1ull << std::countr_zero(page_sizes());
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory.address);
  const std::uint64_t size_bytes = memory.size_bytes;
  const std::uintptr_t last_byte = address + (size_bytes - 1);
  if (address % kDwordBytes != 0 || size_bytes == 0 || last_byte < address) {
    return fail(fmt::format("memory at {} of {} bytes cannot be mapped for DMA", memory.address, size_bytes),
                "the address must be a multiple of 4, and the size neither 0 nor beyond the address space");
  }
  if (memory.fd >= 0 && (address - memory.fd_offset) % granule != 0) {
    return fail(fmt::format("memory at {} is not mapped from offset {} of its file", memory.address, memory.fd_offset),
                fmt::format("address and offset must agree modulo {} bytes", granule));
  }

  const std::uintptr_t first = address & ~(granule - 1), last = last_byte | (granule - 1);
  // What a device may read and write serves who lets it read alone, too.
  std::optional<Mappings::iterator> mapping = find(mappings_, first, last);
  if (!mapping && !memory.device_may_write) mapping = find(only_read_, first, last);
  if (!mapping) {
    vfio::DmaMapping pages = memory;
    pages.address = reinterpret_cast<void*>(first);
    pages.size_bytes = last - first + 1;
    pages.fd_offset &= ~(granule - 1);
    const Result<Mappings::iterator> made = map_locked(pages);
    if (!made) return std::unexpected(made.error());
    mapping = *made;
  }
  Mapping& found = (*mapping)->second;
  ++found.registrations;
  return Registration(shared_from_this(), *mapping,
                      Slice{static_cast<std::byte*>(memory.address), found.iova + (address - (*mapping)->first),
                            size_bytes, memory.device_may_write ? id_ : only_read(id_)});
}

std::uint64_t Space::page_sizes() const { return io_->page_sizes() != 0 ? io_->page_sizes() : k4KiB; }

// A mapping that holds all of the memory. One that no other covers ends after each that begins before it, so that the
// search ends there at the latest.
std::optional<Mappings::iterator> Space::find(Mappings& mappings, std::uintptr_t first, std::uintptr_t last) {
  for (auto mapping = mappings.upper_bound(first); mapping != mappings.begin();) {
    --mapping;
    if (last <= last_of(*mapping)) return mapping;
    if (!mapping->second.covered) break;
  }
  return std::nullopt;
}

// Maps whole pages, which no mapping holds all of yet, at an IOVA that it chooses.
Result<Mappings::iterator> Space::map_locked(const vfio::DmaMapping& pages) {
  const vfio::MemoryDemands demands = io_->demands();
  if (demands.file_descriptor && pages.fd < 0) {
    return fail(
        fmt::format("{} maps memory by its file, and the memory at {} has none", io_->describe(), pages.address),
        "use memory on a memfd, as Space::allocate() gives");
  }
  // What is taken back is taken by whole pages of its file.
  const std::uint64_t claim_bytes = demands.alone ? vfio::page_size_of(pages.fd) : k4KiB;
  const Claimed claimed(reinterpret_cast<std::uintptr_t>(pages.address), pages.size_bytes, claim_bytes);
  if (!claims().add(claimed.first, claimed.last, demands.alone ? id_ : Claims::kShared)) {
    return fail(fmt::format("part of the {} bytes at {} is mapped in another address space, and one of the two is a "
                            "vfio-user server's, which shares memory with none",
                            pages.size_bytes, pages.address),
                "give each drive memory of its own, or release it there first");
  }
  const Result<Iova> iova = map_claimed(pages, demands);
  if (!iova) {
    claims().remove(claimed.first, claimed.last);
    return std::unexpected(iova.error());
  }

  Mappings& mappings = pages.device_may_write ? mappings_ : only_read_;
  const auto made = mappings.emplace(reinterpret_cast<std::uintptr_t>(pages.address),
                                     Mapping{.iova = *iova,
                                             .size_bytes = pages.size_bytes,
                                             .device_may_write = pages.device_may_write,
                                             .claim_bytes = claim_bytes});
  for (auto other = mappings.lower_bound(made->first); other != mappings.end() && other->first <= last_of(*made);
       ++other) {
    if (other != made && last_of(*other) <= last_of(*made)) other->second.covered = true;
  }
  return made;
}

Result<Iova> Space::map_claimed(vfio::DmaMapping pages, const vfio::MemoryDemands& demands) {
  const Result<Iova> iova =
      demands.physical_addresses ? io_->physical_address(pages.address, pages.size_bytes) : choose_iova(pages);
  if (!iova) return iova;
  pages.iova = *iova;
  if (Result<void> mapped = io_->map(pages); !mapped) {
    allocator_.free(pages.iova, pages.size_bytes);  // a physical address it does not know, and leaves alone
    return std::unexpected(explain(std::move(mapped.error()), pages.size_bytes));
  }
  return iova;
}

// An IOMMU page of some size can be used only where IOVA and virtual address agree modulo that size: the largest that
// the memory reaches, or the next where fragments are all that is left.
Result<Iova> Space::choose_iova(const vfio::DmaMapping& pages) {
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(pages.address);
  for (std::uint64_t sizes = page_sizes(); sizes != 0;) {
    const std::uint64_t page = std::bit_floor(sizes);
    sizes &= ~page;
    if (page > pages.size_bytes) continue;
    const std::optional<Iova> iova = allocator_.allocate(pages.size_bytes, page, address & (page - 1));
    if (iova) return *iova;
  }
  return fail(fmt::format("no {} bytes of I/O address space are left in {}: {} mappings hold {} bytes",
                          pages.size_bytes, io_->describe(), allocator_.allocations(), allocator_.allocated_bytes()),
              io_->usable_ranges().empty() ? "attach a device first" : "release buffers or registrations");
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

void Space::keep_for_ever() noexcept {
  if (!is_kept_.exchange(true)) vfio::keep_until_the_end(shared_from_this());
}

bool Registration::is_kept() const noexcept { return space_ != nullptr && space_->is_kept(); }

void Space::unregister(Mappings::iterator mapping) noexcept {
  if (is_kept() || !opener_.is_this_process()) return;
  const std::lock_guard lock(mutex_);
  if (--mapping->second.registrations != 0) return;
  const Mapping gone = mapping->second;
  const Claimed claimed(mapping->first, gone.size_bytes, gone.claim_bytes);
  (gone.device_may_write ? mappings_ : only_read_).erase(mapping);
  // Where the unmap fails, a device may still reach the memory through this address: it is never handed out again.
  if (io_->unmap(gone.iova, gone.size_bytes)) allocator_.free(gone.iova, gone.size_bytes);
  claims().remove(claimed.first, claimed.last);  // now that nobody takes it back
}

Registration::Registration(Registration&& other) noexcept
    : space_(std::move(other.space_)), mapping_(other.mapping_), slice_(std::exchange(other.slice_, {})) {}

Registration& Registration::operator=(Registration&& other) noexcept {
  Registration taken(std::move(other));
  std::swap(space_, taken.space_);
  std::swap(mapping_, taken.mapping_);
  std::swap(slice_, taken.slice_);
  return *this;
}

Registration::~Registration() {
  if (space_) space_->unregister(mapping_);
}

}  // namespace pollux::dma
