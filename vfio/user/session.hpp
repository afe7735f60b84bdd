// A client's connection to a vfio-user server: the version agreed on, then commands, each with its reply, while the
// server's own commands (DMA_READ and DMA_WRITE) are answered by a thread that sleeps on the socket. Nothing on the
// data path comes here: doorbells are memory, and so is what the device reads and writes.
//
// The first thing that goes wrong (silence, a reply that is none, the other side gone) ends the session: whoever waits,
// and whoever comes later, gets that error. A server that was silent is not dead: until it closes its end, as a process
// that dies does, it may use the memory that it was given. Safe from any thread. Source: the specification.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "pollux/vfio/process.hpp"
#include "pollux/vfio/user/capabilities.hpp"
#include "pollux/vfio/user/dma_windows.hpp"
#include "pollux/vfio/user/socket.hpp"

namespace pollux::vfio::user {

class Session {
 public:
  static constexpr std::uint64_t kReplyNs = 10'000'000'000;  // a server may take its time to reset, or to map memory

  // Agrees on a version with whoever is at the other end. `windows` is what the server may ask for, and outlives this.
  // Errors: silence, a version that is not ours, version data that cannot be read, a server that takes no descriptors.
  static Result<std::unique_ptr<Session>> open(Socket socket, DmaWindows& windows, std::uint64_t reply_ns = kReplyNs);
  ~Session();

  // Begins anew with a server that came back, once the peer before is gone. Errors: as open(), and other terms than
  // before; final is what the server has said, and not that it says nothing. From one thread at a time.
  std::expected<void, NotBack> reopen(Socket socket);

  // Why the session did not come back, from a request that failed: for good where the server goes on, and what it has
  // said is no errno.
  NotBack not_back(Error why) { return {why, why.os_error == 0 && !has_ended()}; }

  // Whether the session has ended: nothing can be asked any more.
  bool has_ended();

  // Whether the other side has closed its end: it has died, or let go.
  bool is_peer_gone();

  // Ends the session and waits up to `wait_ns` for the other side to close its end. Whether it has.
  bool part(std::uint64_t wait_ns);

  // Sends a command and waits for its reply, for a bounded time. Errors: the server's own (os_error is what it gave;
  // the session goes on), the session's end.
  Result<Message> request(Command command, std::span<const std::byte> payload, std::span<const int> fds = {});

  // What was agreed on: version 0.`minor`, and what the server offers within what this side can use.
  struct Terms {
    std::uint16_t minor = 0;
    Capabilities capabilities;
    friend bool operator==(const Terms&, const Terms&) = default;
  };
  const Terms& terms() const { return terms_; }

  // Ends the session: the server is told by the connection's end. When this returns the server's commands are answered
  // no more.
  void close() noexcept;

 private:
  Session(Socket socket, DmaWindows& windows, std::uint64_t reply_ns)
      : socket_(std::move(socket)), windows_(windows), reply_ns_(reply_ns) {}
  Result<Message> propose();
  Result<Terms> agree(const Message& reply) const;
  Result<void> start();
  void run();
  void deliver(Message reply);
  Result<void> serve(const Message& command);
  void end(Error why);
  void linger();

  const Opener opener_;
  Socket socket_;
  DmaWindows& windows_;
  const std::uint64_t reply_ns_;
  Terms terms_;  // for good

  std::mutex request_mutex_;  // one command at a time
  std::mutex send_mutex_;     // a command or a reply to the server's, whole
  std::mutex mutex_;          // guards what follows
  std::condition_variable answered_;
  std::optional<Header> awaited_;  // the command whose reply is awaited
  std::optional<Message> reply_;
  std::optional<Error> ended_;
  bool peer_gone_ = false;
  bool closing_ = false;
  std::uint16_t last_id_ = 0;
  std::thread thread_;
};

}  // namespace pollux::vfio::user
