// The memory that a client shares for DMA: its files, mapped into this process and from there into the device's address
// space. Errors carry the errno that the protocol's reply wants. One thread.
#pragma once

#include <cstdint>
#include <map>

#include "pollux/vfio/device.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/protocol.hpp"

namespace pollux::softnvme::server {

class SharedMemory {
 public:
  // The space outlives this, and nobody else maps there.
  explicit SharedMemory(vfio::IoAddressSpace& space) : space_(space) {}
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() { clear(); }

  // DMA_MAP. Without a file the range is taken and remembered, and there is no memory behind it. The file may be closed
  // afterwards. Errors: EINVAL (alignment, flags, an end beyond 2^64 or beyond the file's), EEXIST, ENOSPC, and mmap's.
  Result<void> map(const vfio::user::DmaMapPayload& wanted, const vfio::FileDescriptor& file);

  // DMA_UNMAP of the mappings in a range, which may be none, or of everything (kUnmapAll); as the kernel's type1v2 has
  // it. QEMU takes back with one message what a vIOMMU's driver mapped by the page. Error: EINVAL where the range cuts
  // a mapping, and nothing is unmapped.
  Result<void> unmap(const vfio::user::DmaUnmapPayload& wanted);

  void clear();

  static constexpr std::uint32_t kUnmapAll = 2;  // VFIO_DMA_UNMAP_FLAG_ALL, which QEMU sends with address and size 0

 private:
  struct Mapping {
    std::uint64_t size_bytes = 0;
    void* address = nullptr;  // nullptr: without a file
    std::uint32_t slot = 0;   // of the fault guard
  };
  using Mappings = std::map<vfio::Iova, Mapping>;

  static vfio::Iova last_byte(const Mappings::value_type& mapping);
  bool overlaps(vfio::Iova first, vfio::Iova last) const;
  Result<void> map_file(const vfio::user::DmaMapPayload& wanted, const vfio::FileDescriptor& file, Mapping& mapping);
  Mappings::iterator remove(Mappings::iterator mapping);

  vfio::IoAddressSpace& space_;
  Mappings mappings_;
};

}  // namespace pollux::softnvme::server
