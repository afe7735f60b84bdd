#include "pollux/tools/softnvme/random_faults.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint16_t kIndexMask = 0x0fff;
constexpr std::uint16_t kOtherUse = 0x8000;

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

std::uint16_t RandomFaults::wrong_cid(std::uint16_t sqid, std::uint16_t cid) {
  if (random_() % 2 == 0) return cid | kIndexMask;
  const auto withheld = withheld_.find(sqid);
  return (withheld != withheld_.end() ? withheld->second : cid) ^ kOtherUse;
}

FetchFault RandomFaults::after_fetch(std::uint16_t sqid, const nvme::Command& command) {
  // What a queue that was there before has not answered is over.
  if (sqid == 0 && nvme::cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(nvme::AdminOpcode::create_sq)) {
    withheld_.erase(static_cast<std::uint16_t>(nvme::create_queue::kQid.of(command.cdw10)));
  }
  if (sqid == 0 || !meets(kFetchFaults)) return {};
  const RandomFault fault = draw(0, kFetchFaults);
  if (fault != RandomFault::error) withheld_[sqid] = static_cast<std::uint16_t>(nvme::cdw0::kCid.of(command.cdw0));
  using Kind = FetchFault::Kind;
  switch (fault) {
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
  if (sqid == 0) return PostFault::none;
  const auto cid = static_cast<std::uint16_t>(nvme::cqe::kCid.of(entry.tail));
  if (const auto withheld = withheld_.find(sqid); withheld != withheld_.end() && withheld->second == cid) {
    withheld_.erase(withheld);
  }
  if (!meets(kRandomFaults - kFetchFaults)) return PostFault::none;
  switch (draw(kFetchFaults, kRandomFaults - kFetchFaults)) {
    case RandomFault::lost:
      return PostFault::lose;
    case RandomFault::doubled:
      return PostFault::twice;
    default:
      entry.tail = nvme::cqe::kCid.put(entry.tail, wrong_cid(sqid, cid));
      return PostFault::none;
  }
}

}  // namespace pollux::softnvme
