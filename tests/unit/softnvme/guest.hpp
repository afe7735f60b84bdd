// A session of the vfio-user server and its client in one thread: what the client asks is served at once. The
// controller has its own, as ever.
#pragma once

#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "pollux/tools/softnvme/server/session.hpp"
#include "pollux/tools/softnvme/space.hpp"
#include "raw_client.hpp"

namespace pollux::softnvme {

struct Guest {
  explicit Guest(const std::string& options = "size=1MiB,queues=3", bool agree = true)
      : device_(*space.attach(*vfio::Address::parse("soft:" + options))) {
    connect();
    if (agree) REQUIRE_FALSE(client->agree().header.is_error());
  }

  // A new client, after the one before has left.
  void connect() {
    if (session) REQUIRE(session->end());
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    session = std::make_unique<server::Session>(space, device(), vfio::user::Socket(vfio::FileDescriptor(ends[0])),
                                                [this](const std::string& line) { told.push_back(line); });
    client = std::make_unique<RawClient>(vfio::user::Socket(vfio::FileDescriptor(ends[1])),
                                         [this] { served = session->serve(kWaitNs); });
  }

  SoftDeviceThread& device() { return static_cast<SoftDeviceThread&>(*device_); }

  SoftSpace space{{{0, ~0ull}}};

 private:
  std::unique_ptr<vfio::Device> device_;

 public:
  std::vector<std::string> told;
  std::unique_ptr<server::Session> session;
  std::unique_ptr<RawClient> client;
  Result<void> served;  // how the last message ended
};

}  // namespace pollux::softnvme
