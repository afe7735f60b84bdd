// A drive behind a socket whose server is killed: what becomes of I/O where nobody waits for it, where it comes back,
// where it does not, and where another drive comes instead. The server is the program.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>

#include "pollux/driver/block/block.hpp"
#include "pollux/tests/unit/softnvme/server_program.hpp"

namespace pollux {
namespace {

using softnvme::Folder;
using softnvme::ServerProgram;

constexpr unsigned kDepth = 8;
constexpr std::uint64_t kBlock = 512;

struct Answer {
  int times = 0;
  nvme::Status status;
  static void take(void* context, nvme::Status status) noexcept {
    auto* const answer = static_cast<Answer*>(context);
    ++answer->times;
    answer->status = status;
  }
  bool ok() const { return times == 1 && status.ok(); }
  bool aborted() const { return times == 1 && status.code() == nvme::StatusCode::aborted_by_host; }
};

// A drive whose blocks outlive its server.
struct Scene {
  Folder folder;
  std::vector<std::string> arguments = {"file=" + folder.path + "/drive,size=1MiB"};
  std::optional<ServerProgram> server;
  std::unique_ptr<Drive> drive;
  Namespace ns;
  std::optional<dma::Buffer> buffer;
  std::unique_ptr<Channel> channel;
  std::array<Answer, kDepth> answers;

  explicit Scene(std::uint32_t reconnect_ms, const ChannelOptions& options = {.depth = kDepth}) {
    server.emplace(folder, arguments);
    auto opened = Drive::open("vfio-user:" + folder.socket, {.reconnect_ms = reconnect_ms});
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
    ns = *drive->open_namespace();
    buffer = *drive->allocate(kDepth * kBlock);
    channel = *drive->open_channel(ns, options);
  }

  dma::Slice slice(unsigned i) const { return buffer->slice(i * kBlock, kBlock); }

  void write_all(unsigned first_byte) {
    for (unsigned i = 0; i < kDepth; ++i) {
      std::memset(slice(i).data, static_cast<int>(first_byte + i), kBlock);
      REQUIRE(channel->write(i, slice(i), Answer::take, &answers[i]) == Submit::accepted);
    }
  }
  void read_all() {
    std::memset(buffer->slice().data, 0, kDepth * kBlock);
    for (unsigned i = 0; i < kDepth; ++i)
      REQUIRE(channel->read(i, slice(i), Answer::take, &answers[i]) == Submit::accepted);
  }
  bool holds(unsigned first_byte) const {
    for (unsigned i = 0; i < kDepth; ++i) {
      if (static_cast<unsigned>(slice(i).data[kBlock - 1]) != first_byte + i) return false;
    }
    return true;
  }

  // Polls both, as an application does, until nothing is in flight. False: not soon.
  bool drain() {
    return softnvme::wait_until([&] {
      static_cast<void>(drive->poll());
      channel->poll();
      return channel->in_flight() == 0;
    });
  }
  bool all(bool (Answer::*as)() const) const {
    return std::ranges::all_of(answers, [&](const Answer& answer) { return (answer.*as)(); });
  }

  // Eight blocks are on the drive, and the controller has been told of eight other requests, when the server dies.
  template <typename Begin>
  void interrupt(Begin&& begin) {
    answers = {};
    write_all('A');
    REQUIRE(drain());
    REQUIRE(all(&Answer::ok));
    answers = {};
    server->freeze();
    begin();
    channel->ring();
    CHECK(server->end(SIGKILL) == -1);
  }
  void serve_again() { server.emplace(folder, arguments); }
};

TEST_CASE("where nobody waits for a server that was killed, everything is answered and the drive is lost") {
  Scene scene(0);
  scene.interrupt([&] { scene.read_all(); });
  const auto polled = scene.drive->poll();
  REQUIRE_FALSE(polled);
  CHECK(polled.error().what.starts_with("vfio-user:"));
  CHECK(scene.channel->poll() == kDepth);
  CHECK(scene.all(&Answer::aborted));
  Answer answer;
  CHECK(scene.channel->read(0, scene.slice(0), Answer::take, &answer) == Submit::gone);
  CHECK_FALSE(scene.drive->poll());
  CHECK_FALSE(scene.drive->reset());
  CHECK_FALSE(scene.drive->shutdown());
}

TEST_CASE("reads wait for a server that comes back, and bring their data; however they are waited for") {
  const Wait wait = GENERATE(Wait::poll, Wait::interrupt);
  Scene scene(10'000, {.depth = kDepth, .wait = wait});
  const int deaths = 2;
  for (int i = 0; i < deaths; ++i) {
    scene.interrupt([&] { scene.read_all(); });
    CHECK(scene.drive->poll());
    CHECK(scene.channel->poll() == 0);
    CHECK(scene.channel->in_flight() == kDepth);
    Answer answer;
    CHECK(scene.channel->read(0, scene.slice(0), Answer::take, &answer) == Submit::stopped);
    scene.serve_again();
    REQUIRE(softnvme::wait_until([&] {
      static_cast<void>(scene.drive->poll());
      scene.channel->wait(10);
      return scene.channel->in_flight() == 0;
    }));
    CHECK(scene.all(&Answer::ok));
    CHECK(scene.holds('A'));
  }
  REQUIRE(scene.drive->shutdown());
  scene.channel.reset();
  scene.drive.reset();
  CHECK(scene.server->says("messages; no violation"));
}

TEST_CASE("writes wait for a server that comes back by choice, and a flush says then that others may be gone") {
  const bool chosen = GENERATE(false, true);
  Scene scene(10'000, {.depth = kDepth, .reissue_writes = chosen});
  Answer flushed;
  scene.interrupt([&] {
    scene.write_all('a');
    scene.channel->ring();
  });
  CHECK(scene.drive->poll());
  CHECK(scene.channel->poll() == (chosen ? 0 : kDepth));
  scene.serve_again();
  REQUIRE(scene.drain());
  CHECK(scene.all(chosen ? &Answer::ok : &Answer::aborted));
  scene.answers = {};
  scene.read_all();
  REQUIRE(scene.drain());
  CHECK(scene.all(&Answer::ok));
  CHECK(scene.holds(chosen ? 'a' : 'A'));  // the frozen server has seen none of them

  scene.server->freeze();
  REQUIRE(scene.channel->flush(Answer::take, &flushed) == Submit::accepted);
  scene.channel->ring();
  CHECK(scene.server->end(SIGKILL) == -1);
  CHECK(scene.drive->poll());
  CHECK((scene.channel->poll() == 0 && flushed.times == 0));
  scene.serve_again();
  REQUIRE(scene.drain());
  CHECK((flushed.times == 1 && flushed.status.code() == nvme::StatusCode::write_fault));
  flushed = {};
  REQUIRE(scene.channel->flush(Answer::take, &flushed) == Submit::accepted);
  REQUIRE(scene.drain());
  CHECK(flushed.ok());
}

TEST_CASE("a server that stays away for longer than it may has everything answered, and the drive is lost") {
  Scene scene(200);
  scene.interrupt([&] { scene.read_all(); });
  const std::uint64_t begin_ns = steady_clock().now_ns();
  REQUIRE(scene.drain());
  CHECK(steady_clock().now_ns() - begin_ns >= 200 * kNsPerMs);
  CHECK(scene.all(&Answer::aborted));
  const auto polled = scene.drive->poll();
  REQUIRE_FALSE(polled);
  CHECK(polled.error().what.find("it has not come back") != std::string::npos);
}

TEST_CASE("if another drive comes instead, nothing is sent to it") {
  Scene scene(10'000);
  scene.interrupt([&] { scene.read_all(); });
  scene.arguments = {"size=1MiB"};
  scene.serve_again();
  REQUIRE(scene.drain());
  CHECK(scene.all(&Answer::aborted));
  const auto polled = scene.drive->poll();
  REQUIRE_FALSE(polled);
  CHECK(polled.error().what.find("another drive answers") != std::string::npos);
  scene.channel.reset();
  scene.drive.reset();
  CHECK(scene.server->says(": 0 reads, 0 writes, 0 other I/O commands"));
}

// A drive that could be the same, and does not fit those who use it.
TEST_CASE("a server that is back and can never fit is not asked again: the drive is lost at once, with the reason") {
  const auto [option, wait, reason] =
      GENERATE(table<std::string, Wait, std::string>({{"trap=1", Wait::poll, "another device answers: its region 0"},
                                                      {"vectors=1", Wait::interrupt, "it has 1 vectors"}}));
  Scene scene(60'000, {.depth = kDepth, .wait = wait});
  scene.interrupt([&] { scene.read_all(); });
  CHECK(scene.drive->poll());
  scene.arguments.front() += "," + option;
  scene.serve_again();
  const std::uint64_t begin_ns = steady_clock().now_ns();
  REQUIRE(scene.drain());
  CHECK(steady_clock().now_ns() - begin_ns < 5'000 * kNsPerMs);
  CHECK(scene.all(&Answer::aborted));
  const auto polled = scene.drive->poll();
  REQUIRE_FALSE(polled);
  CAPTURE(polled.error().message());
  CHECK(polled.error().what.contains(reason));
  CHECK_FALSE(polled.error().what.contains("has not come back"));
}

TEST_CASE("a server that is back and serves somebody else is called ten times a second, not more") {
  Scene scene(1'000);
  scene.interrupt([&] { scene.read_all(); });
  CHECK(scene.drive->poll());
  scene.serve_again();
  const auto other = Drive::open("vfio-user:" + scene.folder.socket);
  REQUIRE(other);
  REQUIRE(scene.drain());
  const std::string said = scene.server->output();
  const std::string_view kSentAway = "sent away";
  std::size_t times = 0;
  for (std::size_t at = said.find(kSentAway); at != std::string::npos; at = said.find(kSentAway, at + 1)) ++times;
  CHECK(times >= 2);
  CHECK(times <= 12);
}

TEST_CASE("no memory can be made while the server is away; once it is back there can, and it is reached") {
  Scene scene(10'000);
  scene.interrupt([&] { scene.read_all(); });
  CHECK(scene.drive->poll());
  CHECK_FALSE(scene.drive->allocate(kBlock));
  scene.serve_again();
  REQUIRE(scene.drain());
  const auto made = scene.drive->allocate(kBlock);
  REQUIRE(made);
  Answer answer;
  REQUIRE(scene.channel->read(1, made->slice(0, kBlock), Answer::take, &answer) == Submit::accepted);
  REQUIRE(scene.drain());
  CHECK(answer.ok());
  CHECK(static_cast<char>(made->slice().data[0]) == 'B');
}

// How often the server has the memory of a client mapped.
std::size_t shared_mappings(const ServerProgram& server) {
  std::ifstream maps(fmt::format("/proc/{}/maps", server.pid()));
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("/memfd:pollux") != std::string::npos;
  return count;
}

TEST_CASE(
    "writes that a server had completed when it was killed, and whose answers nobody has seen, have not succeeded") {
  Scene scene(10'000);
  scene.write_all('A');
  scene.channel->ring();
  const std::string path = scene.folder.path + "/drive";
  const auto has_all = [&] {
    std::string blocks(kDepth * kBlock, '\0');
    std::ifstream(path).read(blocks.data(), static_cast<std::streamsize>(blocks.size()));
    return blocks.back() == 'A' + kDepth - 1;
  };
  REQUIRE(softnvme::wait_until(has_all));
  CHECK(scene.server->end(SIGKILL) == -1);
  for (int i = 0; i < 2; ++i) CHECK(scene.drive->poll());
  scene.channel->poll();
  CHECK(scene.all(&Answer::aborted));
}

TEST_CASE("of a client that was killed the server keeps no memory, and serves the next") {
  Folder folder;
  ServerProgram server(folder, {"size=1MiB"});
  const std::string address = "vfio-user:" + folder.socket;
  const pid_t client = fork();
  REQUIRE(client >= 0);
  if (client == 0) {
    auto drive = *Drive::open(address);
    auto channel = *drive->open_channel(*drive->open_namespace(), {.depth = kDepth});
    auto buffer = *drive->allocate(kDepth * kBlock);
    Answer answers[kDepth];
    for (;;) {
      for (unsigned i = 0; i < kDepth; ++i)
        (void)channel->read(i, buffer.slice(i * kBlock, kBlock), Answer::take, &answers[i]);
      channel->poll();
    }
  }
  CHECK(server.says("connected"));
  CHECK(softnvme::wait_until([&] { return shared_mappings(server) >= 2; }));
  steady_clock().pause_ns(100 * kNsPerMs);  // some way into its reads
  REQUIRE(kill(client, SIGKILL) == 0);
  REQUIRE(waitpid(client, nullptr, 0) == client);
  CHECK(server.says(" left: "));
  CHECK(server.output().find(" left: 0 reads") == std::string::npos);
  CHECK(shared_mappings(server) == 0);

  auto drive = Drive::open(address);
  REQUIRE(drive);
  CHECK((*drive)->open_namespace());
}

}  // namespace
}  // namespace pollux
