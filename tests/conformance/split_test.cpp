// Requests larger than one command may carry: cut into pieces, answered once, whole.
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice, "a channel may be told to use smaller commands than the controller takes") {
  auto channel = open_channel({.depth = 8, .max_transfer_bytes = static_cast<std::uint32_t>(2 * unit())});
  const std::uint64_t mdts = drive->controller().max_transfer_bytes();
  CHECK(channel->max_transfer_bytes() == (mdts == 0 ? 2 * unit() : std::min(mdts, 2 * unit())));
  const auto buffer = allocate(8 * unit());
  const dma::Slice odd = buffer.slice(4, 7 * unit());
  write_pattern(*channel, 3, odd, 1);
  CHECK(holds_pattern(*channel, 3, odd, 1));

  channel.reset();
  channel = open_channel({.depth = 2});
  CHECK(holds_pattern(*channel, 3, odd, 1));
}

TEST_CASE_METHOD(TestDevice, "a request with many more pieces than the queue has room for is still answered once") {
  const auto channel = open_channel({.depth = 2, .max_transfer_bytes = static_cast<std::uint32_t>(unit())});
  constexpr std::uint64_t kPieces = 50;
  const auto buffer = allocate(kPieces * unit());
  write_pattern(*channel, 1, buffer.slice(0, kPieces * unit()), 1);
  CHECK(holds_pattern(*channel, 1, buffer.slice(0, kPieces * unit()), 1));
}

TEST_CASE_METHOD(TestDevice, "several split requests at once do not mix") {
  const auto channel = open_channel({.depth = 4, .max_transfer_bytes = static_cast<std::uint32_t>(unit())});
  const std::uint64_t size = 9 * unit();
  const std::uint64_t blocks = size / block();
  const auto buffer = allocate(2 * size);
  Request first, second;
  fill(buffer.slice(0, size), 1, words(0));
  fill(buffer.slice(size, size), 2, words(blocks));
  REQUIRE(channel->write(0, buffer.slice(0, size), Request::done, &first) == Submit::accepted);
  const Deadline deadline;
  while (channel->write(blocks, buffer.slice(size, size), Request::done, &second) == Submit::queue_full) {
    if (deadline.passed()) FAIL("the queue stays full");
    channel->poll();
  }
  REQUIRE(drain(*channel));
  CHECK((first.answers == 1 && first.status.ok()));
  CHECK((second.answers == 1 && second.status.ok()));
  CHECK(holds_pattern(*channel, 0, buffer.slice(0, size), 1));
  CHECK(holds_pattern(*channel, blocks, buffer.slice(0, size), 2));
}

TEST_CASE_METHOD(TestDevice, "a split request of which one piece fails is answered once, with that piece's status") {
  Namespace longer = ns;  // than it is: so that the controller itself has to refuse
  longer.block_count += 1024;
  const auto channel = open_channel(longer, {.depth = 4, .max_transfer_bytes = static_cast<std::uint32_t>(unit())});
  const auto buffer = allocate(8 * unit());
  const std::uint64_t inside = 3 * unit() / block();
  CHECK(read(*channel, ns.block_count - inside, buffer.slice(0, 8 * unit())).code() ==
        nvme::StatusCode::lba_out_of_range);
  CHECK(read(*channel, ns.block_count - inside, buffer.slice(0, 3 * unit())).ok());
}

}  // namespace
}  // namespace pollux::conformance
