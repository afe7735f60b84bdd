#include "pollux/tools/softnvme/random_faults.hpp"

namespace pollux::softnvme {
namespace {

// A CID has nothing of the sort for the controller. For a host that keeps an index in its low bits and a generation
// above it, these two are the nearest misses: its own index in another generation, and no index at all.
constexpr std::uint16_t kGenerationBit = 1u << 15;
constexpr std::uint16_t kNoIndex = 0x0fff;

}  // namespace

std::string_view name_of(RandomFault fault) {
  switch (fault) {
    case RandomFault::hang:
      return "hang";
    case RandomFault::drop:
      return "drop";
    case RandomFault::late:
      return "late";
    case RandomFault::error:
      return "error";
    case RandomFault::lost:
      return "lost";
    case RandomFault::doubled:
      return "doubled";
    case RandomFault::misnamed:
      return "misnamed";
  }
  return "";
}

// A command is asked about twice, each time about the kinds that belong there.
bool RandomFaults::meets(std::size_t kinds) { return random_() % (kWhole * kRandomFaults) < share_ * kinds; }

RandomFault RandomFaults::draw(std::size_t first, std::size_t kinds) {
  const std::size_t kind = first + random_() % kinds;
  ++counts_[kind];
  return static_cast<RandomFault>(kind);
}

FetchFault RandomFaults::after_fetch(std::uint16_t sqid, const nvme::Command&) {
  if (sqid == 0 || !meets(kFetchFaults)) return {};
  using Kind = FetchFault::Kind;
  switch (draw(0, kFetchFaults)) {
    case RandomFault::hang:
      return {.kind = Kind::hang};
    case RandomFault::drop:
      return {.kind = Kind::drop};
    case RandomFault::late:
      return {.kind = Kind::delay, .delay_ns = random_() % kMaxDelayNs};
    default:
      return {.kind = Kind::answer, .status = nvme::Status::from(nvme::StatusCode::namespace_not_ready)};
  }
}

PostFault RandomFaults::at_completion(std::uint16_t sqid, nvme::Completion& entry) {
  if (sqid == 0 || !meets(kRandomFaults - kFetchFaults)) return PostFault::none;
  switch (draw(kFetchFaults, kRandomFaults - kFetchFaults)) {
    case RandomFault::lost:
      return PostFault::lose;
    case RandomFault::doubled:
      return PostFault::twice;
    default: {
      const auto cid = static_cast<std::uint16_t>(nvme::cqe::kCid.of(entry.tail));
      const std::uint16_t wrong = random_() % 2 == 0 ? cid ^ kGenerationBit : cid | kNoIndex;
      entry.tail = nvme::cqe::kCid.put(entry.tail, wrong);
      return PostFault::none;
    }
  }
}

}  // namespace pollux::softnvme
