// An NVMe controller: brought up, identified, reset and shut down; the admin queue, and the memory and numbers of the
// I/O queues. Slow changes of state are machines that advance by step() (transition.hpp); the blocking calls here are
// bounded loops over them.
//
// Safe from any thread: a lock guards the admin queue and the state. The owner of an I/O queue never waits for that
// lock: it learns of a reset from pulse(), one atomic word. NVMe base 2.0c, 3.5 (initialisation), 3.6 (shutdown), 3.7
// (resets).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "pollux/dma/space.hpp"
#include "pollux/driver/controller/admin_queue.hpp"
#include "pollux/driver/controller/event.hpp"
#include "pollux/driver/controller/namespace_identity.hpp"
#include "pollux/driver/controller/quirks.hpp"
#include "pollux/driver/controller/registers.hpp"
#include "pollux/driver/controller/shadow_doorbells.hpp"
#include "pollux/driver/controller/transition.hpp"
#include "pollux/driver/spec/field.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/device.hpp"
#include "pollux/vfio/eventfd.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux::nvme {

// What the controller publishes to the owners of its queues, in one word: an epoch, which grows with each reset; how
// far the present reset is; and a coarse clock.
struct Pulse {
  enum class Phase : std::uint8_t {
    up,        // queues may be made, and those made in this epoch work
    stopping,  // a reset begins: keep away from the doorbells; what is in flight may still reach memory
    down,      // disabled: nothing in flight reaches memory any more
    gone,      // down, and nothing is under way that would bring it up: shut down, or lost and cut off
  };
  std::uint64_t word = 0;

  static constexpr Field kTick{0, 32}, kPhase{32, 2}, kEpoch{34, 30};
  static constexpr Pulse make(std::uint64_t epoch, Phase phase, std::uint64_t tick_ms) {
    return {kEpoch.put(kPhase.put(kTick.put(std::uint64_t{0}, tick_ms), static_cast<std::uint64_t>(phase)), epoch)};
  }
  constexpr std::uint64_t epoch() const { return kEpoch.of(word); }
  constexpr Phase phase() const { return static_cast<Phase>(kPhase.of(word)); }
  constexpr std::uint32_t tick_ms() const { return static_cast<std::uint32_t>(kTick.of(word)); }
};

// What becomes of a channel whose namespace changes, in a word that the channel and the controller share.
enum class Revocation : std::uint8_t {
  none,
  wanted,  // by the controller: the owner shall keep away from its doorbells
  parked,  // by the owner: it does
  done,    // by the controller: the queue is deleted, and nothing of it reaches memory any more
};

// What the controller is told of an I/O queue pair.
struct IoQueue {
  std::uint16_t qid;
  std::uint32_t entries;  // of either ring
  vfio::Iova submissions_iova;
  vfio::Iova completions_iova;
  std::optional<std::uint16_t> interrupt_vector = std::nullopt;  // MSI-X; nothing: polled, it signals nobody
  std::uint32_t max_transfer_bytes = 0;                          // of its largest command
  std::atomic<Revocation>* revocation = nullptr;                 // the owner's, until its queue id is released
  NamespaceIdentity ns = {};         // what its commands mean; the controller is given up if a reset brings another one
  bool knows_volatile_cache = true;  // the owner expects a volatile write cache, if there is one
};

// What wakes the owner of an I/O queue pair.
struct QueueInterrupt {
  std::uint16_t vector;  // MSI-X
  const vfio::Eventfd* eventfd;
};

// An I/O queue pair's own.
struct Doorbells {
  Doorbell submission;
  Doorbell completion;
};

// What a reset reaches beyond the controller itself.
enum class ResetReach : std::uint8_t {
  controller,  // CC.EN: queues and features are lost (NVMe base 2.0c, 3.7.2)
  function,    // the PCI function, with everything that its firmware keeps of it (function level reset)
  bus,         // the slot or bus that the function is on, with every other function there (hot reset)
};

class Controller {
 public:
  struct Wants {
    std::uint16_t io_queues = 1;   // queue pairs to ask for, at least 1
    bool shadow_doorbells = true;  // where the controller offers them
    Quirks quirks = {};            // beside those of the drive's kind
    std::uint32_t away_ms = 0;     // how long a device that may come back may be away before the controller is lost
  };

  // Takes the device over and brings the controller up.
  // Errors: a controller that pollux does not drive (pages larger than 4 KiB, no command set, other entry sizes),
  // one that is gone or never ready, admin commands that fail. One that grants no I/O queue is none: then channels
  // alone are refused.
  static Result<std::unique_ptr<Controller>> create(std::unique_ptr<vfio::Device> device,
                                                    std::shared_ptr<dma::Space> space, Clock& clock,
                                                    const Wants& wants);

  // Shuts down if that was not done, and gives the device back.
  ~Controller();

  // Each is bounded: by CAP.TO (or CRTO), by RTD3E and kAdminTimeoutMs. Error of a reset that reaches further than the
  // controller: it could not be made; the controller was reset then, and works. After shutdown() a reset is refused.
  Result<void> reset(ResetReach reach = ResetReach::controller);
  Result<void> shutdown();

  // The administrator's turn: looks whether the controller is alive, moves the coarse clock, aborts what an owner asked
  // to have aborted, resets when an owner has asked for it or the link has reported an error, takes what event the
  // controller reports, gives the device back when the machine wants it (somebody unbinds it, or it is being removed),
  // and calls for one that is away and may come back. Cheap enough for every few milliseconds, and waits for nothing
  // but a reset or the shutdown of a device that is wanted back, for what a namespace is after it has changed, and for
  // one that is away; if another thread is in a call it returns at once. Error: the controller is lost; every owner is
  // told to stop.
  Result<void> poll();

  // The oldest of the events that poll() has collected, once; nothing while another thread is in a call. At most
  // kMaxEvents wait: the next one takes the place of the oldest. What an event means for open channels is seen to
  // whether somebody takes it or not.
  std::optional<Event> take_event();
  static constexpr std::size_t kMaxEvents = 64;

  // False in a child that was forked: there every call that would reach the controller is an error, or does nothing.
  bool opened_here() const noexcept { return opener_.is_this_process(); }

  // Tells this controller from every other that the process opens, before or after.
  std::uint64_t id() const { return id_; }

  // Facts, from Identify and the registers at the last bring-up: a reset may activate other firmware. One that offers
  // less than open channels use then is lost, and so is another drive.
  IdentifyController identity() const;
  std::uint64_t cap() const;
  std::uint32_t version() const;
  std::string model() const;
  std::string serial() const;
  std::string firmware() const;
  std::uint64_t max_transfer_bytes() const;  // MDTS; 0: no limit
  std::uint32_t max_queue_entries() const;   // CAP.MQES + 1
  // Queue pairs that the controller granted. 0: none; admin commands work all the same.
  std::uint16_t io_queue_limit() const;
  bool uses_shadow_doorbells();
  bool supports(std::uint16_t oncs_bit) const;
  Quirks quirks() const { return quirks_; }  // of its kind, and those that were asked for
  bool knows_command_sets() const;           // more than the NVM command set: CAP.CSS
  bool describes_namespaces() const;         // answers CNS 03h: since NVMe 1.3, and where it knows several command sets

  // Sends an admin command and waits, at most `timeout_ms`: a Format may want minutes. `data`: what the controller
  // returns or is given, at most one page. Meanwhile poll() has nothing to do and returns at once; the command is given
  // up, with an Error, where an I/O command needs a reset or the machine wants the drive. Channels of a namespace that
  // the command formats, sanitizes, deletes or detaches are stopped before it is sent, for good (namespace_changed). An
  // error status of the controller is a Result with that status, not an Error. A Set Features that succeeded is made
  // again after each reset, at most kMaxSettings different ones; not those that pollux owns (queues, host memory
  // buffer), and not what means nothing then (timestamp, an interrupt vector's configuration).
  static constexpr std::size_t kMaxSettings = 64;
  Result<AdminResult> admin(const Command& command, std::span<std::byte> data = {},
                            DataDirection direction = DataDirection::none, std::uint32_t timeout_ms = kAdminTimeoutMs);

  // For people and tools. Error: gone.
  Result<std::uint32_t> read_register32(std::uint32_t offset);
  vfio::Device& device() { return *device_; }
  const std::shared_ptr<dma::Space>& space() const { return space_; }
  Clock& clock() const { return clock_; }

  // For the owners of I/O queues.
  const std::atomic<std::uint64_t>& pulse() const { return pulse_; }
  Result<std::uint16_t> take_queue_id();           // error: all granted queues are in use
  Result<Doorbells> doorbells(std::uint16_t qid);  // error: they lie outside BAR0
  // The interrupt of this queue, for IoQueue and for its owner to sleep on. The first call turns MSI-X on, with a
  // vector for each queue, or as many as the device has: queues share them then, and where there is one vector they
  // share that with the admin queue. Each owner hears every interrupt of its vector. Valid as long as the controller.
  // Errors: the device has no MSI-X, or signals no eventfds; no descriptor left.
  Result<QueueInterrupt> interrupt(std::uint16_t qid);
  // Completion queue first, then the submission queue. Returns the epoch in which it was made. Error, besides what the
  // controller refuses: the namespace is not what the owner was told, as after a Format.
  Result<std::uint64_t> create_queue(const IoQueue& queue);
  // Like create_queue(), for an owner that must not wait for others: nothing if the lock is taken.
  std::optional<Result<std::uint64_t>> try_create_queue(const IoQueue& queue);
  // Gives the queue id back. If the controller may know the queue, it is deleted, or the controller reset or cut off:
  // afterwards nothing reaches the queue's memory.
  void release_queue(std::uint16_t qid) noexcept;
  // Wanted of the next poll(), if the controller was not reset since `epoch`.
  void ask_for_reset(std::uint64_t epoch) noexcept { raise(reset_wanted_, epoch); }
  bool reset_is_wanted() const noexcept { return reset_wanted_.load(std::memory_order_relaxed) == epoch(); }
  // Wanted of the next poll(), if the controller was not reset since `epoch`: an Abort of this command, bounded by
  // kAbortTimeoutMs. False: another one waits for that.
  bool ask_for_abort(std::uint64_t epoch, std::uint16_t qid, std::uint16_t cid) noexcept;
  static constexpr std::uint32_t kAbortTimeoutMs = 2'000;
  // The controller has answered that it did not abort this command: it ends by itself, and soon, or never.
  bool abort_was_refused(std::uint64_t epoch, std::uint16_t qid, std::uint16_t cid) const noexcept {
    return abort_refused_.load(std::memory_order_relaxed) == LateCommand::make(epoch, qid, cid);
  }
  // How many resets there were that may have lost the volatile write cache: all but those that we made of a controller
  // that we found as we had left it. A fatal error, a loss of power, a reset of the subsystem or by somebody else may,
  // a device that was away, and a reset that followed one which did not help. It changes before the epoch does.
  std::uint32_t cache_losses() const noexcept { return cache_losses_.load(std::memory_order_relaxed); }
  // Up to which of them some owner has been told. A channel that is opened tells of those after it: who wrote may have
  // closed his own.
  std::uint32_t told_cache_losses() const noexcept { return told_losses_.load(std::memory_order_relaxed); }
  void told_of_cache_losses(std::uint32_t losses) noexcept { raise(told_losses_, losses); }
  // The owner of a queue that was created has seen that a reset begins, and rings no doorbell any more.
  void parked() noexcept { live_queues_.fetch_sub(1, std::memory_order_release); }

 private:  // but for the constructor and start(), with the lock held
  Controller(std::unique_ptr<vfio::Device> device, std::shared_ptr<dma::Space> space, Clock& clock, const Wants& wants,
             vfio::OwnWord pulse);
  Result<void> start();
  static constexpr std::uint64_t kLookNs = 100 * kNsPerMs;  // between two looks around while something is waited for
  template <typename Machine>
  Result<void> run(Machine& machine);
  Result<void> bring_up();
  Result<void> disable();
  std::unique_lock<std::mutex> lock_facts() const;
  Result<void> take_facts(const BringUp::Facts& facts);
  Result<void> still_fits(const BringUp::Facts& facts) const;
  bool describes_namespaces_locked() const;
  std::uint64_t transfer_limit_locked() const;
  Result<void> check_namespaces();
  Result<bool> is_same_namespace(const NamespaceIdentity& ns);
  Result<void> still_as_told(const IoQueue& queue);
  std::uint32_t namespace_changed_by(const Command& command) const;
  static bool activates_firmware(const Command& command);
  struct QueueId;
  void revoke(const std::function<bool(const QueueId&)>& concerned);
  void revoke_channels(std::uint32_t nsid);
  void revoke_changed();
  Result<Status> identify_locked(Cns cns, std::uint32_t nsid, std::span<std::byte> into);
  Result<std::vector<NsId>> descriptors_locked(std::uint32_t nsid);
  Result<void> listen();
  Result<void> reset_locked(ResetReach reach = ResetReach::controller);
  Result<void> begin_anew();
  Result<void> shut_down_locked();
  Result<std::uint64_t> create_queue_locked(const IoQueue& queue);
  Result<void> turn_interrupts_on();
  Result<void> delete_queue(std::uint16_t qid);  // submission queue first
  Result<void> delete_ring(AdminOpcode opcode, std::uint16_t qid);
  Result<AdminResult> admin_locked(const Command& command, std::span<std::byte> data, DataDirection direction,
                                   std::uint32_t timeout_ms = kAdminTimeoutMs);
  Result<void> room_for_setting(const Command& command) const;
  void forget_settings(const Command& command);
  void remember_setting(const Command& command, std::span<const std::byte> data, DataDirection direction);
  Result<void> restore_settings();
  Result<AdminResult> await_answer();  // of the admin command in flight
  Result<void> look_while_waiting();
  bool is_paused(std::uint32_t status);
  bool is_wanted_back();
  void abort_late();
  void collect_event();
  void finish_event(const Result<AdminResult>& log);
  void drop_event();
  Result<void> go_away(const Error& why);
  Result<void> come_back();
  Result<void> drop(const Error& why);
  std::unexpected<Error> give_up(const Error& why) noexcept;
  std::unexpected<Error> give_back(const Error& why) noexcept;
  bool part_with_memory() noexcept;
  bool keep_reachable_memory() noexcept;
  void publish_reset(Pulse::Phase phase) noexcept;
  void announce() noexcept;
  void publish(Pulse::Phase phase) noexcept;
  void publish_away() noexcept;
  void stop_owners() noexcept;
  // Several threads may; the highest stays.
  template <typename T>
  static void raise(std::atomic<T>& highest, T to) noexcept {
    T last = highest.load(std::memory_order_relaxed);
    while (last < to && !highest.compare_exchange_weak(last, to, std::memory_order_relaxed)) {
    }
  }
  std::uint64_t epoch() const noexcept { return Pulse{pulse_.load(std::memory_order_relaxed)}.epoch(); }
  std::unexpected<Error> error(const Error& why) const;
  std::unexpected<Error> lost() const;
  std::unexpected<Error> shut_down_before() const { return error({"the drive was shut down", "open it anew"}); }
  std::unexpected<Error> not_ours() const { return vfio::not_the_opener(device_->address().text); }

  const std::uint64_t id_;
  const vfio::Opener opener_;
  std::shared_ptr<dma::Space> space_;  // outlives the device
  std::unique_ptr<vfio::Device> device_;
  Clock& clock_;
  const Wants wants_;

  mutable std::mutex mutex_;  // guards what follows, but for the atomics
  std::optional<Registers> registers_;
  std::unique_ptr<AdminQueue> admin_;
  std::optional<ShadowDoorbells> shadows_;
  bool uses_shadows_ = false;  // since the last bring-up
  Quirks quirks_;
  std::uint64_t cap_ = 0;
  std::uint32_t version_ = 0;
  IdentifyController identity_{};
  std::uint16_t io_queue_limit_ = 0;
  Status queues_refused_{};  // why there is none
  struct QueueId {
    bool taken = false;
    std::uint64_t epoch = 0;  // in which the controller may have come to know the queue; 0: in none
    NamespaceIdentity ns;     // that it was made for
    std::atomic<Revocation>* revocation = nullptr;  // nullptr: nobody's, or revoked
    std::uint32_t entries = 0;
    std::uint32_t max_transfer_bytes = 0;
  };
  std::vector<QueueId> queue_ids_;  // by qid − 1
  // A Set Features that the application made.
  struct Setting {
    Command command;
    std::vector<std::byte> data;
    DataDirection direction;
  };
  std::vector<Setting> settings_;
  std::deque<Event> events_;
  std::optional<Event> event_to_read_;                  // its log page is on its way
  bool namespaces_may_differ_ = false;                  // an event has said so
  std::uint64_t aborting_ = 0;                          // the LateCommand that an Abort in flight names
  std::vector<vfio::Eventfd> eventfds_;                 // by vector; none: MSI-X is off
  std::deque<std::optional<vfio::Eventfd>> listeners_;  // by qid − 1, of those that share a vector and sleep
  std::optional<vfio::Eventfd> wanted_back_;            // VFIO's request: the machine wants the device
  std::optional<vfio::Eventfd> link_error_;             // an uncorrectable error (PCI Express AER)
  enum class State : std::uint8_t { down, up, away, lost } state_ = State::down;
  Error lost_because_;
  std::uint64_t away_since_ns_ = 0;    // 0: it is not, or was up since
  std::uint64_t call_next_ns_ = 0;     // the device, if it is away
  std::uint64_t pause_looked_ns_ = 0;  // 0: it is not paused
  std::uint64_t pause_ended_ns_ = 0;
  std::uint64_t paused_ns_ = 0;  // in this pause, with those shortly before it
  bool has_had_queues_ = false;
  bool is_answered_ = false;  // the last bring-up: the controller works, whether it is ours or not
  bool is_emptied_ = false;   // its registers, by a reset that we made and that it has not come up from
  bool is_wanted_back_ = false;
  bool keeps_device_ = false;       // for ever: it may still reach memory
  bool cache_may_be_lost_ = false;  // since the controller was up last

  vfio::OwnWord pulse_word_;  // a child that was forked finds no epoch in it
  std::atomic<std::uint64_t>& pulse_ = *pulse_word_;
  std::atomic<unsigned> live_queues_ = 0;        // created, and their owners not parked
  std::atomic<std::uint64_t> reset_wanted_ = 0;  // the epoch that shall end
  // A command that its owner wants aborted, in one word; 0: none.
  struct LateCommand {
    static constexpr Field kCid{0, 16}, kQid{16, 16}, kEpoch{32, 30};
    static constexpr std::uint64_t make(std::uint64_t epoch, std::uint16_t qid, std::uint16_t cid) {
      return kCid.put(kQid.put(kEpoch.put(std::uint64_t{0}, epoch), qid), std::uint64_t{cid});
    }
  };
  std::atomic<std::uint64_t> abort_wanted_ = 0;
  std::atomic<std::uint64_t> abort_refused_ = 0;
  std::atomic<std::uint32_t> cache_losses_ = 0;
  std::atomic<std::uint32_t> told_losses_ = 0;
};

}  // namespace pollux::nvme
