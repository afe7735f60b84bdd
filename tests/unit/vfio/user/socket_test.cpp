#include "pollux/vfio/user/socket.hpp"

#include <sys/socket.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <string>
#include <thread>

#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/eventfd.hpp"

using namespace pollux;
using namespace pollux::vfio;
using namespace pollux::vfio::user;

namespace {

constexpr std::uint64_t kLongNs = 20'000 * kNsPerMs, kShortNs = 100 * kNsPerMs;

std::array<int, 2> make_pair() {
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return ends;
}

// A socket under test, and the bare descriptor at its other end.
struct Pair {
  const std::array<int, 2> ends = make_pair();
  FileDescriptor other{ends[1]};
  Socket socket{FileDescriptor(ends[0]), kShortNs};

  void send_bytes(std::string_view bytes) {
    REQUIRE(::send(other.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }
};

constexpr std::string_view kReset{"\x07\x00\x0d\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 16};

bool says(const Error& error, std::string_view word) { return error.message().find(word) != std::string::npos; }

}  // namespace

TEST_CASE_METHOD(Pair, "a message goes out as the specification lays it out") {
  REQUIRE(socket.send({.id = 7, .command = Command::device_reset}, {}));
  std::array<char, 64> got{};
  REQUIRE(recv(other.get(), got.data(), got.size(), 0) == 16);
  CHECK(std::string_view(got.data(), 16) == kReset);
  DmaMapPayload map;
  map.flags = DmaMapPayload::kReadable | DmaMapPayload::kWriteable;
  map.fd_offset = 0x1122334455667788;
  map.iova = 0x200000;
  map.size_bytes = 0x400000;
  REQUIRE(socket.send({.id = 0x1234, .command = Command::dma_map}, std::as_bytes(std::span(&map, 1))));
  REQUIRE(recv(other.get(), got.data(), got.size(), 0) == 48);
  constexpr std::string_view kMap{
      "\x34\x12\x02\x00\x30\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
      "\x20\x00\x00\x00\x03\x00\x00\x00\x88\x77\x66\x55\x44\x33\x22\x11"
      "\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00",
      48};
  CHECK(std::string_view(got.data(), 48) == kMap);
}

TEST_CASE_METHOD(Pair, "a message that comes in pieces is received whole") {
  std::thread peer([&] {
    for (const char byte : kReset) {
      send_bytes({&byte, 1});
      steady_clock().pause_ns(kNsPerMs);
    }
  });
  const auto message = socket.receive(kLongNs);
  peer.join();
  REQUIRE(message);
  REQUIRE(*message);
  CHECK((*message)->header.id == 7);
  CHECK((*message)->header.command == Command::device_reset);
}

TEST_CASE_METHOD(Pair, "a large message passes while the other side reads it") {
  const std::vector<std::byte> payload(kMaxTransferBytes, std::byte{5});
  Socket reader(std::move(other));
  std::thread peer([&] { CHECK(socket.send({.command = Command::dma_read}, payload)); });
  const auto message = reader.receive(kLongNs);
  peer.join();
  REQUIRE(message);
  REQUIRE(*message);
  CHECK((*message)->payload == payload);
}

TEST_CASE_METHOD(Pair, "descriptors come with the message that they were sent with") {
  const Eventfd one = *Eventfd::create(), two = *Eventfd::create();
  Socket sender(std::move(other));
  const int fds[] = {one.fd(), two.fd()};
  REQUIRE(sender.send({.id = 1, .command = Command::device_set_irqs}, std::vector<std::byte>(20), fds));
  REQUIRE(sender.send({.id = 2, .command = Command::device_reset}, {}));
  const auto first = socket.receive(kLongNs), second = socket.receive(kLongNs);
  REQUIRE(*first);
  CHECK((*first)->fds.size() == 2);
  REQUIRE(*second);
  CHECK((*second)->fds.empty());
  constexpr std::uint64_t kOne = 1;
  REQUIRE(write((*first)->fds[1].get(), &kOne, sizeof kOne) == sizeof kOne);
  CHECK(two.drain() == 1);
}

TEST_CASE_METHOD(Pair, "no message is no error") {
  const auto message = socket.receive(0);
  REQUIRE(message);
  CHECK_FALSE(*message);
}

TEST_CASE_METHOD(Pair, "a message that does not end is given up in time") {
  const std::size_t bytes = GENERATE(1u, 15u, 16u);
  std::string half(kReset);
  half[4] = 32;  // 16 bytes of payload, which never come
  send_bytes(std::string_view(half).substr(0, bytes));
  const std::uint64_t start_ns = steady_clock().now_ns();
  const auto message = socket.receive(kLongNs);
  REQUIRE_FALSE(message);
  CHECK(says(message.error(), "too early"));
  CHECK(steady_clock().now_ns() - start_ns < kLongNs / 2);
}

TEST_CASE_METHOD(Pair, "a size that no message has is refused") {
  std::string wrong(kReset);
  SECTION("shorter than its header") { wrong[4] = 15; }
  SECTION("longer than anything") { wrong[7] = 0x7f; }
  send_bytes(wrong);
  const auto message = socket.receive(kLongNs);
  REQUIRE_FALSE(message);
  CHECK(says(message.error(), "are possible"));
}

TEST_CASE_METHOD(Pair, "more descriptors than are taken are refused, and closed") {
  const Eventfd one = *Eventfd::create();
  const std::vector<int> fds(kMaxMessageFds + 1, one.fd());
  Socket sender(std::move(other));
  REQUIRE(sender.send({.command = Command::device_set_irqs}, {}, fds));
  const auto message = socket.receive(kLongNs);
  REQUIRE_FALSE(message);
  CHECK(says(message.error(), "64 file descriptors"));
}

TEST_CASE_METHOD(Pair, "an end of the connection is told apart from other errors") {
  SECTION("by the other side") { other = FileDescriptor(); }
  SECTION("by this side, while it waits") { socket.shut_down(); }
  const auto message = socket.receive(kLongNs);
  REQUIRE_FALSE(message);
  CHECK(message.error().os_error == ECONNRESET);
  CHECK_FALSE(socket.send({.command = Command::device_reset}, {}));
}

TEST_CASE_METHOD(Pair, "who takes nothing is not waited for without end") {
  const std::vector<std::byte> payload(kMaxTransferBytes);
  const auto sent = socket.send({.command = Command::dma_read}, payload);
  REQUIRE_FALSE(sent);
  CHECK(says(sent.error(), "taken nothing"));
}

TEST_CASE("nobody at a path is told with what to do") {
  const auto none = Socket::connect("/nonexistent/socket");
  REQUIRE_FALSE(none);
  CHECK(says(none.error(), "start the server"));
  const auto long_path = Socket::connect(std::string(200, 'x'));
  REQUIRE_FALSE(long_path);
  CHECK(says(long_path.error(), "200 characters"));
}
