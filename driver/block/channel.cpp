#include "pollux/driver/block/channel.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "pollux/vfio/spin_pause.hpp"

namespace pollux {

using nvme::IoOpcode;

namespace {

constexpr std::uint32_t kDefaultMaxTransfer = 2u << 20;
constexpr std::uint32_t kLargestMaxTransfer = 32u << 20;  // bounds the memory for PRP lists
constexpr std::uint32_t kLongRingEntries = 256;           // Doorbell::wants_long_ring(); more than that is no gain
constexpr std::uint32_t kLongestTimeoutMs = 1u << 30;     // ticks are compared by their difference

// The largest single command with data, in bytes: a multiple of the block size, or 0 if not even one block fits.
std::uint32_t largest_transfer(const nvme::Controller& controller, const Namespace& ns, const ChannelOptions& options) {
  const std::uint64_t mdts = controller.max_transfer_bytes();
  std::uint64_t bytes = std::min<std::uint64_t>(mdts != 0 ? mdts : kDefaultMaxTransfer, kLargestMaxTransfer);
  if (options.max_transfer_bytes != 0) bytes = std::min<std::uint64_t>(bytes, options.max_transfer_bytes);
  bytes = std::min(bytes, std::uint64_t{nvme::rw::kMaxBlocks} * ns.block_size_bytes);
  return static_cast<std::uint32_t>(bytes - bytes % ns.block_size_bytes);
}

// Slots that the pieces of large requests leave to other requests.
unsigned share_of_others(unsigned depth) { return depth == 1 ? 0 : std::max(1u, depth / 4); }

// NOIOB where it is a power of two, as drives report it; any other is a hint about speed that would cost a division an
// I/O. None: larger than any namespace.
std::uint64_t boundary_blocks(std::uint32_t noiob) {
  return std::has_single_bit(noiob) ? noiob : std::uint64_t{1} << 63;
}

}  // namespace

Submit Channel::read(std::uint64_t lba, const dma::Slice& into, Callback done, void* context) noexcept {
  return transfer({IoOpcode::read, 0}, lba, into, done, context);
}

Submit Channel::write(std::uint64_t lba, const dma::Slice& from, Callback done, void* context, bool fua) noexcept {
  return transfer({IoOpcode::write, nvme::rw::kFua.put(0u, fua ? 1 : 0)}, lba, from, done, context);
}

// The ordinary request: one command, at most two pages. Everything else, what is wrong with a request included, is the
// business of transfer_other(): so this needs no more than a glance at each.
inline Submit Channel::transfer(Operation operation, std::uint64_t lba, const dma::Slice& data, Callback done,
                                void* context) noexcept {
  if (takes_.load(std::memory_order_relaxed) != data.space || done == nullptr) [[unlikely]]
    return transfer_other(operation, lba, data, done, context);
  const std::uint64_t last = (data.size_bytes >> block_shift_) - 1;  // of the blocks; none: beyond everything
  const std::uint64_t page = data.iova & ~(nvme::kPageBytes - 1);
  const std::uint64_t last_page = (data.iova + data.size_bytes - 1) & ~(nvme::kPageBytes - 1);
  const bool ordinary = last < max_blocks_ && (data.size_bytes & block_mask_) == 0 && lba < ns_.block_count &&
                        last < ns_.block_count - lba && (lba & boundary_mask_) + last <= boundary_mask_ &&
                        (data.iova & 3) == 0 && last_page - page <= nvme::kPageBytes;
  if (!ordinary) [[unlikely]]
    return transfer_other(operation, lba, data, done, context);
  const nvme::Prps prps{data.iova, last_page == page ? 0 : last_page};
  return submit(operation, lba, static_cast<std::uint32_t>(last), done, context, [&](std::uint16_t) { return prps; })
             ? Submit::accepted
             : Submit::queue_full;
}

Submit Channel::transfer_other(Operation operation, std::uint64_t lba, const dma::Slice& data, Callback done,
                               void* context) noexcept {
  if (done == nullptr) return Submit::no_callback;
  if (const Submit may = check_memory(operation.opcode, data); may != Submit::accepted) return may;
  const std::uint64_t blocks = data.size_bytes >> block_shift_;
  if (blocks == 0 || (data.size_bytes & block_mask_) != 0) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if ((data.iova & 3) != 0) return Submit::misaligned;
  if (!live()) return refusal();
  if (blocks > max_blocks_ || blocks > to_boundary(lba)) return split(operation, lba, blocks, data, done, context);
  return send(operation, lba, static_cast<std::uint32_t>(blocks), data, done, context) ? Submit::accepted
                                                                                       : Submit::queue_full;
}

Submit Channel::readv(std::uint64_t lba, std::span<const dma::Slice> into, Callback done, void* context) noexcept {
  return transfer({IoOpcode::read, 0}, lba, into, done, context);
}

Submit Channel::writev(std::uint64_t lba, std::span<const dma::Slice> from, Callback done, void* context,
                       bool fua) noexcept {
  return transfer({IoOpcode::write, nvme::rw::kFua.put(0u, fua ? 1 : 0)}, lba, from, done, context);
}

inline Submit Channel::transfer(Operation operation, std::uint64_t lba, std::span<const dma::Slice> pieces,
                                Callback done, void* context) noexcept {
  if (done == nullptr) return Submit::no_callback;
  std::uint64_t bytes = 0;
  for (const dma::Slice& piece : pieces) {
    if (const Submit may = check_memory(operation.opcode, piece); may != Submit::accepted) return may;
    bytes += piece.size_bytes;
  }
  const std::uint64_t blocks = bytes >> block_shift_;
  if (blocks == 0 || blocks << block_shift_ != bytes || blocks > max_blocks_) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if (!live()) return refusal();
  if (queue_.full()) return Submit::queue_full;
  nvme::Prps prps;
  if (!nvme::build_prps(pieces, memory_.list(queue_.next_index()), prps)) return Submit::misaligned;
  (void)submit(operation, lba, static_cast<std::uint32_t>(blocks) - 1, done, context,
               [&](std::uint16_t) { return prps; });
  return Submit::accepted;
}

// One read or write of any number of pages.
bool Channel::send(Operation operation, std::uint64_t lba, std::uint32_t blocks, const dma::Slice& data, Callback done,
                   void* context) noexcept {
  return submit(operation, lba, blocks - 1, done, context,
                [&](std::uint16_t index) { return nvme::build_prps(data.iova, data.size_bytes, memory_.list(index)); });
}

// One read, write or write zeroes of `nlb` + 1 blocks. `prps(index)` tells them, and has the list of that record to
// itself.
template <typename MakePrps>
inline bool Channel::submit(Operation operation, std::uint64_t lba, std::uint32_t nlb, Callback done, void* context,
                            const MakePrps& prps) noexcept {
  return queue_.submit(done, context, deadline_ms_, [&](nvme::Command& slot, std::uint16_t index) {
    const nvme::Prps where = prps(index);
    slot.cdw0 = static_cast<std::uint32_t>(operation.opcode);
    slot.nsid = ns_.nsid;
    slot.cdw2 = slot.cdw3 = 0;
    slot.mptr = 0;
    slot.prp1 = where.prp1;
    slot.prp2 = where.prp2;
    slot.cdw10 = static_cast<std::uint32_t>(lba);
    slot.cdw11 = static_cast<std::uint32_t>(lba >> 32);
    slot.cdw12 = operation.flags | nlb;
    slot.cdw13 = slot.cdw14 = slot.cdw15 = 0;
  });
}

Submit Channel::flush(Callback done, void* context) noexcept {
  if (done == nullptr) return Submit::no_callback;
  if (!live()) return refusal();
  // As a request of one piece whose status is there already.
  if (cache_lost_) return split({IoOpcode::flush, 0}, 0, 1, {}, done, context, kCacheLost);
  return send_flush(done, context) ? Submit::accepted : Submit::queue_full;
}

bool Channel::send_flush(Callback done, void* context) noexcept {
  return queue_.submit(done, context, deadline_ms_, [&](nvme::Command& slot, std::uint16_t) {
    slot = {};
    slot.cdw0 = static_cast<std::uint32_t>(IoOpcode::flush);
    slot.nsid = ns_.nsid;
  });
}

Submit Channel::write_zeroes(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  if (done == nullptr) return Submit::no_callback;
  if (ns_.write_zeroes_blocks == 0) return Submit::unsupported;
  if (blocks == 0) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if (!live()) return refusal();
  return split({IoOpcode::write_zeroes, 0}, lba, blocks, {}, done, context);
}

Submit Channel::deallocate(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  if (done == nullptr) return Submit::no_callback;
  if (ns_.deallocate_blocks == 0) return Submit::unsupported;
  if (blocks == 0) return Submit::bad_size;
  if (!in_range(lba, blocks)) return Submit::out_of_range;
  if (!live()) return refusal();
  return split({IoOpcode::dataset_management, 0}, lba, blocks, {}, done, context);
}

// One Dataset Management command, of at most ns_.deallocate_blocks.
bool Channel::send_ranges(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept {
  return queue_.submit(done, context, deadline_ms_, [&](nvme::Command& slot, std::uint16_t index) {
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

Submit Channel::split(Operation operation, std::uint64_t lba, std::uint64_t blocks, const dma::Slice& data,
                      Callback done, void* context, nvme::Status status) noexcept {
  Split* const split = splits_.take();
  if (split == nullptr) return Submit::queue_full;
  *split = {this, done, context, lba, blocks, data, operation, 0, false, status};
  send_pieces(*split);
  if (split->in_flight != 0) return Submit::accepted;
  splits_.give_back(split);
  return Submit::queue_full;
}

// One piece at least, so that it goes on; more while others have their share of the queue.
void Channel::send_pieces(Split& split) noexcept {
  while (split.blocks_left != 0 && (split.in_flight == 0 || queue_.in_flight() < split_depth_)) {
    const std::uint64_t blocks = std::min(split.blocks_left, largest_piece(split));
    if (!send_piece(split, blocks)) return;
    ++split.in_flight;
    split.lba += blocks;
    split.blocks_left -= blocks;
  }
}

bool Channel::send_piece(Split& split, std::uint64_t blocks) noexcept {
  const auto count = static_cast<std::uint32_t>(blocks);
  switch (split.operation.opcode) {
    case IoOpcode::flush:
      return send_flush(on_piece, &split);
    case IoOpcode::dataset_management:
      return send_ranges(split.lba, blocks, on_piece, &split);
    case IoOpcode::write_zeroes:
      return submit(split.operation, split.lba, count - 1, on_piece, &split,
                    [](std::uint16_t) { return nvme::Prps{0, 0}; });
    default: {
      const std::uint64_t bytes = blocks << block_shift_;
      if (!send(split.operation, split.lba, count, split.data.part(0, bytes), on_piece, &split)) return false;
      split.data = split.data.part(bytes, split.data.size_bytes - bytes);  // empty after the last one
      return true;
    }
  }
}

std::uint64_t Channel::largest_piece(const Split& split) const noexcept {
  switch (split.operation.opcode) {
    case IoOpcode::flush:
      return 1;
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
  split.reached |= status.may_have_reached_media();
  if (!status.ok()) {
    if (split.status.ok()) split.status = status;
    split.blocks_left = 0;  // what was not sent is not sent any more
  }
  // The command that has just been answered left a free slot: the last piece in flight always finds one for the next.
  split.channel->send_pieces(split);
  if (split.in_flight != 0) return;
  Split finished = split;
  finished.channel->splits_.give_back(&split);
  if (finished.operation.opcode == IoOpcode::flush) finished.channel->told_of_lost_cache();
  if (finished.reached && !finished.status.ok()) finished.status = finished.status.having_reached_media();
  finished.done(finished.context, finished.status);
}

void Channel::ring() noexcept {
  // Not the doorbell of a queue that is gone: the next poll sees to what was submitted to it.
  if (live() && works_in(nvme::Pulse{pulse_->load(std::memory_order_acquire)})) queue_.ring();
}

unsigned Channel::poll(unsigned limit) noexcept {
  // Acquire: pairs with Controller::publish(); a new epoch means that the controller was disabled before.
  const std::uint64_t word = pulse_->load(std::memory_order_acquire);
  if (word != seen_pulse_ || !live()) [[unlikely]]
    return poll_changed({word}, limit);
  return poll_queue(limit);
}

unsigned Channel::wait(std::uint32_t timeout_ms, unsigned limit) noexcept {
  unsigned answered = poll(limit);
  if (answered != 0 || in_flight() == 0 || !controller_.opened_here()) return answered;
  Clock& clock = controller_.clock();
  const std::uint64_t start_ns = clock.now_ns();
  const std::uint64_t timeout_ns = timeout_ms * kNsPerMs;
  for (std::uint64_t passed_ns = 0; passed_ns < timeout_ns; passed_ns = clock.now_ns() - start_ns) {
    const bool sleeps = wait_ == Wait::interrupt || (wait_ == Wait::adaptive && passed_ns >= kSpinNs);
    // Emptied before the look, so that what comes after the look wakes us.
    if (sleeps) interrupt_->drain();
    answered = poll(limit);
    if (answered != 0 || in_flight() == 0) return answered;
    if (sleeps) {
      (void)interrupt_->wait(std::min(timeout_ns - passed_ns, kLongestSleepMs * kNsPerMs));
    } else if (wait_ == Wait::monitor) {
      queue_.wait_for_completion(wait_for_write);
    } else {
      spin_pause();
    }
  }
  return poll(limit);
}

nvme::IoQueue Channel::description() noexcept {
  nvme::IoQueue queue{qid_, memory_.entries(), memory_.submissions_iova(), memory_.completions_iova()};
  queue.ns = {ns_.nsid, block_shift_, std::to_array(ns_.nguid), std::to_array(ns_.eui64), std::to_array(ns_.uuid)};
  queue.knows_volatile_cache = ns_.volatile_write_cache;
  queue.max_transfer_bytes = max_transfer_bytes();
  queue.revocation = &revocation_;
  if (interrupt_ != nullptr) queue.interrupt_vector = vector_;
  return queue;
}

Result<std::unique_ptr<Channel>> Channel::create(nvme::Controller& controller, const Namespace& ns,
                                                 const ChannelOptions& options) {
  if (const auto can = can_wait(options.wait); !can) return std::unexpected(can.error());
  const std::uint32_t most_entries = controller.max_queue_entries();
  if (most_entries < 2) return fail("the controller's queues hold one entry (CAP.MQES 0)", "it can do no I/O");
  std::uint32_t depth = std::clamp<std::uint32_t>(options.depth, 1, nvme::QueuePair::kMaxDepth);
  depth = std::min(depth, most_entries - 1);
  const std::uint32_t transfer_bytes = largest_transfer(controller, ns, options);
  if (transfer_bytes == 0) {
    if (const std::uint64_t mdts = controller.max_transfer_bytes(); mdts != 0 && mdts < ns.block_size_bytes) {
      return fail(fmt::format("a block has {} bytes, and the drive takes {} in one command (its MDTS)",
                              ns.block_size_bytes, mdts),
                  "no request fits: format it with smaller blocks, which erases it");
    }
    return fail(
        fmt::format("a block has {} bytes, more than one command may carry (max_transfer_bytes)", ns.block_size_bytes),
        "allow larger transfers");
  }
  const auto qid = controller.take_queue_id();
  if (!qid) return std::unexpected(qid.error());
  const auto refused = [&](const Error& why) {
    controller.release_queue(*qid);
    return std::unexpected(why);
  };
  const auto doorbells = controller.doorbells(*qid);
  if (!doorbells) return refused(doorbells.error());
  std::uint32_t entries = depth + 1;
  if (doorbells->submission.wants_long_ring()) entries = std::max(entries, std::min(kLongRingEntries, most_entries));
  auto memory = nvme::QueueMemory::allocate(*controller.space(), entries, depth,
                                            std::max(1u, nvme::prp_list_pages(transfer_bytes)));
  if (!memory) return refused(memory.error());
  auto takes = vfio::OwnWord::create(kTakesNothing);
  if (!takes) return refused(takes.error());
  std::unique_ptr<Channel> channel(
      new Channel(controller, *qid, *doorbells, std::move(*memory), ns, transfer_bytes, options, std::move(*takes)));
  if (options.wait == Wait::adaptive || options.wait == Wait::interrupt) {
    const auto interrupt = controller.interrupt(*qid);
    if (!interrupt) return std::unexpected(interrupt.error());
    channel->vector_ = interrupt->vector;
    channel->interrupt_ = interrupt->eventfd;
  }
  channel->cache_losses_ = controller.told_cache_losses();
  const auto epoch = controller.create_queue(channel->description());
  if (!epoch) return std::unexpected(epoch.error());
  channel->epoch_ = *epoch;
  channel->tell_of_lost_cache();
  channel->set_live(true);
  return channel;
}

Channel::Channel(nvme::Controller& controller, std::uint16_t qid, nvme::Doorbells doorbells, nvme::QueueMemory memory,
                 const Namespace& ns, std::uint32_t max_transfer_bytes, const ChannelOptions& options,
                 vfio::OwnWord takes)
    : pulse_(&controller.pulse()),
      seen_pulse_(pulse_->load(std::memory_order_acquire)),
      takes_(*takes),
      qid_(qid),
      block_shift_(static_cast<unsigned>(std::countr_zero(ns.block_size_bytes))),
      block_mask_(ns.block_size_bytes - 1),
      max_blocks_(max_transfer_bytes >> block_shift_),
      deadline_ms_(std::min(options.timeout_ms, kLongestTimeoutMs) + 2 * kMaxTickStepMs),
      boundary_blocks_(boundary_blocks(ns.boundary_blocks)),
      boundary_mask_(boundary_blocks_ - 1),
      ns_(ns),
      memory_(std::move(memory)),
      queue_(memory_.make_queue(doorbells.submission, doorbells.completion)),
      splits_(queue_.depth()),
      takes_word_(std::move(takes)),
      split_depth_(queue_.depth() - share_of_others(queue_.depth())),
      space_(controller.space()->id()),
      controller_(controller),
      wait_(options.wait),
      reissue_writes_(options.reissue_writes),
      timeout_ms_(deadline_ms_) {}

Channel::~Channel() {
  if (live()) controller_.parked();
  controller_.release_queue(qid_);
}

}  // namespace pollux
