#include "pollux/tools/softnvme/server/listener.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

#include "pollux/vfio/user/socket.hpp"

namespace pollux::softnvme::server {
namespace {

constexpr int kBacklog = 8;

// Makes way for a new socket file, where that harms nobody.
Result<void> remove_stale(const std::string& path) {
  struct stat found{};
  if (lstat(path.c_str(), &found) != 0) return {};  // if it is not just missing, bind() will tell
  if (!S_ISSOCK(found.st_mode))
    return fail(fmt::format("{} is there and is no socket", path), "choose another path, or remove it");
  const auto other = vfio::user::Socket::connect(path);
  if (other || other.error().os_error == EAGAIN)
    return fail(fmt::format("a server listens at {} already", path), "end it, or choose another path");
  if (other.error().os_error != ECONNREFUSED) return std::unexpected(other.error());
  if (unlink(path.c_str()) != 0)
    return fail_errno(errno, fmt::format("cannot remove the socket {}, at which nobody listens", path));
  return {};
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::create(const std::string& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(fmt::format("the socket's path \"{}\" has {} characters", path, path.size()),
                fmt::format("1 to {} fit", sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, path.size());
  if (const Result<void> clear = remove_stale(path); !clear) return std::unexpected(clear.error());
  std::unique_ptr<Listener> listener(new Listener);
  listener->socket_ = vfio::FileDescriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener->socket_) return fail_errno(errno, "cannot make a socket");
  // The mask and not chmod(): the file is never open to more than it shall be.
  const mode_t mask = umask(~mode & 0777);
  const int bound = bind(listener->fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int os_error = errno;
  umask(mask);
  if (bound != 0)
    return fail_errno(os_error, fmt::format("cannot make the socket {}", path),
                      "does its folder exist, and is it yours?");
  listener->path_ = path;
  if (lstat(path.c_str(), &listener->file_) != 0 || listen(listener->fd(), kBacklog) != 0)
    return fail_errno(errno, fmt::format("cannot listen at {}", path));
  return listener;
}

Listener::~Listener() {
  struct stat now{};
  if (!path_.empty() && lstat(path_.c_str(), &now) == 0 && now.st_dev == file_.st_dev && now.st_ino == file_.st_ino)
    unlink(path_.c_str());
}

Result<std::optional<Client>> Listener::accept() {
  Client client{.connection = vfio::FileDescriptor(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))};
  if (!client.connection) {
    const bool passes = errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
    if (!passes) return fail_errno(errno, "cannot take a client");
    return std::nullopt;
  }
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(client.connection.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
    client.pid = credentials.pid;
    client.uid = credentials.uid;
  }
  return client;
}

}  // namespace pollux::softnvme::server
