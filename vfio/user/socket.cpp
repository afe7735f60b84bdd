#include "pollux/vfio/user/socket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio::user {
namespace {

constexpr std::size_t kKernelMaxFds = 253;  // SCM_MAX_FD: what one message may hold, so that none is cut off unseen

std::unexpected<Error> closed() {
  return std::unexpected(Error{"the other side has closed the connection", "it has ended: start it again", ECONNRESET});
}

// Waits for `events` until `deadline_ns`: whether they came.
Result<bool> wait_for(int fd, short events, std::uint64_t deadline_ns) {
  for (;;) {
    const std::uint64_t now_ns = steady_clock().now_ns();
    const std::uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns + kNsPerMs - 1) / kNsPerMs : 0;
    pollfd one{.fd = fd, .events = events, .revents = 0};
    const int found = poll(&one, 1, static_cast<int>(std::min<std::uint64_t>(left_ms, 1'000'000)));
    if (found > 0) return true;
    if (found < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for the socket");
    if (found == 0 && steady_clock().now_ns() >= deadline_ns) return false;
  }
}

double seconds(std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

// The descriptors that came with what was just received.
void take_fds(msghdr& message, std::vector<FileDescriptor>& fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

Result<Socket> Socket::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(fmt::format("the socket's path \"{}\" has {} characters", path, path.size()),
                fmt::format("1 to {} fit", sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  FileDescriptor file(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!file) return fail_errno(errno, "cannot make a socket");
  const auto connect_once = [&] {
    return ::connect(file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  };
  if (uninterrupted(connect_once) != 0) {
    const int os_error = errno;
    const char* advice = "";
    if (os_error == ENOENT) advice = "start the server first, or correct the path";
    if (os_error == ECONNREFUSED) advice = "its server is gone: start it again";
    if (os_error == EACCES) advice = "its owner or root can let you: chown or chmod the socket";
    if (os_error == EAGAIN) advice = "the server is busy with other clients";
    return fail_errno(os_error, fmt::format("cannot connect to {}", path), advice);
  }
  return Socket(std::move(file));
}

Result<void> Socket::send(Header header, std::span<const std::byte> payload, std::span<const int> fds) {
  header.size = static_cast<std::uint32_t>(sizeof header + payload.size());
  const std::uint64_t deadline_ns = steady_clock().now_ns() + message_ns_;
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kKernelMaxFds * sizeof(int))] = {};
  if (fds.size() > kKernelMaxFds) return fail(fmt::format("{} file descriptors for one message", fds.size()));
  for (std::size_t done = 0; done < header.size;) {
    iovec parts[2];
    int count = 0;
    if (done < sizeof header) parts[count++] = {reinterpret_cast<std::byte*>(&header) + done, sizeof header - done};
    const std::size_t of_payload = done < sizeof header ? 0 : done - sizeof header;
    if (of_payload < payload.size())
      parts[count++] = {const_cast<std::byte*>(payload.data()) + of_payload, payload.size() - of_payload};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<std::size_t>(count);
    if (done == 0 && !fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size_bytes());
      cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = sendmsg(file_.get(), &message, MSG_NOSIGNAL);
    if (sent > 0) {
      done += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) return closed();
    if (errno != EAGAIN) return fail_errno(errno, "cannot send on the socket");
    const auto ready = wait_for(file_.get(), POLLOUT, deadline_ns);
    if (!ready) return std::unexpected(ready.error());
    if (!*ready) return fail(fmt::format("the other side has taken nothing for {} s", seconds(message_ns_)));
  }
  return {};
}

Result<void> Socket::fill(std::span<std::byte> into, std::vector<FileDescriptor>& fds, std::uint64_t deadline_ns) {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kKernelMaxFds * sizeof(int))];
  while (!into.empty()) {
    iovec part{into.data(), into.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(file_.get(), &message, MSG_CMSG_CLOEXEC);
    if (got > 0) {
      take_fds(message, fds);
      if ((message.msg_flags & MSG_CTRUNC) != 0)
        return fail("file descriptors of a message were lost", "raise the limit on open files (ulimit -n)");
      if (fds.size() > kMaxMessageFds)
        return fail(fmt::format("a message with more than {} file descriptors", kMaxMessageFds));
      into = into.subspan(static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0 || errno == ECONNRESET) return closed();
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail_errno(errno, "cannot receive from the socket");
    const auto ready = wait_for(file_.get(), POLLIN, deadline_ns);
    if (!ready) return std::unexpected(ready.error());
    if (!*ready) {
      return fail(fmt::format("a message that ends {} bytes too early: nothing came for {} s", into.size(),
                              seconds(message_ns_)));
    }
  }
  return {};
}

Result<std::optional<Message>> Socket::receive(std::uint64_t wait_ns) {
  const auto begun = wait_for(file_.get(), POLLIN, steady_clock().now_ns() + wait_ns);
  if (!begun) return std::unexpected(begun.error());
  if (!*begun) return std::nullopt;
  const std::uint64_t deadline_ns = steady_clock().now_ns() + message_ns_;
  Message message;
  if (auto got = fill(std::as_writable_bytes(std::span(&message.header, 1)), message.fds, deadline_ns); !got)
    return std::unexpected(got.error());
  const std::uint32_t size = message.header.size;
  if (size < sizeof(Header) || size - sizeof(Header) > kMaxPayloadBytes) {
    return fail(fmt::format("a {} message of {} bytes: {} to {} are possible", name_of(message.header.command), size,
                            sizeof(Header), sizeof(Header) + kMaxPayloadBytes));
  }
  message.payload.resize(size - sizeof(Header));
  if (auto got = fill(message.payload, message.fds, deadline_ns); !got) return std::unexpected(got.error());
  return message;
}

void Socket::finish_sending() noexcept { shutdown(file_.get(), SHUT_WR); }

bool Socket::wait_for_end(std::uint64_t wait_ns) {
  const std::uint64_t deadline_ns = steady_clock().now_ns() + wait_ns;
  for (;;) {
    std::byte ignored[4096];
    const ssize_t got = recv(file_.get(), ignored, sizeof ignored, 0);  // descriptors that come along are dropped
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return true;
    const auto ready = wait_for(file_.get(), POLLIN, deadline_ns);
    if (!ready || !*ready) return false;
  }
}

void Socket::shut_down() noexcept { shutdown(file_.get(), SHUT_RDWR); }

}  // namespace pollux::vfio::user
