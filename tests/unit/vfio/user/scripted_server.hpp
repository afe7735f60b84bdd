// A vfio-user server that a test scripts, written from the specification alone: it behaves unless a test says otherwise
// for some command. It listens in a folder of its own and serves one client after the other, on a thread.
#pragma once

#include <linux/vfio.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "pollux/vfio/user/socket.hpp"

namespace pollux::vfio::user {

class ScriptedServer {
 public:
  using Answer = std::function<void(const Message&)>;

  static constexpr std::uint32_t kBar0Bytes = 0x4000, kDoorbellOffset = 0x1000, kDoorbellBytes = 0x1000;
  static constexpr std::uint32_t kConfigBytes = 4096, kVectors = 6;

  ScriptedServer();
  ~ScriptedServer();

  std::string address() const { return "vfio-user:" + path(); }
  std::string path() const { return folder_ + "/socket"; }

  // Instead of what it would do. Before a client connects.
  void on(Command command, Answer answer) { answers_[command] = std::move(answer); }
  // What it says of itself, with version 0.`minor`.
  std::string capabilities = R"({"capabilities":{"max_msg_fds":4,"max_data_xfer_size":1048576,"write_multiple":true}})";
  std::uint16_t major = 0, minor = 2;
  std::atomic<bool> closes = true;  // its end, when the client has

  // For an Answer, which gets a message without its descriptors, on the server's thread; send() and receive() for a
  // test too, while the client asks nothing.
  void reply(const Message& command, std::span<const std::byte> payload = {}, std::span<const int> fds = {});
  void refuse(const Message& command, std::uint32_t os_error);
  void behave(const Message& command);
  void send_bytes(std::span<const std::byte> bytes);
  Socket& socket() { return *socket_; }
  void hang_up() { socket_->shut_down(); }  // a client may connect again

  // What the client has sent so far. Descriptors are left open.
  std::size_t count(Command command);
  std::vector<Message> take(Command command);

  // Config space, little-endian: at first all zeros, without a capability. While the client asks nothing.
  std::uint16_t config16(std::size_t offset) const {
    std::uint16_t value = 0;
    std::memcpy(&value, &config_[offset], sizeof value);
    return value;
  }
  void set_config16(std::size_t offset, std::uint16_t value) { std::memcpy(&config_[offset], &value, sizeof value); }

  std::byte* bar0() { return bar0_; }  // 0x1000 to 0x2000 are what a client may map

 private:
  void run();
  void serve();
  void answer_region_info(const Message& command);

  std::string folder_;
  FileDescriptor listener_, file_;
  std::byte* bar0_ = nullptr;
  std::vector<std::byte> config_;
  std::map<Command, Answer> answers_;
  std::mutex mutex_;  // guards what follows
  std::optional<Socket> socket_;
  bool stopping_ = false;
  std::vector<Message> seen_;
  std::thread thread_;
};

}  // namespace pollux::vfio::user
