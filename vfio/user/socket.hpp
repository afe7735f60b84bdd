// A connected UNIX stream socket that carries whole vfio-user messages, with their file descriptors. Nothing the other
// side sends is believed: sizes are bounded, descriptors counted, and a message that has begun must end within a time.
// One thread may send while another receives; two may not send at once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/protocol.hpp"

namespace pollux::vfio::user {

inline constexpr std::uint32_t kMaxTransferBytes = 1 << 20;  // of data in one message, offered and believed
inline constexpr std::uint32_t kMaxPayloadBytes = kMaxTransferBytes + 4096;
inline constexpr std::size_t kMaxMessageFds = 64;  // that we take in one message

struct Message {
  Header header;
  std::vector<std::byte> payload;
  std::vector<FileDescriptor> fds;
};

class Socket {
 public:
  static constexpr std::uint64_t kMessageNs = 5'000'000'000;  // from a message's first byte to its last

  // Takes a connected socket over, which must not block.
  explicit Socket(FileDescriptor connected, std::uint64_t message_ns = kMessageNs)
      : file_(std::move(connected)), message_ns_(message_ns) {}

  // Errors: nothing at that path, nobody who listens there, no permission, a path longer than an address takes.
  static Result<Socket> connect(const std::string& path);

  // Sends one message; header.size is filled in. The other side gets references of its own to `fds`. Errors: it has
  // closed, or takes nothing.
  Result<void> send(Header header, std::span<const std::byte> payload, std::span<const int> fds = {});

  // The next message, whole; nothing if none begins within `wait_ns`. After an error only closing is left. Errors: the
  // other side has closed (os_error is ECONNRESET), a message that is too short, too long or not finished, more
  // descriptors than are taken.
  Result<std::optional<Message>> receive(std::uint64_t wait_ns);

  // The other side finds the end of what is sent; what it sends can still be received.
  void finish_sending() noexcept;

  // Whether the other side has closed, or does so within `wait_ns`. What it sends meanwhile is thrown away.
  bool wait_for_end(std::uint64_t wait_ns);

  // From any thread: who waits here, and whoever comes later, finds the connection closed; so does the other side.
  void shut_down() noexcept;

  int fd() const { return file_.get(); }

 private:
  Result<void> fill(std::span<std::byte> into, std::vector<FileDescriptor>& fds, std::uint64_t deadline_ns);

  FileDescriptor file_;
  std::uint64_t message_ns_;
};

}  // namespace pollux::vfio::user
