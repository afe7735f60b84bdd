// The drive under test, opened anew for each test case: POLLUX_TEST_DEVICE names it, the software controller by
// default. When a test case ends the drive is shut down, and on the software controller the log of what the host broke
// must be empty.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "pattern.hpp"
#include "pollux/block.hpp"

namespace pollux::conformance {

inline constexpr std::uint64_t kPage = 4096;
inline constexpr std::uint64_t kTimeoutMs = 30'000;

std::string device_address();

// Knows the software controller beside the kernel's devices.
OpenOptions open_options();

// A request that is in flight or answered. It outlives its callback.
struct Request {
  unsigned answers = 0;
  nvme::Status status;

  static void done(void* context, nvme::Status status) noexcept {
    Request& request = *static_cast<Request*>(context);
    ++request.answers;
    request.status = status;
  }
};

// Time that has run out ends a test instead of the machine's patience.
class Deadline {
 public:
  bool passed() const { return steady_clock().now_ns() > end_ns_; }

 private:
  std::uint64_t end_ns_ = steady_clock().now_ns() + kTimeoutMs * kNsPerMs;
};

// Polls until the channel has nothing in flight; false when that takes too long. Uses no assertion: for threads.
bool drain(Channel& channel);

// Submits a read; polls while the queue is full, so that any number fits into any queue.
void submit_read(Channel& channel, std::uint64_t lba, const dma::Slice& into, Request& request);

// One request, polled to its end. The submission must be accepted and answered exactly once.
nvme::Status read(Channel& channel, std::uint64_t lba, const dma::Slice& into);
nvme::Status write(Channel& channel, std::uint64_t lba, const dma::Slice& from, bool fua = false);
nvme::Status flush(Channel& channel);
nvme::Status write_zeroes(Channel& channel, std::uint64_t lba, std::uint64_t blocks);
nvme::Status deallocate(Channel& channel, std::uint64_t lba, std::uint64_t blocks);

// Polls and reads until a read succeeds again after a reset. What the reset itself answers or stops does not count;
// false for any other answer, and when it takes too long.
bool revived(Channel& channel, const dma::Slice& scratch);

class TestDevice {
 public:
  explicit TestDevice(const OpenOptions& options = open_options());
  ~TestDevice();

  std::unique_ptr<Channel> open_channel(const ChannelOptions& options = {});
  std::unique_ptr<Channel> open_channel(const Namespace& other, const ChannelOptions& options = {});
  dma::Buffer allocate(std::uint64_t size_bytes);

  std::uint64_t block() const { return ns.block_size_bytes; }
  // The least that is whole blocks and whole pages.
  std::uint64_t unit() const { return std::max(block(), kPage); }
  // For what takes several channels at a time. False, with a word to the reader: this controller grants fewer.
  bool grants(unsigned queues) const;
  std::uint64_t words(std::uint64_t lba) const { return lba * block() / sizeof(std::uint64_t); }

  // Fills the blocks from `lba` on with a pattern on the drive, and looks whether they hold it. `scratch`: memory for
  // it.
  void write_pattern(Channel& channel, std::uint64_t lba, const dma::Slice& scratch, std::uint64_t seed);
  bool holds_pattern(Channel& channel, std::uint64_t lba, const dma::Slice& scratch, std::uint64_t seed);

  std::unique_ptr<Drive> drive;
  Namespace ns;
};

}  // namespace pollux::conformance
