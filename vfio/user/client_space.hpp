// The vfio-user backend of IoAddressSpace: one session with one device. Each mapping is a message with the memory's
// file descriptor. Memory is given back to the application only when the server has let go of it, or has died; from one
// that is silent it is taken back (DmaWindows::take_back()). Safe from any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "pollux/vfio/user/session.hpp"

namespace pollux::vfio::user {

class ClientSpace final : public IoAddressSpace {
 public:
  explicit ClientSpace(std::uint64_t reply_ns = Session::kReplyNs) : reply_ns_(reply_ns) {}

  Result<std::unique_ptr<Device>> attach(const Address& address) override;
  Result<void> map(const DmaMapping& mapping) override;
  Result<void> unmap(Iova iova, std::uint64_t size_bytes) override;
  std::vector<IovaRange> usable_ranges() const override;
  std::uint64_t page_sizes() const override;
  std::optional<std::uint32_t> mappings_left() const override;
  MemoryDemands demands() const override;
  std::string describe() const override { return "vfio-user"; }

  // For the device. Whether the server has neither let go of the memory nor died.
  bool is_held();

  // For the device. Begins the session anew and maps everything again that is mapped here. Errors: it is held,
  // nobody is there, or a server that offers or takes other things than before.
  std::expected<void, NotBack> reconnect(const std::string& path);

  // For the device, which was closed: the session ends. `at_once`: the memory is the application's when this returns.
  void device_closed(bool at_once) noexcept;

 private:
  static constexpr std::uint64_t kPartNs = 1'000'000'000;  // for a server to let go by itself
  Result<void> send_map(const DmaMapping& mapping);
  // Memory that a session which has ended leaves behind: it stays shared only if the server is gone.
  Result<void> take_back(const DmaWindows::Window& removed, const Error& ended_by);

  const std::uint64_t reply_ns_;
  DmaWindows windows_;
  mutable std::mutex mutex_;          // guards what follows, and keeps the server's windows and ours in step
  std::shared_ptr<Session> session_;  // null: no device
};

}  // namespace pollux::vfio::user
