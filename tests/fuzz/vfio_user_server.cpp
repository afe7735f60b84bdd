// A client of the vfio-user server that sends what it likes: messages of any size with any descriptors, memory that it
// shares, writes to and shortens, registers, doorbells and commands. Each command that wants a reply gets one, with its
// id, and nothing of the client outlives the session. The controller has no thread here: it steps between messages.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>

#include "input.hpp"
#include "pollux/tools/softnvme/server/fault_guard.hpp"
#include "pollux/tools/softnvme/server/session.hpp"
#include "pollux/tools/softnvme/space.hpp"

using namespace pollux;
using namespace pollux::softnvme;
using fuzz::must;
using vfio::FileDescriptor;
using vfio::user::Header;

namespace {

constexpr unsigned kMostMessages = 64;
constexpr std::size_t kFileBytes = 16 * 4096;
constexpr std::uint64_t kTurnNs = 1'000'000;
constexpr std::uint64_t kMessageNs = 1'000'000;  // that a message may stop half-way: the wall's time

class Client {
 public:
  Client(fuzz::Input& input, vfio::user::Socket socket)
      : input_(input),
        socket_(std::move(socket)),
        file_(memfd_create("client", MFD_CLOEXEC)),
        eventfd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        zero_(open("/dev/zero", O_RDWR | O_CLOEXEC)) {
    must(file_ && eventfd_ && zero_ && ftruncate(file_.get(), kFileBytes) == 0, "descriptors");
  }

  // Sends something, or changes the memory. False: it has closed.
  bool act() {
    constexpr std::uint8_t kMemory = 24, kTruncate = 28, kRaw = 30;
    const std::uint8_t kind = input_.u8();
    const std::uint8_t action = kind % 32;
    if (action < kMemory) return send(kind);
    if (action < kTruncate) {
      const std::uint16_t offset = input_.u16();
      const auto bytes = input_.bytes(input_.u8());
      (void)!pwrite(file_.get(), bytes.data(), bytes.size(), offset % kFileBytes);
      return true;
    }
    if (action < kRaw) {
      (void)!ftruncate(file_.get(), input_.u8() % 17 * 4096);
      return true;
    }
    const auto bytes = input_.bytes(input_.u16());
    (void)!::send(socket_.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(socket_.fd(), SHUT_WR);
    sent_.reset();
    return action % 2 == 0;
  }

  void take_replies() {
    for (;;) {
      const auto reply = socket_.receive(0);
      if (!reply || !*reply) return;
      const Header& header = (*reply)->header;
      must(header.is_reply(), "the server sends replies");
      if (!sent_) continue;
      must(header.id == sent_->id && header.command == sent_->command, "a reply is to what was sent");
      must(sent_->wants_reply(), "a reply was wanted");
      must(!header.is_error() || (header.os_error != 0 && (*reply)->payload.empty()), "an error reply is its header");
      sent_.reset();
    }
  }

  // The last message, if its reply is missing.
  bool is_unanswered() const { return sent_ && sent_->is_command() && sent_->wants_reply(); }

 private:
  bool send(std::uint8_t kind) {
    Header header{.id = ++id_, .command = static_cast<vfio::user::Command>(kind % 32 % 19)};
    if ((kind & 0x20) != 0) header.flags = input_.u8();
    const int files[] = {file_.get(), eventfd_.get(), zero_.get()};
    std::vector<int> fds;
    if ((kind & 0x40) != 0) {
      const std::uint8_t what = input_.u8();
      fds.assign(1 + what / 16, files[what % 3]);
    }
    const auto payload = input_.bytes((kind & 0x80) != 0 ? input_.u16() : input_.u8());
    if (!socket_.send(header, std::as_bytes(payload), fds)) return false;
    sent_ = header;
    return true;
  }

  fuzz::Input& input_;
  vfio::user::Socket socket_;
  FileDescriptor file_, eventfd_, zero_;
  std::uint16_t id_ = 0;
  std::optional<Header> sent_;  // the last one, until its reply
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  SoftSpace space{{{0, ~0ull}}};
  const auto address = vfio::Address::parse("soft:size=1MiB,queues=3,shadow=1");
  auto device = SoftDeviceThread::create(space, *address);
  must(device.has_value(), "a device");
  int ends[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0, "a socket");
  server::Session session(space, **device, vfio::user::Socket(FileDescriptor(ends[0]), kMessageNs),
                          [](const std::string& line) { must(!line.empty(), "a line has a text"); });
  Client client(input, vfio::user::Socket(FileDescriptor(ends[1]), kMessageNs));
  std::uint64_t now_ns = 1;
  for (unsigned count = 0; count < kMostMessages && !input.at_end(); ++count) {
    const bool goes_on = client.act();
    const auto served = session.serve(0);
    client.take_replies();
    if (!served || !goes_on) break;
    must(!client.is_unanswered(), "a command is answered");
    for (unsigned turn = 0; turn < 4; ++turn) must((*device)->turn(now_ns += kTurnNs).has_value(), "a turn");
    if (server::fault_guard::take_fault()) break;  // as the server does, who sends such a client away
  }
  must(session.end().has_value(), "a session ends");
  must(space.mappings_left() == MappingTable::kMaxMappings, "nothing of the client stays mapped");
  return 0;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  must(server::fault_guard::install().has_value(), "SIGBUS is ours");
  return 0;
}
