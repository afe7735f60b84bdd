// One client of the vfio-user protocol: each of its messages becomes a call on the device, on its address space, or an
// error reply. Nothing that it sends is believed, and nothing of it outlives end(). One thread. Source: the
// specification (vfio/user/protocol.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pollux/tools/softnvme/device.hpp"
#include "pollux/tools/softnvme/server/client_interrupts.hpp"
#include "pollux/tools/softnvme/server/shared_memory.hpp"
#include "pollux/vfio/user/socket.hpp"

namespace pollux::softnvme::server {

// What follows the header of a reply that is no error.
struct Reply {
  std::vector<std::byte> payload;
  int fd = -1;  // sent along; −1: none
};

class Session {
 public:
  // The device is in `space`, and both are this client's alone as long as the session lives; they outlive it. `tell`
  // takes lines for whoever looks after the server.
  Session(vfio::IoAddressSpace& space, SoftDeviceThread& device, vfio::user::Socket socket,
          std::function<void(const std::string&)> tell);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { static_cast<void>(end()); }

  int fd() const { return socket_.fd(); }

  // Takes one message, if one begins within `wait_ns`, and answers it. Error: the session is over, and why; os_error is
  // ECONNRESET where the client has closed.
  Result<void> serve(std::uint64_t wait_ns);

  // Resets the device as a power cycle does, then unmaps the client's memory and closes what it sent. Error: the device
  // cannot be used again.
  Result<void> end();

  std::uint64_t messages() const { return messages_; }
  bool agreed() const { return agreed_; }  // on a version: what comes first

  // Descriptors that a client is told it may send in one message. QEMU takes no server that offers more than 16.
  static constexpr std::uint32_t kOfferedMessageFds = 16;
  static constexpr std::uint32_t kStrictMessageFds = 8;  // SoftDeviceThread::be_strict()
  static constexpr unsigned kToldRefusals = 8;           // of a session's; the rest is silence

 private:
  Result<Reply> answer(vfio::user::Message& message);
  Result<Reply> agree_on_version(std::span<const std::byte> payload);
  Result<Reply> map(const vfio::user::Message& message);
  Result<Reply> unmap(const vfio::user::Message& message);
  Result<Reply> read(std::span<const std::byte> payload);
  Result<Reply> write(std::span<const std::byte> payload);
  Result<Reply> write_multi(std::span<const std::byte> payload);
  Result<void> check(const vfio::user::RegionAccessPayload& access);
  void tell_refusal(const std::string& text);

  SoftDeviceThread& device_;
  vfio::user::Socket socket_;
  std::function<void(const std::string&)> tell_;
  SharedMemory memory_;
  ClientInterrupts interrupts_;
  std::uint64_t messages_ = 0;
  unsigned refusals_ = 0;
  bool agreed_ = false;
  bool write_multiple_ = false;
  bool memory_without_file_ = false;  // told once
  bool ended_ = false;
};

}  // namespace pollux::softnvme::server
