// What a software controller is made of. Checked by whoever fills it in (the adapter's options): the core takes it as
// it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/tools/softnvme/core/store.hpp"

namespace pollux::softnvme {

inline constexpr std::uint32_t kMaxIoQueues = 511;  // with the admin queue: one page of doorbells
inline constexpr std::uint32_t kDoorbellWords = 2 * (kMaxIoQueues + 1);
inline constexpr std::uint32_t kMaxQueueEntries = 4096;  // CAP.MQES + 1
inline constexpr std::uint32_t kMinBlockBytes = 512;
inline constexpr std::uint32_t kMaxBlockBytes = 65536;
inline constexpr std::uint32_t kMaxNamespaces = 1024;  // one Active Namespace ID list

struct NamespaceConfig {
  std::uint32_t nsid = 1;                // 1 to kMaxNamespaces; namespaces need not follow each other
  std::uint32_t block_size_bytes = 512;  // 2^n, kMinBlockBytes to kMaxBlockBytes
  std::uint64_t block_count = 0;         // 0: not active
  Store* store = nullptr;                // outlives the core; nullptr: no data is moved (null=1)
};

struct Config {
  std::uint32_t io_queues = 16;  // pairs, up to kMaxIoQueues; 0: Number of Queues fails
  std::uint32_t max_queue_entries = kMaxQueueEntries;
  std::uint8_t mdts = 6;  // 2^n pages of 4 KiB; 0: no limit
  bool volatile_write_cache = true;
  bool shadow_doorbells = false;  // Doorbell Buffer Config is offered
  // Behind shadow doorbells: it polls for ever, and says so by an event index that no ring has, once, when it takes the
  // buffers, for completion queues, and for a submission queue when that is created. As SPDK's target does.
  bool shadow_polls = false;
  // Else: after so many looks at a tail that stood still the controller asks to be woken, and
  // sleeps.
  unsigned looks_before_sleep = 1000;
  std::uint32_t interrupt_vectors = 17;
  std::uint64_t ready_delay_ns = 0;  // between CC.EN = 1 and CSTS.RDY = 1
  std::uint16_t temperature_kelvin = 310;
  std::string serial = "POLLUX0001";
  std::vector<NamespaceConfig> namespaces;
};

}  // namespace pollux::softnvme
