#include "test_device.hpp"

#include <cstdlib>

#include "pollux/softnvme.hpp"

namespace pollux::conformance {
namespace {

nvme::Status finish(Channel& channel, const Request& request, Submit submitted) {
  REQUIRE(submitted == Submit::accepted);
  const Deadline deadline;
  while (request.answers == 0 && !deadline.passed()) channel.poll();
  REQUIRE(request.answers == 1);
  return request.status;
}

}  // namespace

std::string device_address() {
  const char* address = std::getenv("POLLUX_TEST_DEVICE");
  return address != nullptr && *address != '\0' ? address : "soft:size=64MiB";
}

OpenOptions open_options() {
  static const vfio::Scheme schemes[] = {softnvme::scheme()};
  OpenOptions options;
  options.schemes = schemes;
  return options;
}

bool drain(Channel& channel) {
  const Deadline deadline;
  while (channel.in_flight() != 0 && !deadline.passed()) channel.poll();
  return channel.in_flight() == 0;
}

void submit_read(Channel& channel, std::uint64_t lba, const dma::Slice& into, Request& request) {
  const Deadline deadline;
  Submit submitted = Submit::queue_full;
  while (submitted == Submit::queue_full && !deadline.passed()) {
    submitted = channel.read(lba, into, Request::done, &request);
    if (submitted == Submit::queue_full) channel.poll();
  }
  REQUIRE(submitted == Submit::accepted);
}

nvme::Status read(Channel& channel, std::uint64_t lba, const dma::Slice& into) {
  Request request;
  return finish(channel, request, channel.read(lba, into, Request::done, &request));
}

nvme::Status write(Channel& channel, std::uint64_t lba, const dma::Slice& from, bool fua) {
  Request request;
  return finish(channel, request, channel.write(lba, from, Request::done, &request, fua));
}

nvme::Status flush(Channel& channel) {
  Request request;
  return finish(channel, request, channel.flush(Request::done, &request));
}

nvme::Status write_zeroes(Channel& channel, std::uint64_t lba, std::uint64_t blocks) {
  Request request;
  return finish(channel, request, channel.write_zeroes(lba, blocks, Request::done, &request));
}

nvme::Status deallocate(Channel& channel, std::uint64_t lba, std::uint64_t blocks) {
  Request request;
  return finish(channel, request, channel.deallocate(lba, blocks, Request::done, &request));
}

bool revived(Channel& channel, const dma::Slice& scratch) {
  const Deadline deadline;
  while (!deadline.passed()) {
    Request request;
    const Submit submitted = channel.read(0, scratch, Request::done, &request);
    if (submitted == Submit::accepted) {
      if (!drain(channel) || request.answers != 1) return false;
      if (request.status.ok()) return true;
      if (request.status.code() != nvme::StatusCode::aborted_by_host) return false;
    } else if (submitted != Submit::stopped) {
      return false;
    }
    channel.poll();
  }
  return false;
}

TestDevice::TestDevice(const OpenOptions& options) {
  auto opened = Drive::open(device_address(), options);
  if (!opened) FAIL(opened.error().message());
  drive = std::move(*opened);
  auto found = drive->open_namespace();
  if (!found) FAIL(found.error().message());
  ns = *found;
}

TestDevice::~TestDevice() {
  if (!drive) return;
  const auto down = drive->shutdown();
  INFO((down ? std::string() : down.error().message()));
  CHECK(down);
  if (auto* soft = softnvme::soft_device(drive->controller().device())) {
    for (const auto& violation : soft->violations()) FAIL_CHECK(violation.text);
    CHECK(soft->violation_count() == 0);
  }
}

std::unique_ptr<Channel> TestDevice::open_channel(const ChannelOptions& options) { return open_channel(ns, options); }

std::unique_ptr<Channel> TestDevice::open_channel(const Namespace& other, const ChannelOptions& options) {
  auto channel = drive->open_channel(other, options);
  if (!channel) FAIL(channel.error().message());
  return std::move(*channel);
}

dma::Buffer TestDevice::allocate(std::uint64_t size_bytes) {
  auto buffer = drive->allocate(size_bytes);
  if (!buffer) FAIL(buffer.error().message());
  return std::move(*buffer);
}

bool TestDevice::grants(unsigned queues) const {
  const unsigned granted = drive->controller().io_queue_limit();
  if (granted >= queues) return true;
  WARN("this controller grants " << granted << " queue pairs: there is nothing to see of " << queues);
  return false;
}

void TestDevice::write_pattern(Channel& channel, std::uint64_t lba, const dma::Slice& scratch, std::uint64_t seed) {
  fill(scratch, seed, words(lba));
  REQUIRE(write(channel, lba, scratch).ok());
}

bool TestDevice::holds_pattern(Channel& channel, std::uint64_t lba, const dma::Slice& scratch, std::uint64_t seed) {
  fill_bytes(scratch, kGuard);
  REQUIRE(read(channel, lba, scratch).ok());
  return !first_difference(scratch, seed, words(lba));
}

}  // namespace pollux::conformance
