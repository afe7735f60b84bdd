#include "pollux/tools/softnvme/core/io.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::softnvme {
namespace {

namespace rw = nvme::rw;
using nvme::IoOpcode;
using nvme::StatusCode;

constexpr std::size_t kScratchBytes = 64 * 1024;

// Reserved bits of CDW12 and CDW13, NVM command set 1.0c, figures of 3.2.4, 3.2.6 and 3.2.8.
constexpr std::uint32_t kReadCdw12 = 0x02ff'0000;    // bits 25 and 23:16; 24 is STC
constexpr std::uint32_t kWriteCdw12 = 0x020f'0000;   // bits 25 and 19:16; 23:20 are DTYPE
constexpr std::uint32_t kZeroesCdw12 = 0x00ff'0000;  // 25 is DEAC
constexpr std::uint32_t kReadCdw13 = 0xffff'ff00;    // above DSM
constexpr std::uint32_t kWriteCdw13 = 0x0000'ff00;   // between DSM and DSPEC
constexpr Field kDtype{20, 4};

}  // namespace

IoCommands::IoCommands(State& state) : state_(state), scratch_(kScratchBytes) {
  for (const NamespaceConfig& ns : state.config.namespaces) {
    if (ns.nsid >= namespaces_.size()) namespaces_.resize(ns.nsid + 1);
    namespaces_[ns.nsid] = {ns.store, ns.block_count, ns.nsid,
                            static_cast<std::uint32_t>(std::countr_zero(ns.block_size_bytes))};
  }
}

void IoCommands::resize(std::uint32_t nsid, std::uint64_t block_count) {
  namespaces_.at(nsid).block_count = block_count;
}

Reply IoCommands::execute(const nvme::Command& command) {
  const auto opcode = static_cast<IoOpcode>(command.cdw0 & nvme::cdw0::kOpcode.mask());
  if (opcode == IoOpcode::read) return read(command);
  if (opcode == IoOpcode::write) return write(command);
  ++state_.logs.health().other_commands;
  switch (opcode) {
    case IoOpcode::flush:
      return flush(command);
    case IoOpcode::write_zeroes:
      return write_zeroes(command);
    case IoOpcode::dataset_management:
      return dataset_management(command);
    case IoOpcode::compare:
      return compare(command);
    case IoOpcode::verify:
      return verify(command);
    default:
      return refuse(StatusCode::invalid_opcode);
  }
}

StatusCode IoCommands::check(const nvme::Command& command, bool moves_data, Extent& extent) const {
  const Namespace* ns = find(command.nsid);
  if (ns == nullptr) [[unlikely]]
    return StatusCode::invalid_namespace_or_format;
  extent.ns = ns;
  extent.slba = command.cdw10 | std::uint64_t{command.cdw11} << 32;
  extent.blocks = (command.cdw12 & static_cast<std::uint32_t>(rw::kNlb.mask())) + 1;
  if (moves_data && extent.size_bytes() > state_.max_transfer_bytes) [[unlikely]]
    return StatusCode::invalid_field;
  if (extent.slba >= ns->block_count || extent.blocks > ns->block_count - extent.slba) [[unlikely]] {
    return StatusCode::lba_out_of_range;
  }
  return StatusCode::success;
}

Reply IoCommands::read(const nvme::Command& command) {
  state_.expect_zero((command.cdw12 & kReadCdw12) | (command.cdw13 & kReadCdw13), "CDW12 or CDW13 of Read");
  Extent extent;
  if (const StatusCode code = check(command, true, extent); code != StatusCode::success) [[unlikely]]
    return refuse(code);
  HealthCounters& health = state_.logs.health();
  ++health.read_commands;
  health.bytes_read += extent.size_bytes();

  PrpWalk walk = state_.walk(command, extent.size_bytes(), Access::write);
  Store* const store = extent.ns->store;
  if (store == nullptr) return walk.walk() ? success() : refuse(walk.status());
  if (state_.hook != nullptr) [[unlikely]]
    return faulty_read(extent, walk);
  for (std::uint64_t offset = extent.offset(); !walk.done();) {
    const std::span<std::byte> piece = walk.next();
    if (piece.empty()) [[unlikely]]
      return refuse(walk.status());
    if (!store->read(offset, piece)) [[unlikely]]
      return media_error(StatusCode::unrecovered_read_error);
    offset += piece.size();
  }
  return success();
}

Reply IoCommands::write(const nvme::Command& command) {
  state_.expect_zero((command.cdw12 & kWriteCdw12) | (command.cdw13 & kWriteCdw13), "CDW12 or CDW13 of Write");
  if (kDtype.of(command.cdw12) != 0) [[unlikely]]
    return refuse(StatusCode::invalid_field);  // no directives
  Extent extent;
  if (const StatusCode code = check(command, true, extent); code != StatusCode::success) [[unlikely]]
    return refuse(code);
  HealthCounters& health = state_.logs.health();
  ++health.write_commands;
  health.bytes_written += extent.size_bytes();

  PrpWalk walk = state_.walk(command, extent.size_bytes(), Access::read);
  Store* const store = extent.ns->store;
  if (store == nullptr) return walk.walk() ? success() : refuse(walk.status());
  if (state_.hook != nullptr) [[unlikely]] {
    const Reply reply = faulty_write(extent, walk);
    return reply.status == 0 ? stored(*extent.ns, command) : reply;
  }
  for (std::uint64_t offset = extent.offset(); !walk.done();) {
    const std::span<std::byte> piece = walk.next();
    if (piece.empty()) [[unlikely]]
      return refuse(walk.status());
    if (!store->write(offset, piece)) [[unlikely]]
      return media_error(StatusCode::write_fault);
    offset += piece.size();
  }
  return stored(*extent.ns, command);
}

Reply IoCommands::stored(const Namespace& ns, const nvme::Command& command) {
  const bool durable = rw::kFua.of(command.cdw12) != 0 || state_.features.volatile_write_cache == 0;
  if (durable && !ns.store->flush()) return media_error(StatusCode::write_fault);
  return success();
}

Reply IoCommands::compare(const nvme::Command& command) {
  state_.expect_zero((command.cdw12 & kReadCdw12) | command.cdw13, "CDW12 or CDW13 of Compare");
  Extent extent;
  if (const StatusCode code = check(command, true, extent); code != StatusCode::success) return refuse(code);
  PrpWalk walk = state_.walk(command, extent.size_bytes(), Access::read);
  if (extent.ns->store == nullptr) return walk.walk() ? success() : refuse(walk.status());
  bool equal = true;
  for (std::uint64_t offset = extent.offset(); !walk.done();) {
    std::span<std::byte> piece = walk.next();  // at most a page, which the scratch space holds
    if (piece.empty()) return refuse(walk.status());
    const std::span<std::byte> found = std::span(scratch_).first(piece.size());
    if (!extent.ns->store->read(offset, found)) return media_error(StatusCode::unrecovered_read_error);
    equal = equal && std::memcmp(found.data(), piece.data(), piece.size()) == 0;
    offset += piece.size();
  }
  return equal ? success() : refuse(StatusCode::compare_failure);
}

Reply IoCommands::verify(const nvme::Command& command) {
  state_.expect_zero(command.prp1 | command.prp2 | (command.cdw12 & kReadCdw12) | command.cdw13,
                     "PRPs, CDW12 or CDW13 of Verify");
  Extent extent;
  if (const StatusCode code = check(command, false, extent); code != StatusCode::success) return refuse(code);
  if (extent.ns->store == nullptr) return success();
  const std::uint64_t end = extent.offset() + extent.size_bytes();
  for (std::uint64_t offset = extent.offset(); offset < end;) {
    const std::uint64_t length = std::min<std::uint64_t>(end - offset, scratch_.size());
    if (!extent.ns->store->read(offset, std::span(scratch_).first(length))) {
      return media_error(StatusCode::unrecovered_read_error);
    }
    offset += length;
  }
  return success();
}

Reply IoCommands::write_zeroes(const nvme::Command& command) {
  state_.expect_zero(command.prp1 | command.prp2 | (command.cdw12 & kZeroesCdw12) | command.cdw13,
                     "PRPs, CDW12 or CDW13 of Write Zeroes");
  Extent extent;
  if (const StatusCode code = check(command, false, extent); code != StatusCode::success) return refuse(code);
  if (extent.size_bytes() > std::uint64_t{4096} << kWzsl) return refuse(StatusCode::invalid_field);
  if (extent.ns->store == nullptr) return success();
  // With DEAC or without: a deallocated block reads as zeros (DLFEAT).
  if (!extent.ns->store->zero(extent.offset(), extent.size_bytes())) return media_error(StatusCode::write_fault);
  return stored(*extent.ns, command);
}

// 3.2.3. The ranges are all checked before the first is deallocated. IDR and IDW are hints that change nothing here.
Reply IoCommands::dataset_management(const nvme::Command& command) {
  state_.expect_zero(command.cdw10 >> 8 | (command.cdw11 & ~7u) | command.cdw12 | command.cdw13,
                     "CDW10 to CDW13 of Dataset Management");
  const Namespace* ns = find(command.nsid);
  if (ns == nullptr) return refuse(StatusCode::invalid_namespace_or_format);
  std::array<nvme::DsmRange, nvme::dsm::kMaxRanges> ranges;
  const std::span<nvme::DsmRange> named = std::span(ranges).first(nvme::dsm::kNr.of(command.cdw10) + 1);
  const StatusCode code =
      from_host(state_.walk(command, named.size_bytes(), Access::read), std::as_writable_bytes(named));
  if (code != StatusCode::success) return refuse(code);
  std::uint64_t blocks = 0;
  for (const nvme::DsmRange& range : named) {
    blocks += range.blocks;
    if (range.blocks > kDmrsl) return refuse(StatusCode::command_size_limit_exceeded);
    if (range.slba > ns->block_count || range.blocks > ns->block_count - range.slba) {
      return refuse(StatusCode::lba_out_of_range);
    }
  }
  if (named.size() > kDmrl || blocks > kDmsl) return refuse(StatusCode::command_size_limit_exceeded);
  if (nvme::dsm::kAd.of(command.cdw11) == 0 || ns->store == nullptr) return success();
  for (const nvme::DsmRange& range : named) {
    if (range.blocks == 0) continue;
    if (!ns->store->zero(range.slba << ns->block_shift, std::uint64_t{range.blocks} << ns->block_shift)) {
      return media_error(StatusCode::write_fault);
    }
  }
  return success();
}

Reply IoCommands::flush(const nvme::Command& command) {
  state_.expect_zero(command.cdw2 | command.cdw3 | command.prp1 | command.prp2 | command.cdw10 | command.cdw11 |
                         command.cdw12 | command.cdw13 | command.cdw14 | command.cdw15,
                     "a dword of Flush");
  if (command.nsid == nvme::kNsidAll) return flush_all() ? success() : media_error(StatusCode::write_fault);
  const Namespace* ns = find(command.nsid);
  if (ns == nullptr) return refuse(StatusCode::invalid_namespace_or_format);
  if (ns->store != nullptr && !ns->store->flush()) return media_error(StatusCode::write_fault);
  return success();
}

bool IoCommands::flush_all() {
  bool whole = true;
  for (const Namespace& ns : namespaces_) {
    if (ns.store != nullptr) whole = ns.store->flush() && whole;
  }
  return whole;
}

}  // namespace pollux::softnvme
