#include "pollux/driver/controller/event.hpp"

#include <fmt/format.h>

#include <cstring>

namespace pollux::nvme {
namespace {

constexpr std::uint32_t kMoreThanTheLogHolds = 0xffff'ffff;  // the first entry of log page 04h, 5.16.1.5

// Figures 147 to 149.
struct Row {
  AsyncEventType type;
  std::uint8_t information;
  const char* name;
};

constexpr Row kNames[] = {
    {AsyncEventType::error, 0x00, "error: write to an invalid doorbell register"},
    {AsyncEventType::error, 0x01, "error: invalid doorbell write value"},
    {AsyncEventType::error, 0x02, "error: diagnostic failure"},
    {AsyncEventType::error, 0x03, "error: persistent internal error"},
    {AsyncEventType::error, 0x04, "error: transient internal error"},
    {AsyncEventType::error, 0x05, "error: firmware image load error"},
    {AsyncEventType::health, 0x00, "health: reliability degraded"},
    {AsyncEventType::health, 0x01, "health: temperature threshold"},
    {AsyncEventType::health, 0x02, "health: spare below threshold"},
    {AsyncEventType::notice, 0x00, "notice: namespace attribute changed"},
    {AsyncEventType::notice, 0x01, "notice: firmware activation starting"},
};

}  // namespace

std::vector<std::uint32_t> Event::changed_namespaces() const {
  std::vector<std::uint32_t> nsids;
  if (type != AsyncEventType::notice || information != static_cast<unsigned>(Notice::namespace_attribute_changed))
    return nsids;
  for (std::size_t at = 0; at + sizeof(std::uint32_t) <= log.size(); at += sizeof(std::uint32_t)) {
    std::uint32_t nsid = 0;
    std::memcpy(&nsid, log.data() + at, sizeof nsid);
    if (nsid == 0 || nsid == kMoreThanTheLogHolds) break;
    nsids.push_back(nsid);
  }
  return nsids;
}

std::string Event::text() const {
  for (const Row& row : kNames) {
    if (row.type == type && row.information == information)
      return fmt::format("{} (log page {:02X}h)", row.name, log_id);
  }
  return fmt::format("event of type {}, information {:02X}h (log page {:02X}h)", static_cast<unsigned>(type),
                     information, log_id);
}

}  // namespace pollux::nvme
