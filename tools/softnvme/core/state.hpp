// Everything that the parts of one controller share. The Controller owns it; admin and I/O commands work on it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/core/dma.hpp"
#include "pollux/tools/softnvme/core/events.hpp"
#include "pollux/tools/softnvme/core/fault.hpp"
#include "pollux/tools/softnvme/core/features.hpp"
#include "pollux/tools/softnvme/core/held.hpp"
#include "pollux/tools/softnvme/core/logs.hpp"
#include "pollux/tools/softnvme/core/prp.hpp"
#include "pollux/tools/softnvme/core/queues.hpp"
#include "pollux/tools/softnvme/core/registers.hpp"
#include "pollux/tools/softnvme/core/reply.hpp"
#include "pollux/tools/softnvme/core/violation_log.hpp"

namespace pollux::softnvme {

struct State {
  State(Config wanted, const HostMemory& memory, std::uint32_t* doorbells)
      : config(std::move(wanted)),
        registers(config, violations),
        queues(config, memory, doorbells, violations),
        dma(memory, violations),
        features(config),
        max_transfer_bytes(config.mdts == 0 ? ~0ull : 1ull << (12 + config.mdts)) {}

  Config config;
  ViolationLog violations;
  Registers registers;
  Queues queues;
  Dma dma;
  Features features;
  Events events;
  HeldCommands held;
  Logs logs;
  FaultHook* hook = nullptr;
  std::uint64_t max_transfer_bytes;  // MDTS
  std::uint64_t now_ns = 0;
  std::uint64_t start_ns = 0;  // of the first step

  const NamespaceConfig* find_namespace(std::uint32_t nsid) const {
    for (const NamespaceConfig& ns : config.namespaces) {
      if (ns.nsid == nsid && ns.block_count != 0) return &ns;
    }
    return nullptr;
  }

  // The status of an admin command that needs a namespace and names one that is not there: an inactive one below the
  // largest, or an NSID that is none. NVMe base 2.0c, 3.2.1.
  nvme::StatusCode why_absent(std::uint32_t nsid) const {
    const bool inactive =
        std::ranges::any_of(config.namespaces, [&](const NamespaceConfig& ns) { return nsid != 0 && nsid <= ns.nsid; });
    return inactive ? nvme::StatusCode::invalid_field : nvme::StatusCode::invalid_namespace_or_format;
  }

  PrpWalk walk(const nvme::Command& command, std::uint64_t length, Access access) {
    return {dma, violations, registers.page_shift(), command.prp1, command.prp2, length, access};
  }

  // Reserved bits of a command that are not 0: logged; the command goes on (1.8: a recipient need not check them).
  void expect_zero(std::uint64_t reserved_bits, const char* where) {
    if (reserved_bits != 0) [[unlikely]]
      report_reserved(reserved_bits, where);
  }
  void report_reserved(std::uint64_t bits, const char* where);

  // Posts the completion of `command`; its queue has room for one. `command_ends`: its CID is free from now on.
  void complete(SubmissionQueue& sq, const nvme::Command& command, Reply reply, bool command_ends = true);

 private:
  std::uint16_t note_error(const SubmissionQueue& sq, const nvme::Command& command, std::uint16_t status);
};

// Fills the host's buffer from `data`, and with zeros behind it.
nvme::StatusCode to_host(PrpWalk walk, std::span<const std::byte> data);

// Fills `data` from the host's buffer, which is as long.
nvme::StatusCode from_host(PrpWalk walk, std::span<std::byte> data);

}  // namespace pollux::softnvme
