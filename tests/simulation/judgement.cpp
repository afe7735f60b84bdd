// What must hold of a world: whether a status, the data of a read, or how all of it ended may be so.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "pollux/tests/simulation/world.hpp"

namespace pollux::simulation {

// A failure has a reason that was planted, and none is reported for what the driver could have made good.
void World::check_status(const Request& request) {
  using enum nvme::StatusCode;
  const nvme::StatusCode code = request.status.code();
  if (request.status.ok()) return;
  if (code == aborted_by_host || code == host_pathing_error) {
    const nvme::Pulse pulse{drive_->controller().pulse().load()};
    const std::uint64_t resets = pulse.epoch() - 1 + (pulse.phase() != nvme::Pulse::Phase::up ? 1 : 0);
    if (resets == 0 && !lost_ && !closing_ && faults_.met(Act::resize) == 0)
      fail(fmt::format("a {} was aborted by the host without a reset", name_of(request.act)));
    // Reads and flushes are sent again three times before that, if there is time for it.
    const bool given_up = resets > Channel::kMaxReissues || may_be_lost() || closing_ || is_late(request);
    if ((request.act == Act::read || request.act == Act::flush) && !given_up)
      fail(fmt::format("a {} was given up after {} resets", name_of(request.act), resets));
    return;
  }
  if (code == abort_requested) {
    if (!is_late(request)) fail(fmt::format("a {} was aborted before it was late", name_of(request.act)));
    return;
  }
  if (request.act == Act::flush && tells_of_loss(request.status)) {
    if (!cache_may_be_lost()) fail("a flush tells of a lost cache, and nothing can have taken it");
    return;
  }
  const bool resized = code == lba_out_of_range || code == invalid_namespace_or_format;
  if (faults_.met(resized ? Act::resize : Act::error_status) == 0)
    fail(fmt::format("a {} failed: {}", name_of(request.act), request.status.text()));
}

bool World::is_late(const Request& request) const {
  return now_ns_ - request.submitted_ns >= schedule_.channels[request.channel].timeout_ms * kNsPerMs;
}

void World::check_data(const Request& request) {
  for (std::uint64_t block = 0; block < request.blocks; ++block) {
    const std::uint64_t lba = request.lba + block;
    std::uint64_t words[kWordsABlock];
    std::memcpy(words, request.slice.data + block * kBlockBytes, sizeof words);
    const Value value = words[0] >> 16;
    if (std::any_of(std::begin(words), std::end(words), [&](auto word) { return word != word_of(value, lba); }))
      return fail(fmt::format("a read of block {} brought what no write has put there ({:#x})", lba, words[0]));
    if (auto wrong = model_.judge(lba, request.begun, value)) return fail(std::move(*wrong));
  }
}

// By everything but resets that were asked for; one that fails is followed by one of the function, which may.
bool World::cache_may_be_lost() const {
  return faults_.met(Act::fatal_status) + faults_.met(Act::foreign_reset) + faults_.met(Act::power_loss) +
                 faults_.met(Act::other_drive) !=
             0 ||
         hardware_.function_resets() > function_resets_asked_;
}

// Whether what has been met may cost the drive: it does not come back, or fails a reset that follows something else.
bool World::may_be_lost() const {
  const unsigned in_a_reset = faults_.met(Act::fatal_status) + faults_.met(Act::foreign_reset) +
                              faults_.met(Act::power_loss) + faults_.met(Act::drop_doorbell);
  return faults_.met(Act::gone) + faults_.met(Act::other_drive) + faults_.met(Act::never_ready) +
                 faults_.met(Act::resize) + faults_.met(Act::admin_hang) + faults_.met(Act::admin_error) !=
             0 ||
         in_a_reset > 1;
}

// A namespace that has changed is told of, unless a reset took the event. It has its old size again afterwards.
void World::check_events() {
  constexpr unsigned kPolls = 6;  // that ask, find what has come, ask for its log page and find that; and once more
  constexpr unsigned kMostPolls = 2 * nvme::kAdminTimeoutMs * kNsPerMs / kSettleStepNs;  // where reading it hangs
  const unsigned polls = faults_.met(Act::admin_hang) != 0 ? kMostPolls : kPolls;
  for (unsigned i = 0; i < polls && (i < kPolls || resizes_told_ == 0); ++i) {
    poll_drive();
    pass(kSettleStepNs);
  }
  const bool was_asked = faults_.met(Act::drop_doorbell) + faults_.met(Act::admin_error) == 0;
  if (faults_.met(Act::resize) != 0 && was_asked && epoch() == 1 && !lost_ && resizes_told_ == 0)
    fail("nobody was told that the namespace has changed");
  hardware_.resize(kBlocks);
}

// Without a fault nothing is late, and where a single command hangs, its Abort is enough.
void World::check_quiet() {
  unsigned faults = 0;
  for (std::size_t i = 0; i < kActs; ++i) faults += faults_.met(static_cast<Act>(i));
  if (faults == 0 && faults_.aborts() != 0) fail("a command was late without a fault");
  if (faults == faults_.met(Act::hang) && faults <= 1 && epoch() != 1 + resets_asked_)
    fail("the controller was reset without a need");
}

// What the controller has answered is not sent again. A write of which the controller has been told goes out again only
// where its channel's owner chose that.
void World::check_fetched() {
  if (faults_.sent_after_completion()) return fail("a command was sent again whose completion lay in the ring");
  const vfio::Iova begin = ground_.buffer.slice().iova;
  std::set<std::pair<std::uint64_t, std::uint32_t>> seen;  // PRP1 and LBA: no two requests share both
  for (const nvme::Command& write : faults_.writes_fetched()) {
    const std::uint64_t number = (write.prp1 - begin) / kSlotBytes;
    if (number >= requests_.size()) return fail("the controller was given a write of nobody's");
    const bool may_come_again = schedule_.channels[requests_[number].channel].reissue_writes;
    if (!seen.emplace(write.prp1, write.cdw10).second && !may_come_again)
      return fail("a write was sent again that was not to be");
  }
}

}  // namespace pollux::simulation
