// A drive on a controller that answers as it likes: brought up, identified, described as `pollux info` does, and used
// until it is shut down. I/O may fail; each request that was accepted is answered once, none is left when the drive has
// had its time, and nothing waits past its bound.
#include <memory>
#include <vector>

#include "hostile_controller.hpp"
#include "pollux/driver/block/block.hpp"
#include "pollux/driver/controller/identify.hpp"
#include "pollux/driver/controller/virtualization.hpp"
#include "pollux/tools/pollux/info.hpp"

using namespace pollux;
using fuzz::must;

namespace {

constexpr unsigned kMostRequests = 64;
constexpr unsigned kMostIdleTurns = 500;  // of a second each, in which nothing ends: all bounds, one after the other
constexpr std::uint64_t kBufferBytes = 128 << 10;
constexpr std::uint64_t kSecondNs = 1'000'000'000;

struct Told {
  unsigned answers = 0;
  static void take(void* context, nvme::Status status) noexcept {
    must(++static_cast<Told*>(context)->answers == 1, "a request is answered once");
    must(!status.text().empty(), "a status has a text");
  }
};

void describe(Drive& drive) {
  cli::Tree tree;
  (void)cli::add_device(tree, drive.space()->io(), drive.controller().device());
  (void)cli::add_controller(tree, drive.controller());
  cli::print(tree, cli::Format::text);
  cli::print(tree, cli::Format::json);
}

void share_out(nvme::Controller& controller) {
  (void)nvme::allocate_to_primary(controller, nvme::ResourceType::vq, 2);
  (void)nvme::bring_online(controller, 1, {.io_queues = 2, .interrupts = 2});
  (void)nvme::take_offline(controller, 1);
}

class User {
 public:
  User(fuzz::Input& input, fuzz::HostileController& device, Drive& drive, Channel& channel, const dma::Buffer& buffer)
      : input_(input), device_(device), drive_(drive), channel_(channel), buffer_(buffer) {
    told_.reserve(kMostRequests);  // their addresses are contexts
  }

  void work() {
    while (!input_.at_end() && told_.size() < kMostRequests) act(input_.u8());
  }

  // What is in flight has an end, whatever the controller does. A large request has as many parts as it wants.
  void finish() {
    for (unsigned idle = 0; channel_.in_flight() != 0; ++idle) {
      must(idle < kMostIdleTurns, "a request ends");
      if (turn() != 0) idle = 0;
    }
    for (const Told& one : told_) must(one.answers == 1, "an accepted request was answered");
  }

 private:
  unsigned turn() {
    device_.pause_ns(kSecondNs);
    (void)drive_.poll();
    return channel_.poll();
  }

  void act(std::uint8_t action) {
    const std::uint64_t lba = input_.u16(), blocks = input_.u8() % 128 + 1u;
    const std::uint64_t bytes = std::min(blocks * channel_.ns().block_size_bytes, kBufferBytes);
    const dma::Slice data = buffer_.slice(0, bytes);
    Told& one = told_.emplace_back();
    Submit answer = Submit::stopped;
    switch (action % 12) {
      case 0:
        answer = channel_.read(lba, data, Told::take, &one);
        break;
      case 1:
        answer = channel_.write(lba, data, Told::take, &one, true);
        break;
      case 2:
        answer = channel_.flush(Told::take, &one);
        break;
      case 3:
        answer = channel_.write_zeroes(lba, blocks << (action / 12 % 4), Told::take, &one);
        break;
      case 4:
        answer = channel_.deallocate(lba, blocks << (action / 12 % 4), Told::take, &one);
        break;
      case 5: {
        const dma::Slice pieces[] = {buffer_.slice(0, 4096), buffer_.slice(8192, bytes)};
        answer = channel_.readv(lba, pieces, Told::take, &one);
        break;
      }
      case 6:
        channel_.poll(action);
        break;
      case 7:
        turn();
        break;
      case 8:
        (void)drive_.reset(static_cast<ResetReach>(action / 12 % 3));
        break;
      case 9:
        if (const auto event = drive_.take_event()) must(!event->text().empty(), "an event has a text");
        break;
      case 10:
        channel_.wait(action / 12, 64);
        break;
      case 11:
        device_.step();
        break;
    }
    if (answer != Submit::accepted) told_.pop_back();
  }

  fuzz::Input& input_;
  fuzz::HostileController& device_;
  Drive& drive_;
  Channel& channel_;
  const dma::Buffer& buffer_;
  std::vector<Told> told_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  fuzz::HostileController device(input, false);
  const std::uint8_t doings = input.u8();
  const vfio::Scheme scheme = fuzz::HostileController::scheme();
  auto drive = Drive::open("fuzz:", {.schemes = {&scheme, 1},
                                     .io_queues = static_cast<std::uint16_t>(1 + (doings & 1)),
                                     .shadow_doorbells = true,
                                     .reconnect_ms = (doings & 2) != 0 ? 10'000u : 0u,
                                     .clock = &device});
  if (!drive) return 0;
  if ((doings & 4) != 0) describe(**drive);
  if ((doings & 8) != 0) share_out((*drive)->controller());
  const auto ns = (*drive)->open_namespace();
  if (!ns) return 0;
  if ((doings & 16) != 0) (void)nvme::namespace_descriptors((*drive)->controller(), ns->nsid);
  const auto buffer = (*drive)->allocate(kBufferBytes + 8192);
  must(buffer.has_value(), "there is memory");
  // What sleeps on an interrupt does so in the time of the wall: here nobody does.
  auto channel = (*drive)->open_channel(
      *ns, {.depth = 8, .max_transfer_bytes = 64 << 10, .timeout_ms = 2'000, .reissue_writes = (doings & 32) != 0});
  if (!channel) return 0;
  User user(input, device, **drive, **channel, *buffer);
  user.work();
  user.finish();
  if ((doings & 64) != 0) (void)(*drive)->shutdown();
  return 0;
}

// What is described goes nowhere; what the fuzzer tells goes to standard error.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  must(std::freopen("/dev/null", "w", stdout) != nullptr, "/dev/null is there");
  return 0;
}
