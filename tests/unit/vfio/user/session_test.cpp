#include "pollux/vfio/user/session.hpp"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/vfio/clock.hpp"
#include "scripted_server.hpp"

using namespace pollux;
using namespace pollux::vfio;
using namespace pollux::vfio::user;

namespace {

constexpr std::uint64_t kReplyNs = 200 * kNsPerMs, kLongNs = 20'000 * kNsPerMs;

struct Scene {
  ScriptedServer server;
  DmaWindows windows;
  std::array<std::byte, 4096> memory{};

  Result<std::unique_ptr<Session>> open(std::uint64_t reply_ns = kLongNs) {
    auto socket = Socket::connect(server.path());
    REQUIRE(socket);
    return Session::open(std::move(*socket), windows, reply_ns);
  }
  std::unique_ptr<Session> opened(std::uint64_t reply_ns = kLongNs) {
    auto session = open(reply_ns);
    if (!session) FAIL(session.error().message());
    return std::move(*session);
  }
};

bool says(const Error& error, std::string_view word) { return error.message().find(word) != std::string::npos; }

}  // namespace

TEST_CASE_METHOD(Scene, "every version up to ours is agreed on, with the server's limits") {
  server.minor = GENERATE(std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{2});
  const auto session = opened();
  CHECK(session->terms().minor == server.minor);
  CHECK(session->terms().capabilities.max_msg_fds == 4);
  CHECK(session->terms().capabilities.write_multiple);
}

TEST_CASE_METHOD(Scene, "the proposal is version 0.2 with our capabilities") {
  const auto session = opened();
  const auto proposals = server.take(Command::version);
  REQUIRE(proposals.size() == 1);
  const auto version = read_part<VersionPayload>(proposals[0].payload);
  CHECK(version->major == 0);
  CHECK(version->minor == 2);
  const std::string text(reinterpret_cast<const char*>(proposals[0].payload.data()) + 4);
  CHECK(proposals[0].payload.back() == std::byte{0});
  CHECK(parse_capabilities(text)->max_msg_fds == kMaxMessageFds);
}

TEST_CASE_METHOD(Scene, "a server without agreement is refused, and says why") {
  const char* word = "";
  SECTION("another major version") {
    server.major = 1;
    word = "1.2";
  }
  SECTION("a version beyond the proposed one") {
    server.minor = 3;
    word = "0.3";
  }
  SECTION("data that is no JSON") {
    server.capabilities = "hello";
    word = "hello";
  }
  SECTION("no descriptors at all") {
    server.capabilities = R"({"capabilities":{"max_msg_fds":0}})";
    word = "no file descriptors";
  }
  SECTION("pages larger than ours: what lies beside our memory would be the server's") {
    server.capabilities = R"({"capabilities":{"pgsizes":2097152}})";
    word = "pages of 2097152 bytes";
  }
  SECTION("it closes") {
    server.on(Command::version, [&](const Message&) { server.hang_up(); });
    word = "closed";
  }
  SECTION("it says nothing") {
    server.on(Command::version, [](const Message&) {});
    word = "no answer";
  }
  SECTION("an error") {
    server.on(Command::version, [&](const Message& command) { server.refuse(command, EPROTO); });
    word = "EPROTO";
  }
  SECTION("an error that is no errno") {
    server.on(Command::version, [&](const Message& command) { server.refuse(command, 0xdead'beef); });
    word = "errno -559038737";
  }
  SECTION("an answer to something else") {
    server.on(Command::version, [&](const Message& command) {
      (void)server.socket().send({.id = command.header.id, .command = Command::dma_map, .flags = Header::kTypeReply},
                                 {});
    });
    word = "DMA_MAP";
  }
  SECTION("a version that ends too early") {
    server.on(Command::version, [&](const Message& command) { server.reply(command, std::vector<std::byte>(3)); });
    word = "3 bytes";
  }
  const auto session = open(kReplyNs);
  REQUIRE_FALSE(session);
  CAPTURE(session.error().message());
  CHECK(says(session.error(), word));
}

TEST_CASE("a server that closes before the proposal is sent, and one that closes after, get one advice") {
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  Socket ours{FileDescriptor(ends[0])};
  FileDescriptor theirs(ends[1]);
  DmaWindows windows;
  std::thread closer;
  SECTION("before") { theirs = {}; }
  SECTION("after") {
    closer = std::thread([&] {
      Socket server(std::move(theirs));
      (void)server.receive(kLongNs);
    });
  }
  const auto session = Session::open(std::move(ours), windows, kLongNs);
  if (closer.joinable()) closer.join();
  REQUIRE_FALSE(session);
  CHECK(session.error().message() ==
        "the other side has closed the connection: it speaks another version, or serves somebody else");
}

TEST_CASE_METHOD(Scene, "each of several threads gets the reply to its own command") {
  const auto session = opened();
  std::atomic<unsigned> good = 0;
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < 4; ++number) {
    threads.emplace_back([&, number] {
      for (unsigned i = 0; i < 50; ++i) {
        const RegionAccessPayload access{.offset = number, .region = 7, .count = number + 1};
        const auto reply = session->request(Command::region_read, std::as_bytes(std::span(&access, 1)));
        good += reply && reply->payload.size() == sizeof access + number + 1;
      }
    });
  }
  for (std::thread& one : threads) one.join();
  CHECK(good == 200);
}

TEST_CASE_METHOD(Scene, "what the server refuses has its errno, and the session goes on") {
  server.on(Command::device_reset, [&](const Message& command) { server.refuse(command, EBUSY); });
  const auto session = opened();
  const auto refused = session->request(Command::device_reset, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().os_error == EBUSY);
  CHECK(says(refused.error(), "DEVICE_RESET"));
  CHECK(session->request(Command::dma_map, {}));
}

TEST_CASE_METHOD(Scene, "nonsense ends the session with its reason, for this call and every later one") {
  const char* word = "";
  const auto misbehave = [&](ScriptedServer::Answer answer) { server.on(Command::device_reset, std::move(answer)); };
  SECTION("another id") {
    word = "nobody awaits";
    misbehave([&](const Message& command) {
      Message other{.header = command.header, .payload = {}, .fds = {}};
      ++other.header.id;
      server.reply(other);
    });
  }
  SECTION("a reply to another command") {
    word = "nobody awaits";
    misbehave([&](const Message& command) {
      (void)server.socket().send({.id = command.header.id, .command = Command::dma_map, .flags = Header::kTypeReply},
                                 {});
    });
  }
  SECTION("half a header, and then nothing") {
    word = "closed";
    misbehave([&](const Message&) {
      server.send_bytes(std::array<std::byte, 7>{});
      server.hang_up();
    });
  }
  SECTION("a size beyond everything") {
    word = "are possible";
    misbehave([&](const Message&) { server.send_bytes(std::vector<std::byte>(16, std::byte{0xff})); });
  }
  SECTION("silence") {
    word = "no answer";
    misbehave([](const Message&) {});
  }
  SECTION("the end") {
    word = "closed";
    misbehave([&](const Message&) { server.hang_up(); });
  }
  const auto session = opened(kReplyNs);
  const auto first = session->request(Command::device_reset, {});
  REQUIRE_FALSE(first);
  CAPTURE(first.error().message());
  CHECK(says(first.error(), word));
  const std::uint64_t start_ns = steady_clock().now_ns();
  const auto later = session->request(Command::dma_map, {});
  REQUIRE_FALSE(later);
  CHECK(later.error().message() == first.error().message());
  CHECK(steady_clock().now_ns() - start_ns < kReplyNs / 2);
}

TEST_CASE_METHOD(Scene, "a reply that nobody asked for ends the session") {
  const auto session = opened();
  REQUIRE(server.socket().send({.id = 99, .command = Command::dma_map, .flags = Header::kTypeReply}, {}));
  for (unsigned i = 0; i < 1000 && session->request(Command::dma_map, {}); ++i) steady_clock().pause_ns(kNsPerMs);
  CHECK_FALSE(session->request(Command::dma_map, {}));
}

TEST_CASE_METHOD(Scene, "the server reads and writes our memory by message, while we ask nothing") {
  REQUIRE(windows.add({.address = memory.data(), .iova = 0x1000, .size_bytes = memory.size()}));
  const auto session = opened();
  memory[1] = std::byte{0x55};
  std::vector<std::byte> payload;
  append(payload, DmaAccessPayload{0x1001, 1});
  REQUIRE(server.socket().send({.id = 5, .command = Command::dma_read}, payload));
  payload.clear();
  append(payload, DmaAccessPayload{0x1010, 2});
  payload.push_back(std::byte{0xaa});
  payload.push_back(std::byte{0xbb});
  REQUIRE(server.socket().send({.id = 6, .command = Command::dma_write}, payload));
  for (unsigned i = 0; i < 5000 && server.count(Command::dma_write) == 0; ++i) steady_clock().pause_ns(kNsPerMs);
  const auto read = server.take(Command::dma_read), written = server.take(Command::dma_write);
  REQUIRE(read.size() == 1);
  CHECK(read[0].header.is_reply());
  CHECK(read[0].header.id == 5);
  REQUIRE(read[0].payload.size() == 17);
  CHECK(read[0].payload[16] == std::byte{0x55});
  REQUIRE(written.size() == 1);
  CHECK_FALSE(written[0].header.is_error());
  CHECK(read_part<DmaAccessPayload>(written[0].payload)->count == 2);
  CHECK(memory[16] == std::byte{0xaa});
  CHECK(memory[17] == std::byte{0xbb});
}

TEST_CASE_METHOD(Scene, "nothing that a server wrote before it went arrives after it is said to be gone") {
  std::vector<std::byte> large(1 << 20);
  REQUIRE(windows.add({.address = large.data(), .iova = 0x1000, .size_bytes = large.size()}));
  const auto session = opened();
  std::vector<std::byte> payload;
  append(payload, DmaAccessPayload{0x1000, large.size()});
  payload.resize(payload.size() + large.size(), std::byte{1});
  REQUIRE(server.socket().send({.command = Command::dma_write, .flags = Header::kNoReply}, payload));
  server.hang_up();
  CHECK_FALSE(session->request(Command::device_reset, {}));
  while (!session->is_peer_gone()) std::this_thread::yield();
  std::ranges::fill(large, std::byte{2});
  steady_clock().pause_ns(20 * kNsPerMs);
  CHECK(std::ranges::count(large, std::byte{2}) == 1 << 20);
}

TEST_CASE_METHOD(Scene, "what the server may not do is refused, and the session goes on") {
  REQUIRE(windows.add({.address = memory.data(), .iova = 0x1000, .size_bytes = memory.size()}));
  std::vector<std::byte> payload;
  auto command = Command::dma_read;
  std::uint32_t expected = EFAULT;
  SECTION("beyond what is mapped") { append(payload, DmaAccessPayload{0x1fff, 2}); }
  SECTION("more than a message carries") {
    append(payload, DmaAccessPayload{0x1000, 1ull << 40});
    expected = EINVAL;
  }
  SECTION("another count than there are bytes") {
    command = Command::dma_write;
    append(payload, DmaAccessPayload{0x1000, 8});
    expected = EINVAL;
  }
  SECTION("half a payload") {
    payload.resize(12);
    expected = EINVAL;
  }
  SECTION("a client's command") {
    command = Command::device_reset;
    expected = EOPNOTSUPP;
  }
  const auto session = opened();
  REQUIRE(server.socket().send({.id = 9, .command = command}, payload));
  for (unsigned i = 0; i < 5000 && server.count(command) == 0; ++i) steady_clock().pause_ns(kNsPerMs);
  const auto replies = server.take(command);
  REQUIRE(replies.size() == 1);
  CHECK(replies[0].header.is_error());
  CHECK(replies[0].header.os_error == expected);
  CHECK(replies[0].payload.empty());
  CHECK(session->request(Command::dma_map, {}));
}

TEST_CASE_METHOD(Scene, "closing ends a wait of somebody else") {
  server.on(Command::device_reset, [](const Message&) {});
  const auto session = opened();
  std::thread waiter([&] { CHECK_FALSE(session->request(Command::device_reset, {})); });
  while (server.count(Command::device_reset) == 0) steady_clock().pause_ns(kNsPerMs);
  session->close();
  waiter.join();
}
