#include "pollux/driver/block/channel.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pollux {

using nvme::IoOpcode;

namespace {

constexpr std::uint32_t kDefaultMaxTransfer = 2u << 20;
constexpr std::uint32_t kLargestMaxTransfer = 32u << 20;  // bounds the memory for PRP lists
constexpr std::uint32_t kDeadlineScanMs = 100;
// The clock of the deadlines moves by at most this when it is looked at: if nobody called Drive::poll() for an hour, no
// command is an hour old.
constexpr std::uint32_t kMaxTickStepMs = 1000;
constexpr std::uint32_t kLongestTimeoutMs = 1u << 30;  // ticks are compared by their difference

// The largest single command with data, in bytes: a multiple of the block size, or 0 if not even one block fits.
std::uint32_t largest_transfer(const nvme::Controller& controller, const Namespace& ns, const ChannelOptions& options) {
  const std::uint64_t mdts = controller.max_transfer_bytes();
  std::uint64_t bytes = std::min<std::uint64_t>(mdts != 0 ? mdts : kDefaultMaxTransfer, kLargestMaxTransfer);
  if (options.max_transfer_bytes != 0) bytes = std::min<std::uint64_t>(bytes, options.max_transfer_bytes);
  bytes = std::min(bytes, std::uint64_t{nvme::rw::kMaxBlocks} * ns.block_size_bytes);
  return static_cast<std::uint32_t>(bytes - bytes % ns.block_size_bytes);
}

// NOIOB − 1 where it is a power of two, as drives report it; any other is a hint about speed that would cost a division
// an I/O.
std::uint64_t boundary_mask(std::uint32_t boundary_blocks) {
  constexpr std::uint64_t kNone = ~std::uint64_t{0} >> 1;
  return std::has_single_bit(boundary_blocks) ? boundary_blocks - 1u : kNone;
}

}  // namespace

Submit Channel::read(std::uint64_t lba, const dma::Slice& into, Callback done, void* context) noexcept {
  return transfer(IoOpcode::read, 0, lba, into, done, context);
}

Submit Channel::write(std::uint64_t lba, const dma::Slice& from, Callback done, void* context, bool fua) noexcept {
  return transfer(IoOpcode::write, nvme::rw::kFua.put(0u, fua ? 1 : 0), lba, from, done, context);
}

inline Submit Channel::transfer(IoOpcode opcode, std::uint32_t flags, std::uint64_t lba, const dma::Slice& data,
                                Callback done, void* context) noexcept {
  const std::uint64_t blocks = data.size_bytes >> block_shift_;
  if (blocks == 0 || blocks << block_shift_ != data.size_bytes) [[unlikely]]
    return Submit::bad_size;
  if (!in_range(lba, blocks)) [[unlikely]]
    return Submit::out_of_range;
  if ((data.iova & 3) != 0) [[unlikely]]
    return Submit::misaligned;
  if (!live_) [[unlikely]]
    return Submit::stopped;
  if (blocks > max_blocks_ || blocks > to_boundary(lba)) [[unlikely]] {
    return split({this, done, context, lba, blocks, data, opcode, flags, 0, {}});
  }
  return send(opcode, flags, lba, static_cast<std::uint32_t>(blocks), data, done, context) ? Submit::accepted
                                                                                           : Submit::queue_full;
}

// One read, write or write zeroes; without data, no PRP.
inline bool Channel::send(IoOpcode opcode, std::uint32_t flags, std::uint64_t lba, std::uint32_t blocks,
                          const dma::Slice& data, Callback done, void* context) noexcept {
  return queue_.submit(done, context, now_ms_ + timeout_ms_, [&](nvme::Command& slot, std::uint16_t index) {
    nvme::Prps prps{0, 0};
    if (data.size_bytes != 0) prps = nvme::build_prps(data.iova, data.size_bytes, memory_.list(index));
    slot.cdw0 = static_cast<std::uint32_t>(opcode);
    slot.nsid = ns_.nsid;
    slot.cdw2 = slot.cdw3 = 0;
    slot.mptr = 0;
    slot.prp1 = prps.prp1;
    slot.prp2 = prps.prp2;
    slot.cdw10 = static_cast<std::uint32_t>(lba);
    slot.cdw11 = static_cast<std::uint32_t>(lba >> 32);
    slot.cdw12 = flags | (blocks - 1);
    slot.cdw13 = slot.cdw14 = slot.cdw15 = 0;
  });
}

Submit Channel::flush(Callback done, void* context) noexcept {
  if (!live_) return Submit::stopped;
  const bool taken = queue_.submit(done, context, now_ms_ + timeout_ms_, [&](nvme::Command& slot, std::uint16_t) {
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(IoOpcode::flush);
    slot.nsid = ns_.nsid;
  });
  return taken ? Submit::accepted : Submit::queue_full;
}

Submit Channel::write_zeroes(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  if (ns_.write_zeroes_blocks == 0) return Submit::unsupported;
  if (blocks == 0) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if (!live_) return Submit::stopped;
  return split({this, done, context, lba, blocks, {}, IoOpcode::write_zeroes, 0, 0, {}});
}

Submit Channel::deallocate(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  if (ns_.deallocate_blocks == 0) return Submit::unsupported;
  if (blocks == 0) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if (!live_) return Submit::stopped;
  return split({this, done, context, lba, blocks, {}, IoOpcode::dataset_management, 0, 0, {}});
}

// One Dataset Management command, of at most ns_.deallocate_blocks.
bool Channel::send_ranges(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  return queue_.submit(done, context, now_ms_ + timeout_ms_, [&](nvme::Command& slot, std::uint16_t index) {
    // The command's PRP list has a page that this command does not need as a list: it carries the ranges.
    const nvme::PrpList page = memory_.list(index);
    auto* const ranges = reinterpret_cast<nvme::DsmRange*>(page.entries);
    std::uint32_t count = 0;
    while (blocks != 0) {
      const std::uint64_t part = std::min<std::uint64_t>(blocks, ns_.deallocate_range_blocks);
      ranges[count++] = {0, static_cast<std::uint32_t>(part), lba};
      lba += part;
      blocks -= part;
    }
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(IoOpcode::dataset_management);
    slot.nsid = ns_.nsid;
    slot.prp1 = page.iova;
    slot.cdw10 = nvme::dsm::kNr.put(0u, count - 1);
    slot.cdw11 = nvme::dsm::kAd.put(0u, 1);
  });
}

Submit Channel::split(const Split& request) noexcept {
  Split* const split = splits_.take();
  if (split == nullptr) return Submit::queue_full;
  *split = request;
  send_pieces(*split);
  if (split->in_flight != 0) return Submit::accepted;
  splits_.give_back(split);
  return Submit::queue_full;
}

void Channel::send_pieces(Split& split) noexcept {
  while (split.blocks_left != 0) {
    const std::uint64_t blocks = std::min(split.blocks_left, largest_piece(split));
    const std::uint64_t bytes = split.data.size_bytes != 0 ? blocks << block_shift_ : 0;
    const bool sent = split.opcode == IoOpcode::dataset_management
                          ? send_ranges(split.lba, blocks, on_piece, &split)
                          : send(split.opcode, split.flags, split.lba, static_cast<std::uint32_t>(blocks),
                                 split.data.part(0, bytes), on_piece, &split);
    if (!sent) return;
    ++split.in_flight;
    split.lba += blocks;
    split.blocks_left -= blocks;
    // The last piece may leave an empty slice behind: blocks_left ends the loop before it is looked at.
    split.data = split.data.part(bytes, split.data.size_bytes - bytes);
  }
}

std::uint64_t Channel::largest_piece(const Split& split) const noexcept {
  switch (split.opcode) {
    case IoOpcode::dataset_management:
      return ns_.deallocate_blocks;
    case IoOpcode::write_zeroes:
      return ns_.write_zeroes_blocks;
    default:
      return std::min<std::uint64_t>(max_blocks_, to_boundary(split.lba));
  }
}

void Channel::on_piece(void* context, nvme::Status status) noexcept {
  Split& split = *static_cast<Split*>(context);
  --split.in_flight;
  if (!status.ok()) {
    if (split.status.ok()) split.status = status;
    split.blocks_left = 0;  // what was not sent is not sent any more
  }
  // The command that has just been answered left a free slot: pieces that are left always find one.
  split.channel->send_pieces(split);
  if (split.in_flight != 0) return;
  const Split finished = split;
  finished.channel->splits_.give_back(&split);
  finished.done(finished.context, finished.status);
}

void Channel::ring() noexcept {
  // Not the doorbell of a queue that is gone: the next poll answers what was submitted to it.
  if (live_ && works_in(nvme::Pulse{pulse_->load(std::memory_order_acquire)})) queue_.ring();
}

unsigned Channel::poll(unsigned limit) noexcept {
  // Acquire: pairs with Controller::publish(); a new epoch means that the controller was disabled before.
  const std::uint64_t word = pulse_->load(std::memory_order_acquire);
  if (word != seen_pulse_ || !live_) [[unlikely]] {
    if (const unsigned failed = notice({word}); failed != 0 || !live_) return failed;
  }
  return queue_.poll(limit);
}

// Something changed, or the queue is waiting to be made anew. Returns how many commands were answered because of it.
unsigned Channel::notice(nvme::Pulse pulse) noexcept {
  const nvme::Pulse last{seen_pulse_};
  now_ms_ += std::min(pulse.tick_ms() - last.tick_ms(), kMaxTickStepMs);
  seen_pulse_ = pulse.word;

  if (live_ && works_in(pulse)) {
    if (now_ms_ - deadlines_checked_ms_ >= kDeadlineScanMs) {
      deadlines_checked_ms_ = now_ms_;
      if (queue_.has_expired(now_ms_)) controller_.ask_for_reset(epoch_);
    }
    return 0;
  }
  if (live_) {
    live_ = false;  // before the callbacks, which may submit
    controller_.parked();
  }
  if (pulse.phase() == nvme::Pulse::Phase::stopping && pulse.epoch() == epoch_) return 0;

  const unsigned failed = queue_.in_flight();
  queue_.fail_all(nvme::Status::from(nvme::StatusCode::aborted_by_host));
  if (pulse.phase() == nvme::Pulse::Phase::up && pulse.epoch() != epoch_) revive(pulse);
  return failed;
}

// Makes the queue pair anew in a controller that was reset. If another thread has the controller's lock, the next poll
// tries again; if the controller refuses the queue, the next epoch.
void Channel::revive(nvme::Pulse pulse) noexcept {
  queue_ = memory_.make_queue(doorbells_.submission, doorbells_.completion);
  const auto created = controller_.try_create_queue(description());
  if (!created) return;
  live_ = created->has_value();
  epoch_ = live_ ? **created : pulse.epoch();
}

nvme::IoQueue Channel::description() const noexcept {
  return {qid_, memory_.entries(), memory_.submissions_iova(), memory_.completions_iova()};
}

Result<std::unique_ptr<Channel>> Channel::create(nvme::Controller& controller, const Namespace& ns,
                                                 const ChannelOptions& options) {
  const std::uint32_t most_entries = std::bit_floor(controller.max_queue_entries());
  if (most_entries < 2) return fail("the controller's queues hold one entry (CAP.MQES 0)", "it can do no I/O");
  std::uint32_t depth = std::clamp<std::uint32_t>(options.depth, 1, nvme::QueuePair::kMaxDepth);
  depth = std::min(depth, most_entries - 1);
  const std::uint32_t transfer_bytes = largest_transfer(controller, ns, options);
  if (transfer_bytes == 0) {
    return fail(fmt::format("a block has {} bytes, more than one command may carry", ns.block_size_bytes),
                "allow larger transfers");
  }
  auto memory = nvme::QueueMemory::allocate(*controller.space(), std::bit_ceil(depth + 1), depth,
                                            std::max(1u, nvme::prp_list_pages(transfer_bytes)));
  if (!memory) return std::unexpected(memory.error());

  const auto qid = controller.take_queue_id();
  if (!qid) return std::unexpected(qid.error());
  const auto doorbells = controller.doorbells(*qid);
  if (!doorbells) {
    controller.release_queue(*qid);
    return std::unexpected(doorbells.error());
  }
  std::unique_ptr<Channel> channel(
      new Channel(controller, *qid, *doorbells, std::move(*memory), ns, transfer_bytes, options.timeout_ms));
  const auto epoch = controller.create_queue(channel->description());
  if (!epoch) return std::unexpected(epoch.error());
  channel->epoch_ = *epoch;
  channel->live_ = true;
  return channel;
}

Channel::Channel(nvme::Controller& controller, std::uint16_t qid, nvme::Doorbells doorbells, nvme::QueueMemory memory,
                 const Namespace& ns, std::uint32_t max_transfer_bytes, std::uint32_t timeout_ms)
    : pulse_(&controller.pulse()),
      seen_pulse_(pulse_->load(std::memory_order_acquire)),
      qid_(qid),
      block_shift_(static_cast<unsigned>(std::countr_zero(ns.block_size_bytes))),
      max_blocks_(max_transfer_bytes >> block_shift_),
      timeout_ms_(std::min(timeout_ms, kLongestTimeoutMs) + kMaxTickStepMs),
      boundary_mask_(boundary_mask(ns.boundary_blocks)),
      ns_(ns),
      memory_(std::move(memory)),
      queue_(memory_.make_queue(doorbells.submission, doorbells.completion)),
      splits_(queue_.depth()),
      controller_(controller),
      doorbells_(doorbells) {}

Channel::~Channel() {
  if (live_) controller_.parked();
  controller_.release_queue(qid_);
}

}  // namespace pollux
