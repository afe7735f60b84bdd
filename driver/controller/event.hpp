// What a controller reports unasked: its health, an error, a namespace that changed, a firmware that is being
// activated. NVMe base 2.0c, 5.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pollux/driver/spec/async_event.hpp"

namespace pollux::nvme {

struct Event {
  AsyncEventType type;
  std::uint8_t information;    // which one of its type
  std::uint8_t log_id;         // of the log page that tells more
  std::vector<std::byte> log;  // that page as it was when the event was read; empty: the controller did not give it

  // Of a notice that namespaces changed: which. Empty: no such notice, or more than the log page holds.
  std::vector<std::uint32_t> changed_namespaces() const;

  // "health: temperature threshold (log page 02h)"
  std::string text() const;
};

}  // namespace pollux::nvme
