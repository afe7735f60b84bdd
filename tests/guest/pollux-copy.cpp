// pollux-copy: bytes of a drive to standard output, or standard input to a drive, through the block library. What the
// guest tests compare with the kernel's own driver. One request at a time: it is here to be right, not to be fast.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "pollux/driver/block/block.hpp"

namespace {

constexpr std::uint64_t kChunkBytes = 512 * 1024;

struct Request {
  std::optional<pollux::nvme::Status> status;

  static void done(void* context, pollux::nvme::Status status) noexcept {
    static_cast<Request*>(context)->status = status;
  }

  // Every request has a deadline, which counts while the drive is polled: so this ends.
  pollux::Result<void> wait(pollux::Submit submitted, pollux::Drive& drive, pollux::Channel& channel,
                            std::uint64_t offset) {
    if (submitted != pollux::Submit::accepted) {
      return pollux::fail(fmt::format("offset {}: not accepted (Submit {})", offset, static_cast<int>(submitted)));
    }
    while (!status) {
      channel.poll();
      if (const auto alive = drive.poll(); !alive) return alive;
    }
    if (!status->ok()) return pollux::fail(fmt::format("offset {}: {}", offset, status->text()));
    return {};
  }
};

// Reads until `size` bytes are there or the input ends; nothing where reading fails.
std::optional<std::size_t> read_fully(std::byte* into, std::size_t size) {
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = ::read(STDIN_FILENO, into + filled, size - filled);
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  return filled;
}

pollux::Result<void> copy(bool reading, std::string_view address, std::uint64_t offset, std::uint64_t size) {
  auto drive = pollux::Drive::open(address);
  if (!drive) return std::unexpected(drive.error());
  auto ns = (*drive)->open_namespace();
  if (!ns) return std::unexpected(ns.error());
  auto channel = (*drive)->open_channel(*ns);
  if (!channel) return std::unexpected(channel.error());
  auto buffer = (*drive)->allocate(kChunkBytes);
  if (!buffer) return std::unexpected(buffer.error());

  const std::uint32_t block = ns->block_size_bytes;
  if (offset % block != 0 || (reading && size % block != 0)) {
    return pollux::fail(
        fmt::format("offset {} and size {} must be multiples of the block size, {}", offset, size, block));
  }
  std::byte* const data = buffer->slice().data;
  for (std::uint64_t copied = 0; !reading || copied < size;) {
    std::uint64_t bytes = std::min(kChunkBytes, size - copied);
    if (!reading) {
      const auto got = read_fully(data, kChunkBytes);
      if (!got) return pollux::fail_errno(errno, "reading standard input");
      if (*got == 0) break;
      if (*got % block != 0) return pollux::fail(fmt::format("the input's size is no multiple of {} bytes", block));
      bytes = *got;
    }
    const std::uint64_t at = offset + copied;
    const auto slice = buffer->slice(0, bytes);
    Request request;
    const auto submitted = reading ? (*channel)->read(at / block, slice, Request::done, &request)
                                   : (*channel)->write(at / block, slice, Request::done, &request);
    if (auto answered = request.wait(submitted, **drive, **channel, at); !answered) return answered;
    if (reading && std::fwrite(data, 1, bytes, stdout) != bytes)
      return pollux::fail_errno(errno, "writing standard output");
    copied += bytes;
  }
  if (reading) {
    if (std::fflush(stdout) != 0) return pollux::fail_errno(errno, "writing standard output");
    return {};
  }
  Request request;
  return request.wait((*channel)->flush(Request::done, &request), **drive, **channel, offset);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc > 1 ? argv[1] : "";
  const bool reading = verb == "read" && argc == 5;
  const bool writing = verb == "write" && argc == 4;
  const auto offset = reading || writing ? number(argv[3]) : std::nullopt;
  const auto size = reading ? number(argv[4]) : std::optional<std::uint64_t>(0);
  if (!offset || !size) {
    fmt::print(stderr,
               "usage: pollux-copy read ADDRESS OFFSET SIZE >FILE\n       pollux-copy write ADDRESS OFFSET <FILE\n");
    return 2;
  }
  if (auto copied = copy(reading, argv[2], *offset, *size); !copied) {
    fmt::print(stderr, "pollux-copy: {}\n", copied.error().message());
    return 1;
  }
}
