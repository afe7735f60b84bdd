// pollux-stray ADDRESS: reads one block to where nothing is mapped, between two buffers of ours that are. Says where,
// and what the drive answered; ends with 1 if a byte of the buffers has changed, or no answer came.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "pollux/driver/block/block.hpp"

namespace {

constexpr std::uint64_t kPageBytes = 4096, kBufferBytes = 2 * 1024 * 1024;
constexpr std::uint64_t kWaitNs = 20'000'000'000;
constexpr int kPattern = 0xa5;

void answered(void* context, pollux::nvme::Status status) noexcept {
  *static_cast<std::optional<pollux::nvme::Status>*>(context) = status;
}

bool untouched(const pollux::dma::Buffer& buffer) {
  const auto slice = buffer.slice();
  return std::all_of(slice.data, slice.data + slice.size_bytes,
                     [](std::byte byte) { return byte == static_cast<std::byte>(kPattern); });
}

pollux::Result<void> run(std::string_view address) {
  auto drive = pollux::Drive::open(address);
  if (!drive) return std::unexpected(drive.error());
  const auto ns = (*drive)->open_namespace();
  if (!ns) return std::unexpected(ns.error());
  const auto one = (*drive)->allocate(kBufferBytes), other = (*drive)->allocate(kBufferBytes);
  for (const auto* buffer : {&one, &other}) {
    if (!*buffer) return std::unexpected(buffer->error());
    std::memset((*buffer)->slice().data, kPattern, kBufferBytes);
  }
  const auto channel = (*drive)->open_channel(*ns);
  if (!channel) return std::unexpected(channel.error());

  // Mappings are handed out from the lowest address on: the last page that the IOMMU translates belongs to nobody.
  const pollux::vfio::Iova nowhere = (*drive)->space()->io().usable_ranges().back().last & ~(kPageBytes - 1);
  pollux::dma::Slice stray = one->slice(0, ns->block_size_bytes);
  stray.iova = nowhere;
  std::optional<pollux::nvme::Status> status;
  if ((*channel)->read(0, stray, answered, &status) != pollux::Submit::accepted) {
    return pollux::fail("the read was not accepted");
  }
  const std::uint64_t end_ns = pollux::steady_clock().now_ns() + kWaitNs;
  while (!status && pollux::steady_clock().now_ns() < end_ns) {
    (*channel)->poll();
    if (const auto alive = (*drive)->poll(); !alive) return alive;
  }
  if (!status) return pollux::fail(fmt::format("no answer to a read to {:#x}", stray.iova));
  fmt::print("a block read to {:#x}: {}\n", stray.iova, status->text());
  if (!untouched(*one) || !untouched(*other)) return pollux::fail("a byte of ours has changed");
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: pollux-stray ADDRESS\n");
    return 2;
  }
  if (const auto done = run(argv[1]); !done) {
    fmt::print(stderr, "pollux-stray: {}\n", done.error().message());
    return 1;
  }
}
