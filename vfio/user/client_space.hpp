// The vfio-user backend of IoAddressSpace: one session with one device. Each mapping is a message with the memory's
// file descriptor. Safe from any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>

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

  // For the device. Begins the session anew and maps everything again that is mapped here.
  Result<void> reconnect(const std::string& path);

  // For the device, which was closed: the session ends, and with it whatever the server could reach in good faith.
  void device_closed() noexcept;

 private:
  Result<void> send_map(const DmaMapping& mapping);

  DmaWindows windows_;
  mutable std::mutex mutex_;          // guards what follows, and keeps the server's windows and ours in step
  std::shared_ptr<Session> session_;  // null: no device
};

}  // namespace pollux::vfio::user
