// fork(): a child has all that its parent has of a drive, and may neither use nor destroy it as its own. What it does
// with it here must leave the parent's drive as it is.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include "test_device.hpp"

namespace pollux::conformance {
namespace {

constexpr int kHung = -1;

// What `run` returns in a child; kHung if that takes longer than everything else may.
int in_a_child(const std::function<int()>& run) {
  const pid_t child = fork();
  if (child == 0) _exit(run());
  REQUIRE(child > 0);
  const Deadline deadline;
  for (int status = 0;; steady_clock().pause_ns(kNsPerMs)) {
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (!deadline.passed()) continue;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return kHung;
  }
}

struct Shared : TestDevice {
  Shared() : channel(open_channel({.depth = 8, .wait = Wait::interrupt})), buffer(allocate(4 * unit())) {}

  void drop_all() {
    channel.reset();
    buffer = dma::Buffer();
    drive.reset();
  }

  std::unique_ptr<Channel> channel;
  dma::Buffer buffer;
};

TEST_CASE_METHOD(Shared, "in a child every call on its parent's drive is refused, and its end touches nothing",
                 "[fork]") {
  const dma::Slice one = buffer.slice(0, block());
  write_pattern(*channel, 3, one, 1);
  Request in_flight;
  REQUIRE(channel->read(3, buffer.slice(unit(), block()), Request::done, &in_flight) == Submit::accepted);

  const int wrong = in_a_child([&] {
    int answers_wrong = 0;
    const auto expect = [&](bool right) { answers_wrong += right ? 0 : 1; };
    Request request;
    expect(channel->read(0, one, Request::done, &request) == Submit::gone);
    expect(channel->write(0, one, Request::done, &request) == Submit::gone);
    expect(channel->writev(0, {&one, 1}, Request::done, &request) == Submit::gone);
    expect(channel->flush(Request::done, &request) == Submit::gone);
    channel->ring();
    expect(channel->poll() == 0);
    expect(channel->wait(1) == 0);
    expect(channel->wait(1) == 0);
    expect(request.answers == 0 && in_flight.answers == 0);
    expect(!drive->poll());
    expect(!drive->reset());
    expect(!drive->shutdown());
    expect(!drive->open_namespace());
    expect(!drive->open_channel(ns));
    expect(!drive->allocate(kPage));
    expect(!drive->space()->register_memory(one.data, one.size_bytes));
    expect(!drive->take_event());
    const auto told = drive->poll();
    expect(!told && told.error().message().find("was opened by another process") != std::string::npos);
    drop_all();
    return answers_wrong;
  });
  CHECK(wrong == 0);

  REQUIRE(drain(*channel));
  CHECK(in_flight.answers == 1);
  CHECK(in_flight.status.ok());
  CHECK_FALSE(first_difference(buffer.slice(unit(), block()), 1, words(3)));
  CHECK(drive->poll());
  write_pattern(*channel, 9, one, 2);
  CHECK(holds_pattern(*channel, 9, one, 2));
  Request woken;
  REQUIRE(channel->read(9, one, Request::done, &woken) == Submit::accepted);
  for (const Deadline deadline; woken.answers == 0 && !deadline.passed();) channel->wait(kTimeoutMs);
  CHECK(woken.status.ok());
  CHECK(drive->allocate(kPage));
  CHECK(drive->reset());
  CHECK(revived(*channel, one));
}

// Locks that other threads hold at that moment are held in the child for ever.
TEST_CASE_METHOD(Shared, "a child ends whatever its parent's threads were doing when it was forked", "[fork]") {
  std::atomic<bool> stop = false;
  std::thread administrator([&] {
    while (!stop) {
      (void)drive->poll();
      (void)drive->allocate(kPage);
      (void)drive->open_namespace();
    }
  });
  for (int round = 0; round < 10; ++round) {
    const int code = in_a_child([&] {
      drop_all();
      return 0;
    });
    CHECK(code == 0);
    CHECK(read(*channel, 0, buffer.slice(0, block())).ok());
  }
  stop = true;
  administrator.join();
}

TEST_CASE("exec closes every file that a drive has open") {
  const auto open_files = [] {
    std::set<int> files;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
      files.insert(std::stoi(entry.path().filename()));
    return files;
  };
  const std::set<int> before = open_files();
  Shared device;
  unsigned more = 0;
  for (const int file : open_files()) {
    const int flags = fcntl(file, F_GETFD);
    if (before.contains(file) || flags < 0) continue;  // the folder's own is closed by now
    INFO(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(file)));
    CHECK((flags & FD_CLOEXEC) != 0);
    ++more;
  }
  CHECK(more > 0);
}

}  // namespace
}  // namespace pollux::conformance
