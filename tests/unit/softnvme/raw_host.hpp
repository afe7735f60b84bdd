// A host of its own for the software controller's tests, as small as a host can be: it builds queue entries by hand in
// memory that it maps, rings doorbells, and reads completions. It uses no driver, so that a mistake there cannot hide
// one here. The core is stepped, not threaded.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"
#include "pollux/tools/softnvme/core/controller.hpp"
#include "pollux/tools/softnvme/mapping_table.hpp"
#include "pollux/tools/softnvme/store/memory_store.hpp"

namespace pollux::softnvme {

inline constexpr std::uint64_t kPage = 4096;

struct HostOptions {
  std::uint32_t block_size_bytes = 512;
  std::uint64_t block_count = 8192;
  std::uint8_t mdts = 5;
  std::uint32_t io_queues = 4;
  bool null = false;
  bool second_namespace = false;  // NSID 3, of 64 blocks
  std::uint64_t ready_delay_ns = 0;
  bool shadow_doorbells = false, shadow_polls = false;
};

class RawHost {
 public:
  struct Queue {
    std::uint16_t id = 0;
    std::uint32_t entries = 0;
    std::uint32_t tail = 0;  // of the submission queue
    std::uint32_t head = 0;  // of the completion queue
    std::uint16_t phase = 1;
    std::uint64_t sq_iova = 0;
    std::uint64_t cq_iova = 0;
  };

  explicit RawHost(const HostOptions& options = {});

  // Memory of the host's, mapped and zeroed: its IOVA and its bytes.
  std::uint64_t pages(std::uint64_t count);
  std::byte* at(std::uint64_t iova) { return arena_.get() + (iova - kArenaIova); }
  template <typename T>
  T& as(std::uint64_t iova) {
    return *reinterpret_cast<T*>(at(iova));
  }
  // An IOVA behind which there is nothing.
  static constexpr std::uint64_t kUnmapped = 0x7000'0000;

  std::uint64_t reg(std::uint32_t offset, unsigned bytes = 4) { return core->read(offset, bytes); }
  void set_reg(std::uint32_t offset, std::uint64_t value, unsigned bytes = 4) { core->write(offset, bytes, value); }

  // Admin queues of `entries`, CC.EN = 1, steps until ready.
  void enable(std::uint32_t entries = 32);
  std::uint32_t enable_value() const;  // of CC

  // Steps the core until it is idle, and past its look at foreign doorbells.
  void run();

  // Puts a command into the queue under the next CID (or `cid`), without ringing.
  std::uint16_t put(Queue& queue, nvme::Command command, std::optional<std::uint16_t> cid = std::nullopt);
  void ring(const Queue& queue) { store_doorbell(2u * queue.id, queue.tail); }
  void store_doorbell(std::uint32_t word, std::uint32_t value) {
    __atomic_store_n(&doorbells_[word], value, __ATOMIC_RELEASE);
  }
  std::uint32_t doorbell(std::uint32_t word) const { return doorbells_[word]; }
  // For a test that puts a core of its own behind the host.
  void use_doorbells(std::uint32_t* words) { doorbells_ = words; }
  // The next completion, if there is one; its head doorbell is rung unless `lazy`.
  std::optional<nvme::Completion> poll(Queue& queue, bool lazy = false);

  // put, ring, run, poll. A command that is not answered gives an entry with CID FFFFh.
  nvme::Completion execute(Queue& queue, const nvme::Command& command);
  nvme::Completion admin(const nvme::Command& command) { return execute(admin_queue, command); }
  nvme::StatusCode admin_status(const nvme::Command& command);
  nvme::StatusCode status(Queue& queue, const nvme::Command& command);

  // A queue pair made by the commands. Fails the test when the controller refuses.
  Queue& create_pair(std::uint16_t id, std::uint32_t entries = 16);

  bool violated(Rule rule) const;
  std::uint64_t violation_count() const { return core->violations().count(); }

  MappingTable table;
  std::unique_ptr<Store> store;
  std::unique_ptr<Store> second_store;
  std::unique_ptr<Controller> core;
  Queue admin_queue;
  std::uint64_t now_ns = 1'000'000'000;

 private:
  static constexpr std::uint64_t kArenaIova = 0x1000'0000;
  static constexpr std::uint64_t kArenaBytes = 24ull << 20;
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  std::unique_ptr<std::byte, Free> arena_;
  std::uint64_t used_ = 0;
  std::uint32_t words_[kDoorbellWords] = {};
  std::uint32_t* doorbells_ = words_;
  std::uint16_t next_cid_ = 0;
  std::vector<std::unique_ptr<Queue>> pairs_;
};

// Commands with the fields that tests set most.
nvme::Command admin_command(nvme::AdminOpcode opcode, std::uint32_t cdw10 = 0, std::uint32_t cdw11 = 0,
                            std::uint64_t prp1 = 0, std::uint32_t nsid = 0);
nvme::Command io_command(nvme::IoOpcode opcode, std::uint64_t slba, std::uint32_t blocks, std::uint64_t prp1 = 0,
                         std::uint64_t prp2 = 0, std::uint32_t nsid = 1);
nvme::Command create_cq_command(std::uint16_t id, std::uint32_t entries, std::uint64_t iova);
nvme::Command create_sq_command(std::uint16_t id, std::uint32_t entries, std::uint64_t iova, std::uint16_t cqid);

nvme::Status status_of(const nvme::Completion& entry);
std::uint16_t cid_of(const nvme::Completion& entry);

// Bytes that tell their place and a seed.
void fill_pattern(std::span<std::byte> bytes, unsigned seed);
bool has_pattern(std::span<const std::byte> bytes, unsigned seed);
bool all_zero(std::span<const std::byte> bytes);

}  // namespace pollux::softnvme
