// A request that is larger than the queue leaves others their share of it.
#include <catch2/catch.hpp>

#include "pollux/tests/unit/driver/recovery_fixture.hpp"

namespace pollux {

TEST_CASE("while a request of more pieces than the queue takes is in flight, small ones are accepted beside it") {
  SoftDrive soft;
  const auto depth = GENERATE(as<std::uint16_t>(), 2, 8);
  auto channel = *soft.drive->open_channel(soft.ns, {.depth = depth, .max_transfer_bytes = 4096});
  auto large = *soft.drive->allocate(64 * 4096);
  auto small = *soft.drive->allocate(4096);
  Answer answers[2];
  REQUIRE(channel->read(0, large.slice(0, 64 * 4096), Answer::take, &answers[0]) == Submit::accepted);
  const unsigned share = depth / 4 == 0 ? 1 : depth / 4;
  CHECK(channel->in_flight() == depth - share);
  // Whenever one looks, there is room.
  while (answers[0].times == 0) {
    const unsigned before = channel->in_flight();
    REQUIRE(before <= depth - share);
    for (unsigned i = 0; i < share; ++i) {
      Answer extra;
      REQUIRE(channel->read(0, small.slice(), Answer::take, &extra) == Submit::accepted);
      while (extra.times == 0) channel->poll();
      REQUIRE(extra.status.ok());
    }
  }
  CHECK((answers[0].times == 1 && answers[0].status.ok()));
}

}  // namespace pollux
