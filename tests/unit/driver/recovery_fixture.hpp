// A drive of the software controller's whose commands meet one fault, on a clock that runs faster than the wall's.
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <thread>

#include "pollux/driver/block/block.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"

namespace pollux {

// Time that runs faster than the wall's, so that a bound of 30 s takes a second and a half, and
// one of 2 s still a tenth: beside other tests a thread may have to wait for the processor as long as that.
class FastClock final : public Clock {
 public:
  std::uint64_t now_ns() override { return steady_clock().now_ns() * kFactor; }
  void pause_ns(std::uint64_t ns) override { steady_clock().pause_ns(ns / kFactor); }

 private:
  static constexpr std::uint64_t kFactor = 20;
};

// Does one thing to commands with one opcode, on the admin queue or on the others, as often as it is told.
struct Fault final : softnvme::FaultHook {
  Fault(bool on_admin_queue, unsigned the_opcode, softnvme::FetchFault::Kind what)
      : admin(on_admin_queue), opcode(the_opcode), kind(what) {}

  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override {
    const bool meant = (sqid == 0) == admin && nvme::cdw0::kOpcode.of(command.cdw0) == opcode;
    if (meant) ++seen;
    if (!meant || left == 0) return {};
    --left;
    return {kind, status, 0};
  }
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion&) override {
    return sqid != 0 && double_completions ? softnvme::PostFault::twice : softnvme::PostFault::none;
  }

  bool admin;
  unsigned opcode;
  softnvme::FetchFault::Kind kind;
  nvme::Status status{};  // of Kind::answer
  std::atomic<unsigned> left = 1;
  std::atomic<unsigned> seen = 0;  // such commands, whatever became of them
  std::atomic<bool> double_completions = false;
};

struct SoftDrive {
  explicit SoftDrive(std::string_view soft_address = "soft:size=1MiB") : address(soft_address) {}

  const std::string address;
  FastClock clock;
  vfio::Scheme scheme = softnvme::scheme();
  std::unique_ptr<Drive> drive = *Drive::open(address, {.schemes = {&scheme, 1}, .clock = &clock});
  Namespace ns = *drive->open_namespace();
  dma::Buffer buffer = *drive->allocate(4096);

  nvme::Controller& controller() { return drive->controller(); }
  std::uint64_t epoch() { return nvme::Pulse{controller().pulse().load()}.epoch(); }
  softnvme::SoftDevice& device() { return *softnvme::soft_device(drive->controller().device()); }
};

struct Answer {
  int times = 0;
  nvme::Status status;
  static void take(void* context, nvme::Status status) noexcept {
    auto* const answer = static_cast<Answer*>(context);
    ++answer->times;
    answer->status = status;
  }
};

// Polls both, as an application does, until the request is answered. False: not within a bound far beyond all others.
inline bool wait(SoftDrive& soft, Channel& channel, const Answer& answer) {
  const std::uint64_t end_ns = steady_clock().now_ns() + 20'000'000'000;
  while (answer.times == 0) {
    channel.poll();
    (void)soft.drive->poll();
    if (steady_clock().now_ns() > end_ns) return false;
  }
  return true;
}

// After a poll, which is what makes an owner notice a reset.
inline bool reads_again(SoftDrive& soft, Channel& channel) {
  channel.poll();
  Answer answer;
  const std::uint64_t end_ns = steady_clock().now_ns() + 20'000'000'000;
  while (channel.read(0, soft.buffer.slice(0, 512), Answer::take, &answer) != Submit::accepted) {
    channel.poll();
    if (steady_clock().now_ns() > end_ns) return false;
  }
  return wait(soft, channel, answer) && answer.status.ok();
}

inline bool aborted(const Answer& answer) {
  return answer.times == 1 && answer.status.code() == nvme::StatusCode::aborted_by_host;
}

inline bool untold(const Answer& answer) {
  return answer.times == 1 && answer.status.code() == nvme::StatusCode::host_pathing_error;
}

inline void fill(SoftDrive& soft, int byte) { std::memset(soft.buffer.slice().data, byte, 4096); }

inline bool holds(SoftDrive& soft, int byte) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(soft.buffer.slice().data);
  return std::all_of(bytes, bytes + 4096, [&](unsigned char each) { return each == byte; });
}

// The first page of the drive.
inline void put(SoftDrive& soft, Channel& channel, int byte) {
  fill(soft, byte);
  Answer answer;
  REQUIRE(channel.write(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, channel, answer));
  REQUIRE(answer.status.ok());
}

inline bool drive_holds(SoftDrive& soft, Channel& channel, int byte) {
  fill(soft, ~byte);
  Answer answer;
  REQUIRE(channel.read(0, soft.buffer.slice(), Answer::take, &answer) == Submit::accepted);
  REQUIRE(wait(soft, channel, answer));
  return answer.status.ok() && holds(soft, byte);
}

inline constexpr auto kRead = static_cast<unsigned>(nvme::IoOpcode::read);
inline constexpr unsigned kAlways = 1'000'000;

}  // namespace pollux
