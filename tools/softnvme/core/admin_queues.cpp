// Create and Delete I/O Completion and Submission Queue. NVMe base 2.0c, 5.4 to 5.7.
#include <fmt/format.h>

#include "pollux/tools/softnvme/core/admin.hpp"

namespace pollux::softnvme {
namespace {

namespace create = nvme::create_queue;
using nvme::StatusCode;

constexpr std::uint32_t kCqReserved = 0xfffc;  // CDW11 bits 15:2
constexpr std::uint32_t kSqReserved = 0xfff8;  // CDW11 bits 15:3
constexpr std::uint32_t kNvmSet = 0xffff;      // CDW12 of a submission queue
constexpr std::uint64_t kSqeShift = 6;
constexpr std::uint64_t kCqeShift = 4;

std::uint16_t id_of(const nvme::Command& command) { return static_cast<std::uint16_t>(create::kQid.of(command.cdw10)); }

std::uint32_t entries_of(const nvme::Command& command) {
  return static_cast<std::uint32_t>(create::kQsize.of(command.cdw10)) + 1;
}

}  // namespace

// What both kinds demand: identifier, size, entry sizes, contiguous and aligned memory.
Reply AdminCommands::check_new_queue(const nvme::Command& command, const char* kind, bool exists,
                                     std::uint32_t granted) {
  const std::uint16_t id = id_of(command);
  if (id == 0 || id > granted || exists) {
    return violate(Rule::queue_bad_identifier, StatusCode::invalid_queue_identifier,
                   fmt::format("{} {} created, which {}; {} are granted", kind, id,
                               exists    ? "exists"
                               : id == 0 ? "is the admin queue"
                                         : "was not granted",
                               granted));
  }
  const std::uint32_t entries = entries_of(command);
  if (entries < 2 || entries > state_.config.max_queue_entries) {
    return violate(Rule::queue_bad_size, StatusCode::invalid_queue_size,
                   fmt::format("{} {} created with {} entries; 2 to {} are possible", kind, id, entries,
                               state_.config.max_queue_entries));
  }
  const std::uint32_t cc = state_.registers.cc();
  if (nvme::cc::kIosqes.of(cc) != kSqeShift || nvme::cc::kIocqes.of(cc) != kCqeShift) {
    return violate(Rule::queue_entry_size, StatusCode::invalid_queue_size,
                   fmt::format("{} {} created with CC.IOSQES {} and CC.IOCQES {}", kind, id, nvme::cc::kIosqes.of(cc),
                               nvme::cc::kIocqes.of(cc)));
  }
  if (create::kPc.of(command.cdw11) == 0) {
    return violate(Rule::queue_not_contiguous, StatusCode::invalid_field,
                   fmt::format("{} {} created with PC 0", kind, id));
  }
  if ((command.prp1 & ((1ull << state_.registers.page_shift()) - 1)) != 0) {
    return violate(Rule::queue_misaligned, StatusCode::prp_offset_invalid,
                   fmt::format("{} {} created at IOVA {:#x}", kind, id, command.prp1));
  }
  return success();
}

Reply AdminCommands::create_cq(const nvme::Command& command) {
  state_.expect_zero(command.nsid | command.prp2 | (command.cdw11 & kCqReserved) | command.cdw12 | command.cdw13 |
                         command.cdw14 | command.cdw15,
                     "NSID, PRP2 or CDW11 to CDW15 of Create I/O Completion Queue");
  const std::uint16_t id = id_of(command);
  const bool exists = id <= kMaxIoQueues && state_.queues.cq(id).exists;
  if (const Reply bad = check_new_queue(command, "CQ", exists, state_.features.granted_cqs); bad.status != 0)
    return bad;
  std::optional<std::uint16_t> vector;
  if (create::kIen.of(command.cdw11) != 0) vector = static_cast<std::uint16_t>(create::kIv.of(command.cdw11));
  if (vector && *vector >= state_.config.interrupt_vectors) return refuse(StatusCode::invalid_interrupt_vector);
  if (!state_.queues.create_cq(id, command.prp1, entries_of(command), vector)) {
    return violate(Rule::dma_unmapped, StatusCode::data_transfer_error,
                   fmt::format("CQ {} created with {} entries at IOVA {:#x}, which is not all mapped for writing", id,
                               entries_of(command), command.prp1));
  }
  state_.registers.set_io_queues_exist(true);
  return success();
}

Reply AdminCommands::create_sq(const nvme::Command& command) {
  state_.expect_zero(command.nsid | command.prp2 | (command.cdw11 & kSqReserved) | (command.cdw12 & ~kNvmSet) |
                         command.cdw13 | command.cdw14 | command.cdw15,
                     "NSID, PRP2 or CDW11 to CDW15 of Create I/O Submission Queue");
  const std::uint16_t id = id_of(command);
  const bool exists = id <= kMaxIoQueues && state_.queues.sq(id).exists;
  if (const Reply bad = check_new_queue(command, "SQ", exists, state_.features.granted_sqs); bad.status != 0)
    return bad;
  const auto cqid = static_cast<std::uint16_t>(create::kCqid.of(command.cdw11));
  if (cqid == 0 || cqid > state_.features.granted_cqs) {
    return violate(Rule::queue_bad_identifier, StatusCode::invalid_queue_identifier,
                   fmt::format("SQ {} created for CQ {}; 1 to {} are granted", id, cqid, state_.features.granted_cqs));
  }
  if (!state_.queues.cq(cqid).exists) {
    return violate(Rule::queue_order, StatusCode::cq_invalid,
                   fmt::format("SQ {} created for CQ {}, which does not exist", id, cqid));
  }
  if ((command.cdw12 & kNvmSet) != 0) return refuse(StatusCode::invalid_field);  // no NVM sets
  if (!state_.queues.create_sq(id, command.prp1, entries_of(command), cqid)) {
    return violate(Rule::dma_unmapped, StatusCode::data_transfer_error,
                   fmt::format("SQ {} created with {} entries at IOVA {:#x}, which is not all mapped for reading", id,
                               entries_of(command), command.prp1));
  }
  return success();
}

Reply AdminCommands::delete_sq(const nvme::Command& command) {
  state_.expect_zero(command.nsid | command.prp1 | command.prp2 | command.cdw10 >> 16 | command.cdw11 | command.cdw12 |
                         command.cdw13 | command.cdw14 | command.cdw15,
                     "NSID, PRPs or CDW10 to CDW15 of Delete I/O Submission Queue");
  const std::uint16_t id = id_of(command);
  if (id == 0 || id > kMaxIoQueues || !state_.queues.sq(id).exists) {
    return violate(Rule::queue_bad_identifier, StatusCode::invalid_queue_identifier,
                   fmt::format("SQ {} deleted, which is no I/O queue that exists", id));
  }
  state_.held.drop_queue(state_.queues.sq(id));
  state_.queues.delete_sq(id);
  state_.registers.set_io_queues_exist(state_.queues.any_io_queue());
  return success();
}

Reply AdminCommands::delete_cq(const nvme::Command& command) {
  state_.expect_zero(command.nsid | command.prp1 | command.prp2 | command.cdw10 >> 16 | command.cdw11 | command.cdw12 |
                         command.cdw13 | command.cdw14 | command.cdw15,
                     "NSID, PRPs or CDW10 to CDW15 of Delete I/O Completion Queue");
  const std::uint16_t id = id_of(command);
  if (id == 0 || id > kMaxIoQueues || !state_.queues.cq(id).exists) {
    return violate(Rule::queue_bad_identifier, StatusCode::invalid_queue_identifier,
                   fmt::format("CQ {} deleted, which is no I/O queue that exists", id));
  }
  if (const std::uint16_t users = state_.queues.cq(id).users; users != 0) {
    return violate(Rule::queue_order, StatusCode::invalid_queue_deletion,
                   fmt::format("CQ {} deleted while {} submission queues use it", id, users));
  }
  state_.queues.delete_cq(id);
  state_.registers.set_io_queues_exist(state_.queues.any_io_queue());
  return success();
}

}  // namespace pollux::softnvme
