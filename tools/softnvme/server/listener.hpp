// The socket file at which clients find the server. One thread.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"

namespace pollux::softnvme::server {

// Somebody who has connected, as the kernel knows him (SO_PEERCRED).
struct Client {
  vfio::FileDescriptor connection;
  pid_t pid = 0;
  uid_t uid = 0;
};

class Listener {
 public:
  // Makes the file with these permissions (0 to 0777), in place of one that a dead server has left. Errors: a server
  // listens there, something else is there, no permission, a path that is too long.
  static Result<std::unique_ptr<Listener>> create(const std::string& path, mode_t mode);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();  // removes the file, if it is still the same

  int fd() const { return socket_.get(); }  // readable: accept() has somebody

  // The next who waits; nothing: he has gone again.
  Result<std::optional<Client>> accept();

 private:
  Listener() = default;

  vfio::FileDescriptor socket_;
  std::string path_;
  struct stat file_{};
};

}  // namespace pollux::softnvme::server
