// A channel to one namespace: a queue pair of its own, owned by one thread. Requests go in, callbacks come out of
// poll().
//
// A callback may submit; it may not poll or destroy the channel. Nothing on this path allocates, locks or enters the
// kernel. The way of an I/O: read() here, QueuePair::submit(), ring(); then poll() here, QueuePair::poll(), the
// callback.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "pollux/dma/space.hpp"
#include "pollux/driver/block/namespace.hpp"
#include "pollux/driver/block/split.hpp"
#include "pollux/driver/block/wait.hpp"
#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/controller/queue_memory.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux {

// void(void* context, nvme::Status) noexcept: called by poll(), on the owner's thread, exactly once for each request
// that was accepted.
using Callback = nvme::Callback;

// The answer to a submission. Only `accepted` leads to a callback.
enum class Submit : std::uint8_t {
  accepted,
  queue_full,    // nothing is wrong: poll, then try again
  out_of_range,  // LBA + length lies past the end of the namespace
  bad_size,      // zero, or not a multiple of the block size; several pieces: more than one command may carry
  misaligned,    // the buffer does not begin at a dword; several pieces: they do not meet at pages
  unsupported,   // the controller lacks this command
  stopped,       // the controller is being reset: poll, then try again
  // The namespace was formatted, sanitized, deleted or detached, or is another one now: open it anew, and the channel.
  namespace_changed,
  gone,  // the drive is lost or shut down, or refuses this channel's queue: nothing is taken before a reset;
         // or another process opened it, and this one was forked from that
  // The memory is not of this drive's space: of another drive's, or of none (a slice() or part() that was out of range,
  // a Buffer that was moved from).
  foreign_memory,
  read_only_memory,  // a read into memory that the drive may only read (registered as const)
  no_callback,       // a null Callback: nothing could be answered
};

struct ChannelOptions {
  std::uint16_t depth = 128;  // commands that may be in flight, 1 to 4095; lowered to what the controller's queues hold
  // The largest single command. 0: MDTS, or 2 MiB where the controller names no limit.
  std::uint32_t max_transfer_bytes = 0;
  // Until a command is late: the controller is asked to abort it, and kAbortGraceMs later it is reset. Noticed while
  // someone calls Drive::poll() every second; never earlier, and up to two seconds later.
  std::uint32_t timeout_ms = 30'000;
  Wait wait = Wait::poll;  // how wait() waits
  // Whether a write, write zeroes or deallocate that a reset has interrupted is sent again, as reads and flushes are,
  // rather than answered with "aborted by host" (one that the controller had not been told of always is). The
  // controller may have carried it out before the reset. If somebody has seen that by then and written over it, through
  // another channel or from another host, the second time undoes the later write. Choose it where nobody else writes to
  // these blocks before the callback.
  bool reissue_writes = false;
};

class Channel {
 public:
  // Deletes the queue pair. Requests in flight are dropped without a callback: drain before. Their buffers must live on
  // until this returns.
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Reads into.size_bytes, a multiple of the block size, from `lba` on. Longer than the controller takes at once:
  // split, answered once; the pieces leave a quarter of the depth to other requests. The memory must stay registered
  // until the callback.
  [[nodiscard]] Submit read(std::uint64_t lba, const dma::Slice& into, Callback done, void* context) noexcept;

  // `fua`: durable when answered.
  [[nodiscard]] Submit write(std::uint64_t lba, const dma::Slice& from, Callback done, void* context,
                             bool fua = false) noexcept;

  // The same into and from several pieces of memory, as one command: at most max_transfer_bytes() in all. Each piece
  // but the first begins at a page of 4 KiB, each but the last ends at one; else `misaligned`. The span is read before
  // the call returns.
  [[nodiscard]] Submit readv(std::uint64_t lba, std::span<const dma::Slice> into, Callback done,
                             void* context) noexcept;
  [[nodiscard]] Submit writev(std::uint64_t lba, std::span<const dma::Slice> from, Callback done, void* context,
                              bool fua = false) noexcept;

  // Makes every write that was answered before this call durable. Where the namespace has a volatile write cache, Write
  // Fault says that a reset may have lost it: writes that were answered before this answer, and that no earlier flush
  // has covered, may be gone, whichever channel made them: write them again, then flush. Each channel that was open
  // then is told once, by every flush that is in flight or that is submitted until the first of them is answered; and
  // so is the next channel that is opened, if none of them has told by then.
  [[nodiscard]] Submit flush(Callback done, void* context) noexcept;

  [[nodiscard]] Submit write_zeroes(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept;

  // Dataset Management with Deallocate: the blocks' content is no longer needed.
  [[nodiscard]] Submit deallocate(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept;

  // Tells the controller of everything submitted since the last ring() or poll(): one doorbell, or none.
  void ring() noexcept;

  // Rings, then answers what has completed, at most `limit` commands, and returns how many were answered. Waits for
  // nothing.
  //
  // After a reset it first answers what the controller had completed before it, then what may not be sent again, with
  // "aborted by host"; it makes the queue pair anew, which takes two admin commands, bounded as they are, and sends the
  // rest again, each with a new deadline. A command that kMaxReissues did not help is answered with "aborted by host",
  // and so is everything if the controller is lost or shut down, or if no queue could be made within `timeout_ms`; what
  // the controller was never told of, with "host pathing error": Status::may_have_reached_media() tells the two apart.
  // Where the reset may have lost the volatile write cache, a write that was not FUA and that had completed unseen is
  // "aborted by host" too, and so is a split one of which a piece had: their blocks may show old data.
  unsigned poll(unsigned limit = 64) noexcept;

  static constexpr int kMaxReissues = 3;                 // of a command
  static constexpr std::uint32_t kAbortGraceMs = 2'000;  // for an aborted command to end

  // Like poll(), but if there is nothing to answer it waits for something, in the way that was chosen when the channel
  // was made, at most `timeout_ms`. Returns at once while nothing is in flight. What must be done besides,
  // Drive::poll() above all, is the caller's between two calls: a reset that another thread makes is noticed within
  // kLongestSleepMs.
  unsigned wait(std::uint32_t timeout_ms, unsigned limit = 64) noexcept;

  static constexpr std::uint64_t kSpinNs = 20'000;  // before an adaptive channel sleeps
  static constexpr std::uint32_t kLongestSleepMs = 100;

  // Commands, those kept over a reset too: a split request may be several, and is at least one.
  unsigned in_flight() const noexcept { return queue_.in_flight(); }
  unsigned depth() const noexcept { return queue_.depth(); }
  const Namespace& ns() const noexcept { return ns_; }
  std::uint32_t max_transfer_bytes() const noexcept { return static_cast<std::uint32_t>(max_blocks_ << block_shift_); }

 private:
  friend class Drive;

  static Result<std::unique_ptr<Channel>> create(nvme::Controller& controller, const Namespace& ns,
                                                 const ChannelOptions& options);
  Channel(nvme::Controller& controller, std::uint16_t qid, nvme::Doorbells doorbells, nvme::QueueMemory memory,
          const Namespace& ns, std::uint32_t max_transfer_bytes, const ChannelOptions& options, vfio::OwnWord takes);

  [[gnu::always_inline]] Submit transfer(Operation operation, std::uint64_t lba, const dma::Slice& data, Callback done,
                                         void* context) noexcept;
  Submit transfer_other(Operation operation, std::uint64_t lba, const dma::Slice& data, Callback done,
                        void* context) noexcept;
  Submit transfer(Operation operation, std::uint64_t lba, std::span<const dma::Slice> pieces, Callback done,
                  void* context) noexcept;
  bool send(Operation operation, std::uint64_t lba, std::uint32_t blocks, const dma::Slice& data, Callback done,
            void* context) noexcept;
  template <typename MakePrps>
  [[gnu::always_inline]] bool submit(Operation operation, std::uint64_t lba, std::uint32_t nlb, Callback done,
                                     void* context, const MakePrps& prps) noexcept;
  bool in_range(std::uint64_t lba, std::uint64_t blocks) const noexcept {
    return lba <= ns_.block_count && blocks <= ns_.block_count - lba;
  }
  // `accepted`: a command with this opcode may name this memory.
  Submit check_memory(nvme::IoOpcode opcode, const dma::Slice& data) const noexcept {
    if (data.space == space_) return Submit::accepted;
    if (data.space != dma::only_read(space_)) return Submit::foreign_memory;
    return opcode == nvme::IoOpcode::write ? Submit::accepted : Submit::read_only_memory;
  }
  // The queue exists in the controller.
  bool live() const noexcept { return takes_.load(std::memory_order_relaxed) != kTakesNothing; }
  void set_live(bool live) noexcept { takes_.store(live ? space_ : kTakesNothing, std::memory_order_relaxed); }
  // Why nothing is taken while the queue is not there.
  Submit refusal() const noexcept { return controller_.opened_here() ? refusal_ : Submit::gone; }
  // Blocks from `lba` to the next boundary that no command should cross.
  std::uint64_t to_boundary(std::uint64_t lba) const noexcept { return boundary_blocks_ - (lba & boundary_mask_); }

  bool send_ranges(std::uint64_t lba, std::uint64_t blocks, Callback done, void* context) noexcept;
  Submit split(Operation operation, std::uint64_t lba, std::uint64_t blocks, const dma::Slice& data, Callback done,
               void* context, nvme::Status status = {}) noexcept;
  bool send_flush(Callback done, void* context) noexcept;
  void send_pieces(Split& split) noexcept;
  bool send_piece(Split& split, std::uint64_t blocks) noexcept;
  std::uint64_t largest_piece(const Split& split) const noexcept;  // blocks of the next command
  static void on_piece(void* context, nvme::Status status) noexcept;

  // Whether the queue pair that was made in `epoch_` is still there and may be rung.
  bool works_in(nvme::Pulse pulse) const noexcept {
    return pulse.epoch() == epoch_ && pulse.phase() == nvme::Pulse::Phase::up;
  }
  // The clock of the deadlines moves by at most this when it is looked at: if nobody called Drive::poll() for an hour,
  // no command is an hour old.
  static constexpr std::uint32_t kMaxTickStepMs = 1000;
  static constexpr std::uint32_t kDeadlineScanMs = 100;
  // A reset does not wait for long: where a callback took longer, the queue is gone meanwhile, and maybe what the rest
  // of its completions tell of (answer_completed()). A pulse that has changed is looked at by the next poll.
  unsigned poll_queue(unsigned limit) noexcept {
    return queue_.poll(
        limit, [pulse = pulse_, seen = seen_pulse_] { return pulse->load(std::memory_order_acquire) == seen; },
        [&] { return works_in(nvme::Pulse{pulse_->load(std::memory_order_acquire)}); });
  }
  unsigned poll_changed(nvme::Pulse pulse, unsigned limit) noexcept;
  unsigned notice(nvme::Pulse pulse) noexcept;
  unsigned end_revoked() noexcept;
  void park() noexcept;
  unsigned answer_completed() noexcept;
  void tell_of_lost_cache() noexcept;
  void told_of_lost_cache() noexcept;
  void check_deadlines(unsigned answered) noexcept;
  void revive(nvme::Pulse pulse) noexcept;
  // The answer of a flush behind which acknowledged writes may be gone.
  static constexpr nvme::Status kCacheLost = nvme::Status::from(nvme::StatusCode::write_fault, true);
  bool may_reissue(const nvme::Request& request) const noexcept;
  nvme::IoQueue description() noexcept;

  // Touched by every request.
  const std::atomic<std::uint64_t>* pulse_;
  std::uint64_t seen_pulse_;
  std::uint64_t epoch_ = 0;  // in which the queue pair was made, or refused
  // Whose memory a request may name now, in one word with whether the queue exists, and whether this is the process
  // that opened it: one comparison an I/O for all three.
  std::atomic<dma::SpaceId>& takes_;
  static constexpr dma::SpaceId kTakesNothing = 0;  // no space's id; and what a child that was forked finds
  std::uint32_t now_ms_ = 0;                        // this channel's coarse clock, for deadlines
  const std::uint16_t qid_;
  const unsigned block_shift_;
  const std::uint32_t block_mask_;
  const std::uint64_t max_blocks_;       // of one command with data
  std::uint32_t deadline_ms_;            // of a command that is submitted now
  const std::uint64_t boundary_blocks_;  // NOIOB, 2^n, or one that no request reaches
  const std::uint64_t boundary_mask_;
  const Namespace ns_;
  nvme::QueueMemory memory_;
  nvme::QueuePair queue_;

  // Touched by few.
  SplitPool splits_;
  const vfio::OwnWord takes_word_;
  const unsigned split_depth_;  // commands in flight, from which on a split sends no piece beside another of its own
  const dma::SpaceId space_;
  nvme::Controller& controller_;
  const Wait wait_;
  const vfio::Eventfd* interrupt_ = nullptr;  // of the queue, where the channel sleeps on it
  std::uint16_t vector_ = 0;                  // that signals it
  const bool reissue_writes_;
  // And two steps of the coarse clock that may come right after a submission and be of the time before it: one that the
  // owner has not seen yet, and one that Drive::poll() has not made yet.
  const std::uint32_t timeout_ms_;
  std::uint32_t kept_until_ms_ = 0;   // while the queue is not there: what is in flight waits no longer
  std::uint64_t refused_in_ = 0;      // the last epoch in which the controller refused the queue
  std::uint32_t retry_at_ms_ = 0;     // then
  bool unsettled_ = false;            // the queue is gone, and its rings were not looked at since
  Submit refusal_ = Submit::stopped;  // while it is not there
  std::atomic<nvme::Revocation> revocation_ = nvme::Revocation::none;
  bool cache_lost_ = false;         // and this channel's owner has not been told
  std::uint32_t cache_losses_ = 0;  // of the controller's, those that this channel knows
  std::uint32_t deadlines_checked_ms_ = 0;
  bool check_is_due_ = false;         // of the deadlines
  std::uint32_t checked_for_ms_ = 0;  // the time at which it was
  unsigned answered_since_due_ = 0;
};

}  // namespace pollux
