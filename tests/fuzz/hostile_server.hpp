// A vfio-user server that answers as the fuzzer likes: any payload, header, descriptor, error, half a message, commands
// of its own between. While its script says 0, or has ended, it is a good one with a small BAR0 that may be mapped. It
// never falls silent: where a client would wait for more it closes, so that no input takes the bounds of the wall's
// clock, which tests/unit looks at.
#pragma once

#include <string>
#include <thread>

#include "input.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/socket.hpp"

namespace pollux::fuzz {

class HostileServer {
 public:
  // Listens at `path`, and follows `script` on a thread of its own.
  HostileServer(const std::string& path, Input script);
  // The client has gone by now.
  ~HostileServer();

  static constexpr std::uint64_t kBarBytes = 0x4000;

 private:
  using Message = vfio::user::Message;
  struct Reply {
    vfio::user::Header header;
    std::vector<std::byte> payload;
    std::vector<int> fds;
  };

  void run();
  void serve(vfio::FileDescriptor connected);
  Reply honest(const Message& asked) const;
  bool answer(vfio::user::Socket& socket, const Message& asked);  // false: it closes
  bool send_raw(vfio::user::Socket& socket, const Reply& reply);
  void ask(vfio::user::Socket& socket);
  int any_file();

  Input script_;
  vfio::FileDescriptor listening_, bar_, read_only_, short_, eventfd_, zero_;
  std::thread thread_;
};

}  // namespace pollux::fuzz
