#include "pollux/tools/softnvme/core/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace pollux::softnvme {

void State::report_reserved(std::uint64_t bits, const char* where) {
  violations.add(Rule::reserved_field, fmt::format("{} has {:#x} in reserved bits", where, bits));
}

void State::complete(SubmissionQueue& sq, const nvme::Command& command, Reply reply, bool command_ends) {
  namespace cqe = nvme::cqe;
  if (reply.status != 0) [[unlikely]]
    reply.status = note_error(sq, command, reply.status);
  const auto cid = static_cast<std::uint16_t>(command.cdw0 >> nvme::cdw0::kCid.shift);
  nvme::Completion entry;
  entry.dw0 = reply.dw0;
  entry.tail = std::uint64_t{sq.head} << cqe::kSqhd.shift | std::uint64_t{sq.id} << cqe::kSqid.shift |
               std::uint64_t{cid} << cqe::kCid.shift | std::uint64_t{reply.status} << cqe::kStatus.shift;
  if (command_ends) sq.end(cid);
  if (hook != nullptr) [[unlikely]] {
    const PostFault fault = hook->at_completion(sq.id, entry);
    if (fault == PostFault::lose) return;
    if (fault == PostFault::twice && sq.cq->room() > 1) queues.post(*sq.cq, entry);
    if (fault == PostFault::stale_phase) {
      sq.cq->phase ^= 1;
      queues.post(*sq.cq, entry);
      sq.cq->phase ^= 1;
      return;
    }
  }
  queues.post(*sq.cq, entry);
}

std::uint16_t State::note_error(const SubmissionQueue& sq, const nvme::Command& command, std::uint16_t status) {
  status = nvme::Status::kMore.put(status, 1);
  const bool reads_lba = sq.id != 0;
  logs.note_error(sq.id, static_cast<std::uint16_t>(nvme::cdw0::kCid.of(command.cdw0)), status, command.nsid,
                  reads_lba ? command.cdw10 | std::uint64_t{command.cdw11} << 32 : 0);
  return status;
}

nvme::StatusCode to_host(PrpWalk walk, std::span<const std::byte> data) {
  while (!walk.done()) {
    const std::span<std::byte> piece = walk.next();
    if (piece.empty()) return walk.status();
    const std::size_t copied = std::min(piece.size(), data.size());
    std::copy_n(data.begin(), copied, piece.begin());
    std::fill(piece.begin() + static_cast<std::ptrdiff_t>(copied), piece.end(), std::byte{0});
    data = data.subspan(copied);
  }
  return nvme::StatusCode::success;
}

nvme::StatusCode from_host(PrpWalk walk, std::span<std::byte> data) {
  while (!walk.done()) {
    const std::span<std::byte> piece = walk.next();
    if (piece.empty()) return walk.status();
    std::memcpy(data.data(), piece.data(), piece.size());
    data = data.subspan(piece.size());
  }
  return nvme::StatusCode::success;
}

}  // namespace pollux::softnvme
