#include "pollux/tests/simulation/schedule.hpp"

#include <fmt/format.h>

#include <array>

#include "pollux/tests/simulation/rng.hpp"

namespace pollux::simulation {
namespace {

constexpr std::array<std::string_view, kActs> kNames = {
    "read",
    "write",
    "write_fua",
    "write_zeroes",
    "deallocate",
    "flush",
    "ring",
    "poll",
    "drive_poll",
    "pass_time",
    "reset",
    "function_reset",
    "reopen",
    "error_status",
    "hang",
    "drop",
    "delay",
    "lose_completion",
    "double_completion",
    "stale_phase",
    "wrong_cid",
    "wrong_sqid",
    "drop_doorbell",
    "admin_hang",
    "admin_error",
    "abort_loses",
    "fatal_status",
    "never_ready",
    "foreign_reset",
    "power_loss",
    "other_drive",
    "resize",
    "gone",
};

// How often the application does what, of all it does.
struct Weight {
  Act act;
  unsigned weight;
};
constexpr Weight kWork[] = {
    {Act::read, 24}, {Act::write, 24}, {Act::write_fua, 4},      {Act::write_zeroes, 3}, {Act::deallocate, 3},
    {Act::flush, 5}, {Act::ring, 6},   {Act::poll, 30},          {Act::drive_poll, 10},  {Act::pass_time, 20},
    {Act::reset, 1}, {Act::reopen, 1}, {Act::function_reset, 1},
};

Act draw_work(Rng& rng) {
  unsigned all = 0;
  for (const Weight& each : kWork) all += each.weight;
  std::uint64_t left = rng.below(all);
  for (const Weight& each : kWork) {
    if (left < each.weight) return each.act;
    left -= each.weight;
  }
  return Act::poll;
}

}  // namespace

std::string_view name_of(Act act) { return kNames[static_cast<std::size_t>(act)]; }

// Most seeds meet a few kinds of fault, some none: a fault that always comes with all others hides what it does alone.
Schedule Schedule::of(std::uint64_t seed) {
  constexpr unsigned kFewestSteps = 20, kMoreSteps = 120;
  Rng rng(seed);
  Schedule schedule{seed, rng.one_in(2), {}, {}};
  for (std::uint64_t left = 1 + rng.below(kMaxChannels); left != 0; --left) {
    schedule.channels.push_back({static_cast<std::uint16_t>(1 + rng.below(8)),
                                 static_cast<std::uint32_t>(200 + rng.below(3000)),
                                 rng.one_in(2) ? 0u : 1024u << rng.below(3), rng.one_in(2)});
  }
  std::vector<Act> faults;
  for (std::uint64_t kinds = rng.below(4); kinds != 0; --kinds) {
    const std::size_t first = static_cast<std::size_t>(Act::error_status);
    faults.push_back(static_cast<Act>(first + rng.below(kActs - first)));
    if (faults.back() == Act::abort_loses) faults.push_back(Act::delay);  // else there is nothing to abort
  }
  const std::uint64_t fault_every = 6 + rng.below(30);
  for (std::uint64_t left = kFewestSteps + rng.below(kMoreSteps); left != 0; --left) {
    const Act act = !faults.empty() && rng.one_in(fault_every) ? faults[rng.below(faults.size())] : draw_work(rng);
    const auto lba = static_cast<std::uint16_t>(rng.below(kBlocks));
    // Mostly few blocks, so that requests meet often on the same ones without covering all.
    const std::uint64_t most = std::min<std::uint64_t>(rng.one_in(6) ? kMaxRequestBlocks : 3, kBlocks - lba);
    schedule.steps.push_back({act, static_cast<std::uint8_t>(rng.below(schedule.channels.size())), lba,
                              static_cast<std::uint16_t>(1 + rng.below(most)), rng.next()});
  }
  return schedule;
}

std::string Schedule::text() const {
  std::string text = fmt::format("seed {}: {} doorbells\n", seed, shadow_doorbells ? "shadow" : "register");
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const ChannelPlan& plan = channels[i];
    text += fmt::format("  channel {}: depth {}, timeout {} ms, {} B a command{}\n", i, plan.depth, plan.timeout_ms,
                        plan.max_transfer_bytes, plan.reissue_writes ? ", writes sent again" : "");
  }
  for (const Step& step : steps) {
    if (step.act <= Act::deallocate) {
      text += fmt::format("  {} channel {} lba {} blocks {}\n", name_of(step.act), step.channel, step.lba, step.blocks);
    } else {
      text += fmt::format("  {} channel {}\n", name_of(step.act), step.channel);
    }
  }
  return text;
}

}  // namespace pollux::simulation
