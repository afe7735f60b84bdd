// A controller whose every answer is the fuzzer's: registers, Identify data, log pages, completions, interrupts, and
// what it writes into memory that it was given. While the input says 0, or has ended, it does as a good one would, with
// softnvme's Identify data; so the driver gets as far as the input lets it. Device, address space and clock in one, and
// no thread: a command is carried out when its doorbell is rung, or, behind a shadow, when step() looks.
//
// Time passes where somebody waits, in steps so large that the longest bound is a few hundred of them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "input.hpp"
#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::fuzz {

class HostileController final : public Clock {
 public:
  // `honest`: until be_hostile() it reads nothing of the input but what the device is like.
  HostileController(Input& input, bool honest);
  ~HostileController() override;

  // For Drive::open("fuzz:"); of the one HostileController that there is.
  static vfio::Scheme scheme();

  void be_hostile() { honest_ = false; }

  // Looks at the shadow doorbells, and does something unasked if the input says so.
  void step();
  void raise_event(std::uint32_t dw0);  // answers the Asynchronous Event Request, if one waits

  std::uint64_t now_ns() override { return now_ns_ += kLookNs; }
  void pause_ns(std::uint64_t ns) override;

 private:
  class Space;
  class Device;

  struct Ring {
    std::uint64_t iova = 0;
    std::uint32_t entries = 0;  // 0: there is no such queue
    std::uint32_t position = 0;
    bool phase = true;  // of a completion queue
    std::uint32_t doorbell = 0;
  };
  struct Queue {
    Ring submissions;
    Ring completions;
  };

  std::byte* memory(std::uint64_t iova, std::uint64_t size_bytes);  // null: not all of it is mapped
  std::uint32_t read_register(std::uint32_t offset);
  void write_register(std::uint64_t offset, std::span<const std::byte> from);
  void configure(std::uint32_t cc);
  void ring_doorbell(std::uint64_t index, std::uint32_t value);
  void fetch(std::uint16_t qid);
  void execute(std::uint16_t qid, const nvme::Command& command);
  std::optional<std::uint32_t> admin(const nvme::Command& command);  // dword 0; nothing: it is answered later
  void create_or_delete(const nvme::Command& command);
  void identify(const nvme::Command& command);
  void put(const nvme::Command& command, std::span<const std::byte> page);
  void distort(const nvme::Command& command, std::uint8_t how);
  void complete(std::uint16_t qid, std::uint16_t cid, std::uint32_t dw0, std::uint16_t status);
  void scribble();
  void reset();
  void signal(unsigned index);

  // What a device is like, by bits of its first byte.
  static constexpr std::uint8_t kOddRegisters = 1, kOddRegion = 2, kShadows = 4, kOldVersion = 8, kMapped = 16,
                                kReturns = 32, kInterrupts = 64, kNoReset = 128;

  static constexpr std::uint64_t kLookNs = 20'000;
  static constexpr std::uint64_t kStepNs = 100'000'000;
  static constexpr std::uint64_t kStepWhileGoneNs = 5'000'000;  // so that the driver looks before its bounds are over
  static constexpr std::size_t kQueues = 8;

  Input& input_;
  bool honest_;
  bool endless_ = false;
  std::uint64_t now_ns_ = 1;

  // The device.
  std::uint64_t cap_ = 0;
  std::uint32_t version_ = 0, crto_ = 0, cc_ = 0, csts_ = 0, aqa_ = 0;
  std::uint64_t asq_ = 0, acq_ = 0;
  std::uint8_t traits_ = 0;
  enum class Mood : std::uint8_t { well, slow, stuck, fatal, all_ones, zeros } mood_ = Mood::well;
  unsigned looks_ = 0;  // at CSTS, while it is slow
  std::array<std::byte, 4096> config_{};
  std::vector<std::byte> bar_;  // the doorbells, where they may be mapped
  vfio::RegionInfo region_;
  std::array<int, 5> eventfds_{};  // vector 0 or 1 of each kind, our own; −1: none

  std::map<std::uint64_t, vfio::DmaMapping> mapped_;
  std::array<Queue, kQueues> queues_;
  std::uint64_t shadows_iova_ = 0;
  std::optional<std::uint16_t> event_request_;  // its CID
};

}  // namespace pollux::fuzz
