#include "pollux/vfio/user/dma_windows.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "pollux/vfio/memory_kind.hpp"

namespace pollux::vfio::user {
namespace {

// The pages of its file that a window lies in.
struct Pages {
  std::uintptr_t begin, end;
  std::uint64_t page_bytes;
  explicit Pages(const DmaMapping& window)
      : begin(reinterpret_cast<std::uintptr_t>(window.address)),
        end(begin + window.size_bytes),
        page_bytes(page_size_of(window.fd)) {
    begin &= ~(page_bytes - 1);
    end = (end + page_bytes - 1) & ~(page_bytes - 1);
  }
};

}  // namespace

Result<void> DmaWindows::add(DmaMapping mapping) {
  const std::lock_guard lock(mutex_);
  const auto above = windows_.lower_bound(mapping.iova);
  const bool meets_above = above != windows_.end() && above->first - mapping.iova < mapping.size_bytes;
  const bool meets_below =
      above != windows_.begin() && mapping.iova - std::prev(above)->first < std::prev(above)->second.mapping.size_bytes;
  if (meets_above || meets_below)
    return fail_errno(EEXIST,
                      fmt::format("part of {} bytes at IOVA {:#x} is mapped", mapping.size_bytes, mapping.iova));
  FileDescriptor file;
  if (mapping.fd >= 0) {
    file = FileDescriptor(fcntl(mapping.fd, F_DUPFD_CLOEXEC, 0));
    if (!file) return fail_errno(errno, "cannot keep the file of the memory");
    mapping.fd = file.get();
  }
  windows_.emplace(mapping.iova, Window{mapping, std::move(file)});
  return {};
}

std::optional<DmaWindows::Window> DmaWindows::remove(Iova iova, std::uint64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = windows_.find(iova);
  if (found == windows_.end() || found->second.mapping.size_bytes != size_bytes) return std::nullopt;
  return std::move(windows_.extract(found).mapped());
}

// What is in `kept` is left alone: other windows', or taken back already, and a second time would undo what was stored
// there since.
Result<void> DmaWindows::take_back_locked(const DmaMapping& window, AddressSet& kept) {
  if (window.fd < 0) return {};
  const Pages pages(window);
  // Negative where the file's page begins before the window does; it wraps, and back.
  const std::uint64_t to_offset = window.fd_offset - reinterpret_cast<std::uintptr_t>(window.address);
  Result<void> result;
  kept.for_each_gap(pages.begin, pages.end, [&](std::uintptr_t begin, std::uintptr_t end) {
    auto done = make_private(reinterpret_cast<std::byte*>(begin), end - begin, window.fd, begin + to_offset);
    if (!done && result) result = std::move(done);
  });
  kept.add(pages.begin, pages.end);
  return result;
}

Result<void> DmaWindows::take_back(const Window& removed) {
  const std::lock_guard lock(mutex_);
  AddressSet others;
  for (const auto& [iova, window] : windows_) {
    if (window.mapping.fd < 0) continue;
    const Pages pages(window.mapping);
    others.add(pages.begin, pages.end);
  }
  return take_back_locked(removed.mapping, others);
}

Result<void> DmaWindows::take_back_all() {
  const std::lock_guard lock(mutex_);
  AddressSet taken;
  Result<void> result;
  for (const auto& [iova, window] : windows_)
    if (auto done = take_back_locked(window.mapping, taken); !done) result = std::move(done);
  return result;
}

std::size_t DmaWindows::count() const {
  const std::lock_guard lock(mutex_);
  return windows_.size();
}

std::vector<DmaMapping> DmaWindows::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<DmaMapping> found;
  for (const auto& [iova, window] : windows_) found.push_back(window.mapping);
  return found;
}

const DmaMapping* DmaWindows::find_locked(Iova iova, std::uint64_t size_bytes) const {
  const auto above = windows_.upper_bound(iova);
  if (above == windows_.begin()) return nullptr;
  const DmaMapping& window = std::prev(above)->second.mapping;
  const std::uint64_t offset = iova - window.iova;
  const bool inside = offset <= window.size_bytes && size_bytes <= window.size_bytes - offset;
  return inside ? &window : nullptr;
}

bool DmaWindows::read(Iova iova, std::span<std::byte> into) const {
  const std::lock_guard lock(mutex_);
  const DmaMapping* const window = find_locked(iova, into.size());
  if (window == nullptr || !window->device_may_read) return false;
  std::memcpy(into.data(), static_cast<const std::byte*>(window->address) + (iova - window->iova), into.size());
  return true;
}

bool DmaWindows::write(Iova iova, std::span<const std::byte> from) {
  const std::lock_guard lock(mutex_);
  const DmaMapping* const window = find_locked(iova, from.size());
  if (window == nullptr || !window->device_may_write) return false;
  std::memcpy(static_cast<std::byte*>(window->address) + (iova - window->iova), from.data(), from.size());
  return true;
}

}  // namespace pollux::vfio::user
