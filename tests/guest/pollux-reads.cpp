// pollux-reads ADDRESS COUNT SHADOWS: COUNT reads of one block in batches of 32, each rung once and waited for, with
// the controller's shadow doorbells (1) or without (0). For counting what a batch costs; prints whether shadows were
// used.
#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "pollux/driver/block/block.hpp"

namespace {

constexpr unsigned kBatch = 32;

struct Count {
  unsigned good = 0, bad = 0;
  static void done(void* context, pollux::nvme::Status status) noexcept {
    auto* const count = static_cast<Count*>(context);
    ++(status.ok() ? count->good : count->bad);
  }
};

pollux::Result<void> run(std::string_view address, unsigned count, bool shadows) {
  auto drive = pollux::Drive::open(address, {.shadow_doorbells = shadows});
  if (!drive) return std::unexpected(drive.error());
  const auto ns = (*drive)->open_namespace();
  if (!ns) return std::unexpected(ns.error());
  const auto buffer = (*drive)->allocate(4096);
  if (!buffer) return std::unexpected(buffer.error());
  const auto channel = (*drive)->open_channel(*ns, {.depth = kBatch});
  if (!channel) return std::unexpected(channel.error());
  Count answers;
  for (unsigned done = 0; done < count; done += kBatch) {
    for (unsigned i = 0; i < kBatch; ++i) {
      if ((*channel)->read(i, buffer->slice(0, ns->block_size_bytes), Count::done, &answers) !=
          pollux::Submit::accepted) {
        return pollux::fail("a read was not accepted");
      }
    }
    (*channel)->ring();
    while ((*channel)->in_flight() != 0) {
      (*channel)->poll();
      if (const auto alive = (*drive)->poll(); !alive) return alive;  // what bounds the wait
    }
  }
  if (answers.bad != 0) return pollux::fail(fmt::format("{} reads failed", answers.bad));
  fmt::print("{} reads, shadow doorbells: {}\n", answers.good,
             (*drive)->controller().uses_shadow_doorbells() ? "used" : "not used");
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  unsigned count = 0;
  if (argc == 4) {
    const std::string_view text = argv[2];
    std::from_chars(text.data(), text.data() + text.size(), count);
  }
  if (count == 0) {
    fmt::print(stderr, "usage: pollux-reads ADDRESS COUNT SHADOWS\n");
    return 2;
  }
  if (const auto done = run(argv[1], count, std::string_view(argv[3]) == "1"); !done) {
    fmt::print(stderr, "pollux-reads: {}\n", done.error().message());
    return 1;
  }
}
