// The I/O commands of the NVM command set. The path of a Read or Write, from entry to data, is one function without an
// allocation. One thread: the one that steps the core. NVM command set 1.0c, 3.2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/tools/softnvme/core/history.hpp"
#include "pollux/tools/softnvme/core/reply.hpp"
#include "pollux/tools/softnvme/core/state.hpp"

namespace pollux::softnvme {

class IoCommands {
 public:
  explicit IoCommands(State& state);

  Reply execute(const nvme::Command& command);

  // Makes everything durable, for Flush and for a shutdown. False: a medium failed.
  bool flush_all();

  // The namespace has another size from now on; 0: it is not active.
  void resize(std::uint32_t nsid, std::uint64_t block_count);

  // Forgets what stale reads would return.
  void forget_history() { history_.clear(); }

 private:
  struct Namespace {
    Store* store = nullptr;         // nullptr: moves no data
    std::uint64_t block_count = 0;  // 0: not active
    std::uint32_t nsid = 0;
    std::uint32_t block_shift = 0;
  };
  // The blocks that a command names, checked.
  struct Extent {
    const Namespace* ns;
    std::uint64_t slba;
    std::uint32_t blocks;
    std::uint64_t offset() const { return slba << ns->block_shift; }
    std::uint64_t size_bytes() const { return std::uint64_t{blocks} << ns->block_shift; }
  };

  const Namespace* find(std::uint32_t nsid) const {
    if (nsid >= namespaces_.size() || namespaces_[nsid].block_count == 0) return nullptr;
    return &namespaces_[nsid];
  }
  // The namespace, the range and, for what moves data, MDTS. Not 0: the status to answer with.
  nvme::StatusCode check(const nvme::Command& command, bool moves_data, Extent& extent) const;

  Reply read(const nvme::Command& command);
  Reply write(const nvme::Command& command);
  Reply compare(const nvme::Command& command);
  Reply verify(const nvme::Command& command);
  Reply write_zeroes(const nvme::Command& command);
  Reply dataset_management(const nvme::Command& command);
  Reply flush(const nvme::Command& command);

  Reply faulty_read(const Extent& extent, PrpWalk walk);
  Reply faulty_write(const Extent& extent, PrpWalk walk);

  Reply media_error(nvme::StatusCode code) {
    ++state_.logs.health().media_errors;
    return failure(code);
  }
  // What is left to do after data was stored: durable where the command or the disabled cache wants it.
  Reply stored(const Namespace& ns, const nvme::Command& command);

  State& state_;
  std::vector<Namespace> namespaces_;  // by NSID
  std::vector<std::byte> scratch_;
  History history_;
};

}  // namespace pollux::softnvme
