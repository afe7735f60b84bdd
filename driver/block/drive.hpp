// A drive: the device, its controller and the memory it reaches. Safe from any thread; each Channel has one of its own.
// In a child that was forked every call is an error, and the end of a drive, a channel or memory touches nothing of the
// device's (vfio/process.hpp).
//
// Somebody calls poll() every now and then, from any thread: it is what notices deadlines and a controller that is
// gone. If nobody does, I/O goes on, and a command that never completes is waited for without end.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pollux/dma/space.hpp"
#include "pollux/driver/block/channel.hpp"
#include "pollux/driver/block/namespace.hpp"
#include "pollux/driver/controller/controller.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux {

using ResetReach = nvme::ResetReach;
using Event = nvme::Event;

struct OpenOptions {
  std::span<const vfio::Scheme> schemes = {};   // kinds of address beyond the kernel's, as softnvme::scheme()
  std::shared_ptr<dma::Space> space = nullptr;  // an address space to share with other drives; none: one of its own
  std::uint16_t io_queues = 16;                 // how many queue pairs to ask the controller for
  bool shadow_doorbells = true;                 // used where the controller offers them; false: its registers only
  // How long a vfio-user server may be away before the drive counts as lost. Meanwhile poll() calls for it; what is in
  // flight then is treated as by a reset. 0: it is lost at once.
  std::uint32_t reconnect_ms = 0;
  Clock* clock = &steady_clock();
};

class Drive {
 public:
  // Claims the device, brings its controller up and identifies it. Nothing stays claimed or mapped after an error.
  static Result<std::unique_ptr<Drive>> open(std::string_view address, const OpenOptions& options = {});

  // Shuts the controller down (CC.SHN), bounded by RTD3E, and gives the device back. Channels are destroyed before.
  ~Drive() = default;

  // The namespace that `nsid` names; 0: the address's `,ns=N`, else the first active one that pollux drives.
  // Errors: not active (says which are), another command set than NVM (zoned, key value, …; says which), a format that
  // pollux does not drive (metadata, protection information).
  Result<Namespace> open_namespace(std::uint32_t nsid = 0);

  // Errors: a namespace that this drive's open_namespace() has not given, no queue left (says how many the controller
  // granted), or none at all.
  Result<std::unique_ptr<Channel>> open_channel(const Namespace& ns, const ChannelOptions& options = {});

  // Memory for requests.
  Result<dma::Buffer> allocate(std::uint64_t size_bytes) { return space()->allocate(size_bytes); }
  const std::shared_ptr<dma::Space>& space() const { return controller_->space(); }

  // Looks whether the controller is alive, moves the clock of the deadlines, has the controller abort a command that
  // outlived its own or resets it, and collects events. Cheap; every second or more often. Waits for nothing but a
  // reset, what a namespace is after it has changed, and a server that is away; while another thread is in a call of
  // this drive, which then sees to the same, it returns at once. Error: the controller is lost, and every channel
  // stops.
  Result<void> poll() { return controller_->poll(); }

  // The oldest of the events that poll() has collected: health, errors, namespaces that grew, shrank or vanished
  // (identify them anew: open_namespace()), firmware.
  std::optional<Event> take_event() { return controller_->take_event(); }

  // Resets the controller, or more, and brings it up again. When their owners next poll, reads and flushes in flight on
  // channels are sent again, writes only where ChannelOptions::reissue_writes asks for it; the rest is answered with
  // "aborted by host", and each channel works again. A reset of the bus reaches other functions too: their drives find
  // out in their own poll(), and come back in the same way. Error: another drive or namespace answers, or none; the
  // drive is lost.
  Result<void> reset(ResetReach reach = ResetReach::controller) { return controller_->reset(reach); }

  // Clean shutdown, now rather than in the destructor, so that its error can be seen. The drive can only be destroyed
  // afterwards: a reset, an admin command and a new channel are refused.
  Result<void> shutdown() { return controller_->shutdown(); }

  nvme::Controller& controller() { return *controller_; }

 private:
  Drive(std::unique_ptr<nvme::Controller> controller, vfio::Address address)
      : controller_(std::move(controller)), address_(std::move(address)) {}

  std::unexpected<Error> no_namespace();
  Result<Namespace> open_first(std::span<const std::uint32_t> active);
  Result<Namespace> open_active(std::uint32_t nsid);

  std::unique_ptr<nvme::Controller> controller_;
  vfio::Address address_;
};

}  // namespace pollux
