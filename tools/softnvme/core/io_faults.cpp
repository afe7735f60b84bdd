// Read and Write while a fault hook is set: the data goes through a buffer of its own, where the hook's answer can
// change it. Slow, and apart from the path without faults.
#include <algorithm>

#include "pollux/tools/softnvme/core/io.hpp"

namespace pollux::softnvme {
namespace {

using Kind = DataFault::Kind;
using nvme::StatusCode;

void flip_bit(std::span<std::byte> block, std::uint32_t bit) {
  const std::size_t byte = bit / 8 % block.size();
  block[byte] ^= std::byte{1} << (bit % 8);
}

}  // namespace

Reply IoCommands::faulty_read(const Extent& extent, PrpWalk walk) {
  const Namespace& ns = *extent.ns;
  const std::size_t block_bytes = 1u << ns.block_shift;
  std::vector<std::byte> data(extent.size_bytes());
  if (!ns.store->read(extent.offset(), data)) return media_error(StatusCode::unrecovered_read_error);
  const auto block_of = [&](std::uint64_t lba) {  // empty where the transfer does not hold it
    if (lba - extent.slba >= extent.blocks) return std::span<std::byte>();
    return std::span(data).subspan((lba - extent.slba) << ns.block_shift, block_bytes);
  };

  const DataFault fault = state_.hook->at_transfer({ns.nsid, extent.slba, extent.blocks, false});
  if (fault.kind == Kind::stale_read) {
    for (std::uint64_t lba = extent.slba; lba < extent.slba + extent.blocks; ++lba) {
      const std::span<const std::byte> before = history_.before(ns.nsid, lba);
      std::copy(before.begin(), before.end(), block_of(lba).begin());
    }
  } else if (fault.kind == Kind::flip_bit && !block_of(fault.lba).empty()) {
    flip_bit(block_of(fault.lba), fault.bit);
  } else if (fault.kind == Kind::swap_blocks && fault.lba < ns.block_count && fault.other_lba < ns.block_count) {
    for (const auto& [here, from] : {std::pair{fault.lba, fault.other_lba}, std::pair{fault.other_lba, fault.lba}}) {
      if (block_of(here).empty()) continue;
      if (!ns.store->read(from << ns.block_shift, block_of(here))) {
        return media_error(StatusCode::unrecovered_read_error);
      }
    }
  }
  const StatusCode code = to_host(walk, data);
  return code == StatusCode::success ? success() : refuse(code);
}

Reply IoCommands::faulty_write(const Extent& extent, PrpWalk walk) {
  const Namespace& ns = *extent.ns;
  const std::size_t block_bytes = 1u << ns.block_shift;
  std::vector<std::byte> data(extent.size_bytes());
  if (const StatusCode code = from_host(walk, data); code != StatusCode::success) return refuse(code);

  const DataFault fault = state_.hook->at_transfer({ns.nsid, extent.slba, extent.blocks, true});
  if (fault.kind == Kind::drop_write) return success();
  const auto read_block = [&](std::uint64_t lba, std::span<std::byte> into) {
    return ns.store->read(lba << ns.block_shift, into);
  };
  std::vector<std::byte> one(block_bytes);
  for (std::uint64_t lba = extent.slba; lba < extent.slba + extent.blocks; ++lba) {
    if (!read_block(lba, one)) return media_error(StatusCode::write_fault);
    history_.remember(ns.nsid, lba, one);
  }
  if (!ns.store->write(extent.offset(), data)) return media_error(StatusCode::write_fault);

  if (fault.kind == Kind::flip_bit && fault.lba < ns.block_count) {
    if (!read_block(fault.lba, one)) return media_error(StatusCode::write_fault);
    flip_bit(one, fault.bit);
    if (!ns.store->write(fault.lba << ns.block_shift, one)) return media_error(StatusCode::write_fault);
  } else if (fault.kind == Kind::swap_blocks && fault.lba < ns.block_count && fault.other_lba < ns.block_count) {
    std::vector<std::byte> other(block_bytes);
    if (!read_block(fault.lba, one) || !read_block(fault.other_lba, other) ||
        !ns.store->write(fault.lba << ns.block_shift, other) ||
        !ns.store->write(fault.other_lba << ns.block_shift, one)) {
      return media_error(StatusCode::write_fault);
    }
  }
  return success();
}

}  // namespace pollux::softnvme
