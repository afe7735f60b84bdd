// Clients of a device, one after the other, until a signal ends it; and what the terminal hears of them. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "pollux/tools/softnvme/device.hpp"
#include "pollux/tools/softnvme/server/listener.hpp"
#include "pollux/tools/softnvme/server/session.hpp"

namespace pollux::softnvme::server {

class Server {
 public:
  // All three outlive the server; the device is in `space`.
  Server(vfio::IoAddressSpace& space, SoftDeviceThread& device, Listener& listener)
      : space_(space), device_(device), listener_(listener) {}

  // Serves until `stop_fd` is readable. Error: the device cannot be served any more.
  Result<void> run(int stop_fd);

  static constexpr std::size_t kToldViolations = 5;           // of a client's
  static constexpr std::uint64_t kVersionNs = 2'000'000'000;  // from a client's coming to its first message

 private:
  // The one who is connected.
  struct Guest {
    Guest(vfio::IoAddressSpace& space, SoftDeviceThread& device, Client client);
    std::string name;
    Session session;
    std::uint64_t came_ns;
  };

  void welcome();
  // `why`: empty, the client has closed.
  Result<void> part(const std::string& why);
  Result<void> serve_guest();

  vfio::IoAddressSpace& space_;
  SoftDeviceThread& device_;
  Listener& listener_;
  std::unique_ptr<Guest> guest_;
  ServedCommands served_;  // before the guest came
};

// One line on the terminal, at once.
void say(const std::string& line);

}  // namespace pollux::softnvme::server
