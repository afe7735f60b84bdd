// A client's eventfds. VFIO_USER_DEVICE_SET_IRQS gives or takes ranges of vectors, a Device takes whole sets: this
// keeps the set. Whether interrupts are enabled is config space's business, and the client's. Errors carry the errno
// that the reply wants. One thread. Source: the specification, VFIO_USER_DEVICE_SET_IRQS; linux/vfio.h, struct
// vfio_irq_set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/tools/softnvme/device.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/protocol.hpp"

namespace pollux::softnvme::server {

class ClientInterrupts {
 public:
  // The device outlives this.
  explicit ClientInterrupts(SoftDeviceThread& device) : device_(device) {}

  // Does what the payload asks for. Errors: EINVAL (no such vectors, flags, descriptors that are too few or no
  // eventfds), EOPNOTSUPP (masking, which no kind of interrupt here offers).
  Result<void> set(std::span<const std::byte> payload, std::vector<vfio::FileDescriptor> fds);

 private:
  Result<void> install(const vfio::user::InterruptSetPayload& wanted, std::vector<vfio::FileDescriptor> fds);
  // `chosen`: a byte a vector of the range, 0 leaves it out; empty: all.
  Result<void> trigger(const vfio::user::InterruptSetPayload& wanted, std::span<const std::byte> chosen) const;
  Result<void> turn_off(vfio::InterruptIndex index);

  SoftDeviceThread& device_;
  vfio::InterruptIndex kind_ = vfio::InterruptIndex::msix;
  std::vector<vfio::FileDescriptor> eventfds_;  // of that kind, from vector 0 on; empty: none are installed
};

}  // namespace pollux::softnvme::server
