// A drive behind a socket whose server stops answering while I/O runs, and goes on later: no more than slow. Whatever
// the application was told, its buffers are its own again, and the blocks hold what it wrote, or what was there before.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <fstream>

#include "pollux/driver/block/block.hpp"
#include "pollux/tests/unit/softnvme/server_program.hpp"

namespace pollux {
namespace {

constexpr unsigned kDepth = 32;
constexpr std::uint64_t kBlock = 512;
constexpr std::uint64_t kSilenceNs = 30'000 * kNsPerMs;  // longer than it takes to find a server silent
constexpr char kReused = 'Z';

struct Scene {
  softnvme::Folder folder;
  softnvme::ServerProgram server{folder, {"file=" + folder.path + "/drive,size=1MiB"}};
  std::unique_ptr<Drive> drive;
  std::optional<dma::Buffer> buffer;
  std::unique_ptr<Channel> channel;
  std::array<int, kDepth> answers{};
  unsigned failed = 0;

  explicit Scene(std::uint32_t reconnect_ms) {
    auto opened = Drive::open("vfio-user:" + folder.socket, {.reconnect_ms = reconnect_ms});
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
    buffer = *drive->allocate(kDepth * kBlock);
    channel = *drive->open_channel(*drive->open_namespace(), {.depth = kDepth});
    fill('A');
    for (unsigned i = 0; i < kDepth; ++i) REQUIRE(channel->write(i, slice(i), count, context(i)) == Submit::accepted);
    while (channel->in_flight() != 0) channel->poll();
    REQUIRE(failed == 0);
  }

  struct Context {
    Scene* scene;
    unsigned index;
  };
  std::array<Context, kDepth> contexts;
  void* context(unsigned i) {
    contexts[i] = {this, i};
    return &contexts[i];
  }
  static void count(void* context, nvme::Status status) noexcept {
    const auto [scene, index] = *static_cast<Context*>(context);
    ++scene->answers[index];
    if (!status.ok()) ++scene->failed;
  }

  dma::Slice slice(unsigned i) const { return buffer->slice(i * kBlock, kBlock); }
  void fill(char byte) { std::memset(buffer->slice().data, byte, kDepth * kBlock); }

  // Writes of 'a' to the first half, reads of the second, which the controller has been told of and does not see.
  void begin() {
    answers = {};
    fill('a');
    server.freeze();
    for (unsigned i = 0; i < kDepth / 2; ++i)
      REQUIRE(channel->write(i, slice(i), count, context(i)) == Submit::accepted);
    for (unsigned i = kDepth / 2; i < kDepth; ++i)
      REQUIRE(channel->read(i, slice(i), count, context(i)) == Submit::accepted);
    channel->ring();
  }
  // Polls both, as an application does.
  template <typename Done>
  bool poll_until(std::uint64_t patience_ns, Done&& done) {
    const std::uint64_t end_ns = steady_clock().now_ns() + patience_ns;
    while (!done()) {
      if (steady_clock().now_ns() > end_ns) return false;
      static_cast<void>(drive->poll());
      channel->poll();
      steady_clock().pause_ns(kNsPerMs);
    }
    return true;
  }
  bool all_blocks_are_one_of(std::string_view bytes) const {
    std::string blocks(kDepth * kBlock, '\0');
    std::ifstream(folder.path + "/drive").read(blocks.data(), static_cast<std::streamsize>(blocks.size()));
    return std::ranges::all_of(blocks, [&](char one) { return bytes.find(one) != std::string_view::npos; });
  }
  bool buffer_holds(char byte) const {
    return std::all_of(buffer->slice().data, buffer->slice().data + kDepth * kBlock,
                       [&](std::byte one) { return static_cast<char>(one) == byte; });
  }
};

TEST_CASE(
    "what a server that was silent does when it goes on is done to memory that nobody uses, and from none that is") {
  Scene scene(0);
  scene.begin();
  REQUIRE(scene.poll_until(kSilenceNs, [&] { return scene.channel->in_flight() == 0; }));
  CHECK(std::ranges::all_of(scene.answers, [](int times) { return times == 1; }));
  CHECK(scene.failed == kDepth);
  scene.fill(kReused);
  scene.server.thaw();
  CHECK(scene.server.says(" left: "));
  CHECK(scene.all_blocks_are_one_of("Aa"));
  CHECK(scene.buffer_holds(kReused));
}

TEST_CASE("where a server is waited for, one that is silent has nothing answered, and goes on where it was") {
  Scene scene(60'000);
  scene.begin();
  CHECK_FALSE(scene.poll_until(12'000 * kNsPerMs, [&] { return scene.channel->in_flight() != kDepth; }));
  scene.server.thaw();
  REQUIRE(scene.poll_until(kSilenceNs, [&] { return scene.channel->in_flight() == 0; }));
  CHECK(std::ranges::all_of(scene.answers, [](int times) { return times == 1; }));
  CHECK(scene.failed <= kDepth / 2);  // the writes, if the reset came before the server had answered them
  CHECK(scene.all_blocks_are_one_of("Aa"));
  scene.fill('b');
  for (unsigned i = 0; i < kDepth; ++i)
    REQUIRE(scene.channel->write(i, scene.slice(i), Scene::count, scene.context(i)) == Submit::accepted);
  REQUIRE(scene.poll_until(kSilenceNs, [&] { return scene.channel->in_flight() == 0; }));
  CHECK(scene.all_blocks_are_one_of("b"));
}

TEST_CASE("a channel that is closed while a silent server is waited for gives back buffers that nobody touches") {
  Scene scene(60'000);
  scene.begin();
  CHECK_FALSE(scene.poll_until(12'000 * kNsPerMs, [&] { return scene.channel->in_flight() != kDepth; }));
  scene.channel.reset();
  scene.fill(kReused);
  scene.server.thaw();
  CHECK(scene.server.says(" left: "));
  CHECK(scene.all_blocks_are_one_of("Aa"));
  CHECK(scene.buffer_holds(kReused));
  CHECK_FALSE(scene.drive->poll());
}

}  // namespace
}  // namespace pollux
