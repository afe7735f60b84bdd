// The faults that a schedule has armed, met by the next command, completion or doorbell that can meet them; and how
// often that happened.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "pollux/tests/simulation/rng.hpp"
#include "pollux/tests/simulation/schedule.hpp"
#include "pollux/tools/softnvme/core/fault.hpp"

namespace pollux::simulation {

// What a command is answered with by Act::error_status and Act::admin_error; some with DNR, some with a delay (CRD).
nvme::Status error_status(Rng& rng);

class Faults final : public softnvme::FaultHook {
 public:
  explicit Faults(Rng& rng) : rng_(rng) {}

  void arm(Act act) { armed_.push_back(act); }
  void disarm() { armed_.clear(); }

  // Of those at once, which the world sees to.
  void note(Act act) { ++met_[static_cast<std::size_t>(act)]; }
  unsigned met(Act act) const { return met_[static_cast<std::size_t>(act)]; }

  unsigned aborts() const { return aborts_; }
  const std::vector<nvme::Command>& writes_fetched() const { return writes_fetched_; }
  // A read or a write was fetched whose completion lies in the host's ring already, as it should.
  bool sent_after_completion() const { return sent_after_completion_; }
  bool loses_doorbell() { return take(Act::drop_doorbell); }

  softnvme::FetchFault after_fetch(std::uint16_t sqid, const nvme::Command& command) override;
  softnvme::PostFault at_completion(std::uint16_t sqid, nvme::Completion& entry) override;

 private:
  bool take(Act act);
  // PRP1 and LBA: no two reads or writes of a world share both.
  using Identity = std::pair<std::uint64_t, std::uint32_t>;
  void note_fetched(std::uint16_t sqid, const nvme::Command& command);

  Rng& rng_;
  std::vector<Act> armed_;
  std::array<unsigned, kActs> met_{};
  unsigned aborts_ = 0;
  bool abort_lost_ = false;
  std::vector<nvme::Command> writes_fetched_;
  std::map<std::pair<std::uint16_t, std::uint16_t>, Identity> fetched_;  // by queue and CID
  std::set<Identity> completed_;
  std::set<std::uint16_t>
      out_of_step_;  // queues in which an entry stands that nobody can see, and all later ones behind
  bool sent_after_completion_ = false;
};

}  // namespace pollux::simulation
