// The vfio-user protocol's wire format: a header of 16 bytes, then a payload. Everything in the host's byte order. What
// a payload shares with the kernel's ioctls has the layout of linux/vfio.h. Source: QEMU, docs/interop/vfio-user.rst,
// version 0.2 ("the specification" in this folder).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio::user {

inline constexpr std::uint16_t kMajor = 0;
inline constexpr std::uint16_t kMinor = 2;  // the highest that we speak; any lower one has the same messages

enum class Command : std::uint16_t {
  version = 1,
  dma_map = 2,
  dma_unmap = 3,
  device_get_info = 4,
  device_get_region_info = 5,
  device_get_region_io_fds = 6,
  device_get_irq_info = 7,
  device_set_irqs = 8,
  region_read = 9,
  region_write = 10,
  dma_read = 11,   // from the server to the client
  dma_write = 12,  // from the server to the client
  device_reset = 13,
  region_write_multi = 15,
  device_feature = 16,
  mig_data_read = 17,
  mig_data_write = 18,
};

// "VFIO_USER_DMA_MAP"; "command 77" where the specification has none.
std::string name_of(Command command);

struct Header {
  std::uint16_t id = 0;  // of a command, chosen by who sends it; a reply has the same
  Command command = Command::version;
  std::uint32_t size = 0;  // of the whole message, this included
  std::uint32_t flags = 0;
  std::uint32_t os_error = 0;  // an errno, where a reply has kError

  static constexpr std::uint32_t kTypeMask = 0xf, kTypeCommand = 0, kTypeReply = 1;
  static constexpr std::uint32_t kNoReply = 1u << 4, kError = 1u << 5;
  bool is_reply() const { return (flags & kTypeMask) == kTypeReply; }
  bool is_command() const { return (flags & kTypeMask) == kTypeCommand; }
  bool wants_reply() const { return (flags & kNoReply) == 0; }
  bool is_error() const { return (flags & kError) != 0; }
};
static_assert(sizeof(Header) == 16);

// What follows is each payload's fixed part. A field that this side does not use is left 0.

// VERSION, both ways; a JSON text with a terminating NUL follows (capabilities.hpp).
struct VersionPayload {
  std::uint16_t major = kMajor;
  std::uint16_t minor = kMinor;
};

struct DmaMapPayload {
  static constexpr std::uint32_t kReadable = 1, kWriteable = 2;
  std::uint32_t argsz = sizeof(DmaMapPayload);
  std::uint32_t flags = 0;
  std::uint64_t fd_offset = 0;
  std::uint64_t iova = 0;
  std::uint64_t size_bytes = 0;
};
static_assert(sizeof(DmaMapPayload) == 32);

struct DmaUnmapPayload {
  std::uint32_t argsz = sizeof(DmaUnmapPayload);
  std::uint32_t flags = 0;
  std::uint64_t iova = 0;
  std::uint64_t size_bytes = 0;
};
static_assert(sizeof(DmaUnmapPayload) == 24);

struct DeviceInfoPayload {
  std::uint32_t argsz = sizeof(DeviceInfoPayload);
  std::uint32_t flags = 0;  // VFIO_DEVICE_FLAGS_RESET, _PCI
  std::uint32_t regions = 0;
  std::uint32_t interrupts = 0;
};
static_assert(sizeof(DeviceInfoPayload) == 16);

// SET_IRQS: the fixed part of vfio_irq_set. Booleans follow it, or eventfds come with the message.
struct InterruptSetPayload {
  std::uint32_t argsz = sizeof(InterruptSetPayload);
  std::uint32_t flags = 0;  // VFIO_IRQ_SET_DATA_… | VFIO_IRQ_SET_ACTION_…
  std::uint32_t index = 0;
  std::uint32_t start = 0;
  std::uint32_t count = 0;
};
static_assert(sizeof(InterruptSetPayload) == 20);

// REGION_READ and REGION_WRITE, both ways: the data follows in the reply or in the command.
struct RegionAccessPayload {
  std::uint64_t offset = 0;
  std::uint32_t region = 0;
  std::uint32_t count = 0;
};
static_assert(sizeof(RegionAccessPayload) == 16);

// One of the writes that follow the 64-bit number of them in REGION_WRITE_MULTI; the reply has that number alone.
struct SingleWrite {
  std::uint64_t offset = 0;
  std::uint32_t region = 0;
  std::uint32_t count = 0;  // at most 8
  std::uint64_t data = 0;
};
static_assert(sizeof(SingleWrite) == 24);

// DMA_READ and DMA_WRITE, both ways. The specification gives the count 4 bytes in the reply to DMA_WRITE and 8 in the
// others: here it has 8 everywhere.
struct DmaAccessPayload {
  std::uint64_t iova = 0;
  std::uint64_t count = 0;
};
static_assert(sizeof(DmaAccessPayload) == 16);

// Payloads are written and read piece by piece: T is one of the structures here or in linux/vfio.h.
template <typename T>
void append(std::vector<std::byte>& payload, const T& part) {
  const std::size_t end = payload.size();
  payload.resize(end + sizeof part);  // insert() here makes GCC 12 warn of an overflow that is none
  std::memcpy(payload.data() + end, &part, sizeof part);
}

// Error: the payload ends before it.
template <typename T>
Result<T> read_part(std::span<const std::byte> payload, std::size_t offset = 0) {
  if (payload.size() < offset || payload.size() - offset < sizeof(T)) {
    return fail(fmt::format("a payload of {} bytes where {} are the least", payload.size(), offset + sizeof(T)));
  }
  T part;
  std::memcpy(&part, payload.data() + offset, sizeof part);
  return part;
}

}  // namespace pollux::vfio::user
