// A drive behind the kernel's VFIO that is opened and closed again and again leaves nothing behind: no descriptor, no
// memory, none of it locked, no mapping; with commands in flight at the end, too.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "pollux/tests/conformance/test_device.hpp"
#include "pollux/tests/sanitizer.hpp"

namespace pollux::conformance {
namespace {

constexpr unsigned kDepth = 8;
constexpr unsigned kWarmUp = 2, kCycles = 6;

struct Counts {
  std::ptrdiff_t descriptors =
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  std::string locked;  // what type1 charges, and iommufd
  long resident_kib = 0;

  Counts() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmLck:") || line.starts_with("VmPin:")) locked += line + "\n";
      if (line.starts_with("VmRSS:")) resident_kib = std::stol(line.substr(6));
    }
  }
};

std::optional<std::uint32_t> mappings_left(Drive& drive) { return drive.space()->io().mappings_left(); }

// The drive, from open to close. Returns how many mappings were left when it was open and held nothing else.
std::optional<std::uint32_t> cycle(unsigned n, const std::shared_ptr<dma::Space>& space) {
  OpenOptions options = open_options();
  options.space = space;
  TestDevice device(options);
  const auto left = mappings_left(*device.drive);
  const auto buffer = device.allocate(kDepth * kPage);
  const auto channel = device.open_channel({.depth = kDepth});
  device.write_pattern(*channel, 8 * (n % 16), buffer.slice(0, kPage), n);
  CHECK(device.holds_pattern(*channel, 8 * (n % 16), buffer.slice(kPage, kPage), n));
  Request requests[kDepth + 1];
  for (unsigned i = 0; i <= kDepth; ++i) {
    const auto submitted = channel->read(8 * i, buffer.slice(i % kDepth * kPage, kPage), Request::done, &requests[i]);
    CHECK(submitted == (i < kDepth ? Submit::accepted : Submit::queue_full));
  }
  channel->ring();
  if (n % 2 == 0) CHECK(drain(*channel));
  return left;
}

}  // namespace

TEST_CASE("a drive that is opened and closed again and again leaves nothing behind", "[open-close]") {
  const bool one_space = GENERATE(false, true);
  CAPTURE(one_space);
  std::shared_ptr<dma::Space> space;
  if (one_space) space = TestDevice().drive->space();
  std::optional<std::uint32_t> left;
  for (unsigned n = 0; n < kWarmUp; ++n) left = cycle(n, space);
  const Counts before;
  for (unsigned n = 0; n < kCycles; ++n) CHECK(cycle(n, space) == left);
  const Counts after;
  CHECK(after.descriptors == before.descriptors);
  CHECK(after.locked == before.locked);
  if (!kHasSanitizer) CHECK(after.resident_kib - before.resident_kib < 256);
}

}  // namespace pollux::conformance
