// The client's memory as a server may ask for it by message: what is mapped at which IOVA, and for which direction.
// Safe from any thread. Source: the specification, VFIO_USER_DMA_READ and VFIO_USER_DMA_WRITE.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/private_copy.hpp"

namespace pollux::vfio::user {

class DmaWindows {
 public:
  // Keeps a reference of its own to the memory's file, where there is one. Errors: EEXIST, part of it is mapped
  // already; no descriptor left.
  Result<void> add(DmaMapping mapping);

  struct Window {
    DmaMapping mapping;
    FileDescriptor file;
  };

  // When this returns nobody reads or writes there by message any more. Nothing: there was no window of just these
  // bounds.
  std::optional<Window> remove(Iova iova, std::uint64_t size_bytes);

  // For a server that cannot be asked to let go: the memory becomes this process's alone, where it lies, so that what
  // the server does to its files shows there no more. Of a window that was removed, all that no other shares; or of all
  // that there are. Errors: no memory for the copies.
  Result<void> take_back(const Window& removed);
  Result<void> take_back_all();

  std::size_t count() const;

  // All of them, each with our number of its file, which is good until remove().
  std::vector<DmaMapping> all() const;

  // Copies between a server's message and our memory. False, and nothing is copied: not all of it lies in one window,
  // or that one does not allow it.
  bool read(Iova iova, std::span<std::byte> into) const;
  bool write(Iova iova, std::span<const std::byte> from);

 private:
  const DmaMapping* find_locked(Iova iova, std::uint64_t size_bytes) const;
  static Result<void> take_back_locked(const DmaMapping& window, AddressSet& kept);

  mutable std::mutex mutex_;  // guards what follows, and is held while bytes are copied
  std::map<Iova, Window> windows_;
};

}  // namespace pollux::vfio::user
