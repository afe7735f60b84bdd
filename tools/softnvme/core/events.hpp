// Asynchronous events and the requests that wait for them. An event that was reported masks its type until the host has
// read the log page that goes with it; one event a type waits while there is no request. NVMe base 2.0c, 5.2.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/tools/softnvme/core/fields.hpp"

namespace pollux::softnvme {

class Events {
 public:
  static constexpr std::size_t kMaxRequests = 4;  // AERL + 1

  Events() { requests_.reserve(kMaxRequests); }

  // An Asynchronous Event Request arrived. False: there are as many as allowed.
  bool add_request(const nvme::Command& command) {
    if (requests_.size() == kMaxRequests) return false;
    requests_.push_back(command);
    return true;
  }

  // Something happened that log page `lid` tells of. Ignored while one of its type waits or is masked.
  void raise(EventType type, std::uint8_t information, std::uint8_t lid) {
    Slot& slot = slots_[static_cast<std::size_t>(type)];
    if (slot.pending || slot.masked) return;
    slot = {true, false, information, lid};
  }

  // The host has read log page `lid` with RAE = 0.
  void log_read(std::uint8_t lid) {
    for (Slot& slot : slots_) {
      if (slot.lid == lid) slot.masked = false;
    }
  }

  bool idle() const { return requests_.empty(); }

  struct Report {
    nvme::Command request;
    std::uint32_t dw0;
  };

  // The next event together with the request that carries it.
  std::optional<Report> take() {
    if (requests_.empty()) return std::nullopt;
    for (std::size_t type = 0; type < slots_.size(); ++type) {
      Slot& slot = slots_[type];
      if (!slot.pending) continue;
      slot.pending = false;
      slot.masked = true;
      const Report report{requests_.front(),
                          static_cast<std::uint32_t>(type) | slot.information << 8u | slot.lid << 16u};
      requests_.erase(requests_.begin());
      return report;
    }
    return std::nullopt;
  }

  // Takes a request away for an Abort.
  std::optional<nvme::Command> take_request(std::uint16_t cid) {
    for (auto it = requests_.begin(); it != requests_.end(); ++it) {
      if (nvme::cdw0::kCid.of(it->cdw0) != cid) continue;
      const nvme::Command command = *it;
      requests_.erase(it);
      return command;
    }
    return std::nullopt;
  }

  void reset() {
    requests_.clear();
    slots_ = {};
  }

 private:
  struct Slot {
    bool pending = false;
    bool masked = false;
    std::uint8_t information = 0;
    std::uint8_t lid = 0;
  };
  std::vector<nvme::Command> requests_;
  std::array<Slot, 3> slots_{};
};

}  // namespace pollux::softnvme
