#include "pollux/vfio/user/dma_windows.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace pollux::vfio::user {

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

bool DmaWindows::remove(Iova iova, std::uint64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = windows_.find(iova);
  if (found == windows_.end() || found->second.mapping.size_bytes != size_bytes) return false;
  windows_.erase(found);
  return true;
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
