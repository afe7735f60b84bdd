// The vfio-user backend of IoAddressSpace: one session with one device. Each mapping is a message with the memory's
// file descriptor. Safe from any thread.
#pragma once

#include <memory>
#include <mutex>

#include "pollux/vfio/user/session.hpp"

namespace pollux::vfio::user {

class ClientSpace final : public IoAddressSpace {
 public:
  Result<std::unique_ptr<Device>> attach(const Address& address) override;
  Result<void> map(const DmaMapping& mapping) override;
  Result<void> unmap(Iova iova, std::uint64_t size_bytes) override;
  std::vector<IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  std::optional<std::uint32_t> mappings_left() const override;
  MemoryDemands demands() const override;
  std::string describe() const override { return "vfio-user"; }

  // The device was closed: the session ends, and with it whatever the server could reach in good faith.
  void device_closed() noexcept;

 private:
  std::shared_ptr<Session> session() const;

  DmaWindows windows_;
  mutable std::mutex mutex_;          // guards what follows
  std::shared_ptr<Session> session_;  // null: no device
};

}  // namespace pollux::vfio::user
