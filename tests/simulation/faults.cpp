#include "pollux/tests/simulation/faults.hpp"

#include <algorithm>
#include <utility>

namespace pollux::simulation {

using softnvme::FetchFault;
using softnvme::PostFault;

nvme::Status error_status(Rng& rng) {
  using enum nvme::StatusCode;
  constexpr nvme::StatusCode kCodes[] = {internal_error, data_transfer_error, namespace_not_ready, command_interrupted,
                                         unrecovered_read_error};
  nvme::Status status = nvme::Status::from(kCodes[rng.below(std::size(kCodes))], rng.one_in(3));
  status.bits = nvme::Status::kCrd.put(status.bits, rng.below(4));
  return status;
}

bool Faults::take(Act act) {
  const auto found = std::find(armed_.begin(), armed_.end(), act);
  if (found == armed_.end()) return false;
  armed_.erase(found);
  note(act);
  return true;
}

FetchFault Faults::after_fetch(std::uint16_t sqid, const nvme::Command& command) {
  using Kind = FetchFault::Kind;
  constexpr std::uint64_t kLongestDelayNs = 3'000'000'000;
  if (sqid == 0) {
    const auto opcode = static_cast<nvme::AdminOpcode>(nvme::cdw0::kOpcode.of(command.cdw0));
    if (opcode == nvme::AdminOpcode::abort) {
      ++aborts_;
      if (take(Act::abort_loses)) {
        abort_lost_ = true;
        return {Kind::answer, {}, 0};
      }
    }
    if (opcode == nvme::AdminOpcode::async_event_request) return {};
    if (take(Act::admin_hang)) return {Kind::hang, {}, 0};
    if (take(Act::admin_error)) return {Kind::answer, error_status(rng_), 0};
    return {};
  }
  note_fetched(sqid, command);
  if (take(Act::error_status)) return {Kind::answer, error_status(rng_), 0};
  if (take(Act::hang)) return {Kind::hang, {}, 0};
  if (take(Act::drop)) return {Kind::drop, {}, 0};
  if (take(Act::delay)) return {Kind::delay, {}, 1 + rng_.below(kLongestDelayNs)};
  // Commands are carried out and answered in any order.
  if (rng_.one_in(3)) return {Kind::delay, {}, 1 + rng_.below(200'000)};
  return {};
}

void Faults::note_fetched(std::uint16_t sqid, const nvme::Command& command) {
  const auto opcode = static_cast<nvme::IoOpcode>(nvme::cdw0::kOpcode.of(command.cdw0));
  const auto cid = static_cast<std::uint16_t>(nvme::cdw0::kCid.of(command.cdw0));
  fetched_.erase({sqid, cid});
  if (opcode == nvme::IoOpcode::write) writes_fetched_.push_back(command);
  if (opcode != nvme::IoOpcode::write && opcode != nvme::IoOpcode::read) return;
  const Identity identity{command.prp1, command.cdw10};
  if (completed_.contains(identity)) sent_after_completion_ = true;
  fetched_[{sqid, cid}] = identity;
}

PostFault Faults::at_completion(std::uint16_t sqid, nvme::Completion& entry) {
  namespace cqe = nvme::cqe;
  if (sqid == 0) {
    if (std::exchange(abort_lost_, false)) entry.dw0 = 1;  // not aborted
    return PostFault::none;
  }
  if (take(Act::lose_completion)) return PostFault::lose;
  if (take(Act::stale_phase)) {
    out_of_step_.insert(sqid);
    return PostFault::stale_phase;
  }
  if (take(Act::wrong_cid)) {
    // Never that of another command in flight, which nobody could tell: another generation, or no record's index.
    const std::uint64_t cid = cqe::kCid.of(entry.tail);
    entry.tail = cqe::kCid.put(entry.tail, rng_.one_in(2) ? cid ^ 0x1000 : cid | 0xf00);
    return PostFault::none;
  }
  const auto fetched = fetched_.find({sqid, static_cast<std::uint16_t>(cqe::kCid.of(entry.tail))});
  if (fetched != fetched_.end() && !out_of_step_.contains(sqid)) completed_.insert(fetched->second);
  if (take(Act::double_completion)) return PostFault::twice;
  if (take(Act::wrong_sqid)) entry.tail = cqe::kSqid.put(entry.tail, cqe::kSqid.of(entry.tail) + 1);
  return PostFault::none;
}

}  // namespace pollux::simulation
