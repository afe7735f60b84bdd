// The faults of faults=N%: how often, of which kinds, and that no other command meets one.
#include "pollux/tools/softnvme/random_faults.hpp"

#include <catch2/catch.hpp>
#include <numeric>

#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint16_t kCid = 0x3005;

// The CID that the completion of `cid` has.
std::uint16_t complete(RandomFaults& faults, std::uint16_t sqid, std::uint16_t cid) {
  nvme::Completion entry{};
  entry.tail = nvme::cqe::kCid.put(entry.tail, cid);
  (void)faults.at_completion(sqid, entry);
  return cid_of(entry);
}

// What became of `commands` I/O commands.
RandomFaultCounts meet(RandomFaults& faults, unsigned commands, std::uint16_t sqid = 1) {
  for (unsigned i = 0; i < commands; ++i) {
    const FetchFault fault = faults.after_fetch(sqid, {});
    if (fault.kind == FetchFault::Kind::answer) CHECK((!fault.status.ok() && !fault.status.do_not_retry()));
    if (fault.kind == FetchFault::Kind::delay) CHECK(fault.delay_ns < RandomFaults::kMaxDelayNs);
    if (fault.kind != FetchFault::Kind::none) continue;
    (void)complete(faults, sqid, kCid);
  }
  return faults.counts();
}

std::uint64_t sum(const RandomFaultCounts& counts) { return std::accumulate(counts.begin(), counts.end(), 0ull); }

}  // namespace

TEST_CASE("the share that was asked for meets a fault, each kind about as often") {
  RandomFaults faults(10'000);
  const RandomFaultCounts counts = meet(faults, 1'000'000);
  CHECK(sum(counts) > 9'500);
  CHECK(sum(counts) < 10'500);
  for (std::size_t kind = 0; kind < kRandomFaults; ++kind) {
    CAPTURE(name_of(static_cast<RandomFault>(kind)));
    CHECK(counts[kind] > 1'300);
    CHECK(counts[kind] < 1'560);
  }
}

TEST_CASE("two devices meet the same faults, admin commands and a share of 0 meet none, and of the whole all do") {
  RandomFaults one(10'000), other(10'000), none(0), all(1'000'000);
  CHECK(meet(one, 10'000) == meet(other, 10'000));
  CHECK(sum(meet(none, 100'000)) == 0);
  CHECK(sum(meet(one, 100'000, 0)) == sum(meet(other, 0)));
  const std::uint64_t met = sum(meet(all, 10'000));
  CHECK(met > 7'500);  // 4 in 7 at the fetch, and 3 in 7 of the rest at the completion
  CHECK(met < 10'000);
}

TEST_CASE("a misnamed completion has no index, or that of a command that waits, in another generation") {
  constexpr std::uint16_t kWaits = 0x2007;
  RandomFaults faults(1'000'000);
  const auto withhold = [&] {
    nvme::Command command{};
    command.cdw0 = nvme::cdw0::kCid.put(command.cdw0, kWaits);
    FetchFault::Kind kind{};
    do kind = faults.after_fetch(1, command).kind;
    while (kind == FetchFault::Kind::none || kind == FetchFault::Kind::answer);
  };
  // Which of the two indices was named, with 1000 completions.
  const auto named = [&](std::uint16_t index) {
    unsigned times = 0;
    for (unsigned i = 0; i < 1'000; ++i) {
      const std::uint16_t seen = complete(faults, 1, kCid);
      CHECK((seen == kCid || (seen & 0xfff) == 0xfff || (seen != kWaits && (seen & 0xfff) == index)));
      if (seen != kCid && (seen & 0xfff) == index) ++times;
    }
    return times;
  };
  CHECK(named(kCid & 0xfff) > 20);
  withhold();
  CHECK(named(kWaits & 0xfff) > 20);
  (void)complete(faults, 1, kWaits);
  CHECK(named(kCid & 0xfff) > 20);
  withhold();
  (void)faults.after_fetch(0, create_sq_command(1, 16, 0, 1));
  CHECK(named(kCid & 0xfff) > 20);
}

}  // namespace pollux::softnvme
