// A client of the vfio-user server as small as one can be: it sends messages by hand, shares a file of memory, maps the
// doorbells and submits admin commands. It uses neither driver nor our own client, so that a mistake there cannot hide
// one here.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/user/protocol.hpp"
#include "pollux/vfio/user/socket.hpp"

namespace pollux::softnvme {

using vfio::user::Command;
using vfio::user::Header;
using vfio::user::Message;

inline constexpr std::uint64_t kWaitNs = 20'000'000'000;

template <typename T>
std::vector<std::byte> bytes_of(const T& value) {
  std::vector<std::byte> bytes;
  vfio::user::append(bytes, value);
  return bytes;
}

template <typename T>
T part_of(const Message& message, std::size_t offset = 0) {
  const auto part = vfio::user::read_part<T>(message.payload, offset);
  return part ? *part : T{};
}

// Memory that can be shared: a memfd, mapped here.
class SharedFile {
 public:
  explicit SharedFile(std::uint64_t size_bytes);
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  ~SharedFile();
  int fd() const { return file_.get(); }
  std::byte* data() const { return data_; }
  void truncate(std::uint64_t size_bytes);

 private:
  vfio::FileDescriptor file_;
  std::uint64_t size_bytes_;
  std::byte* data_;
};

class RawClient {
 public:
  // `serve` is called between a command and its reply: where the other side is no program, it makes it answer.
  explicit RawClient(vfio::user::Socket connected, std::function<void()> serve = {})
      : socket(std::move(connected)), serve_(std::move(serve)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient();

  // The reply. Fails the test where there is none, or one to something else.
  Message ask(Command command, std::vector<std::byte> payload = {}, std::vector<int> fds = {});
  // The errno of the reply; 0: it is none. An error reply has a header alone.
  int refusal(Command command, std::vector<std::byte> payload = {}, std::vector<int> fds = {});

  Message agree(std::uint16_t minor = 2, const std::string& json = R"({"capabilities":{"write_multiple":true}})");
  int map(std::uint64_t iova, std::uint64_t size_bytes, std::vector<int> fds, std::uint64_t fd_offset = 0,
          std::uint32_t flags = 3);
  int unmap(std::uint64_t iova, std::uint64_t size_bytes, std::uint32_t flags = 0);
  std::uint64_t read(std::uint32_t region, std::uint64_t offset, std::uint32_t count);
  void write(std::uint32_t region, std::uint64_t offset, std::uint64_t value, std::uint32_t count);
  int set_irqs(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count,
               std::vector<int> fds = {}, std::vector<std::byte> data = {});

  // Shares `memory` at kIova, switches bus master on, maps the doorbells where the server lets it, and enables the
  // controller with admin queues of 16 entries in the first two pages of the memory.
  void bring_up(SharedFile& memory);
  void submit(const nvme::Command& command, std::optional<std::uint16_t> cid = {});  // the CID is its slot else
  void identify();                                                                   // into the third page
  bool answered();                                                                   // the next command, within kWaitNs
  void ring(std::uint32_t word, std::uint32_t value);

  static constexpr std::uint64_t kIova = 0x10'0000;
  static constexpr std::uint64_t kPageBytes = 4096;

  vfio::user::Socket socket;
  std::uint32_t* doorbells = nullptr;      // null: they are written by message
  std::optional<std::uint16_t> id_of_all;  // of every message; else each has its own

 private:
  std::function<void()> serve_;
  std::uint16_t next_id_ = 1;
  SharedFile* memory_ = nullptr;
  std::uint32_t sq_tail_ = 0, cq_head_ = 0;
};

}  // namespace pollux::softnvme
