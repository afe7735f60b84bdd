#include "raw_host.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdlib>

namespace pollux::softnvme {
namespace {
constexpr std::array<vfio::IovaRange, 1> kEverything{{{0, ~0ull >> 1}}};
constexpr unsigned kMaxSteps = 100'000;
}  // namespace

RawHost::RawHost(const HostOptions& options) {
  arena_.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, kArenaBytes)));
  std::memset(arena_.get(), 0, kArenaBytes);
  REQUIRE(table.map({arena_.get(), kArenaIova, kArenaBytes}, kEverything));
  Config config;
  config.io_queues = options.io_queues;
  config.mdts = options.mdts;
  config.interrupt_vectors = options.io_queues + 1;
  config.shadow_doorbells = options.shadow_doorbells;
  config.shadow_polls = options.shadow_polls;
  config.ready_delay_ns = options.ready_delay_ns;
  if (!options.null) store = std::move(*MemoryStore::create(options.block_count * options.block_size_bytes));
  config.namespaces.push_back({1, options.block_size_bytes, options.block_count, store.get()});
  if (options.second_namespace) {
    second_store = std::move(*MemoryStore::create(64ull * options.block_size_bytes));
    config.namespaces.push_back({3, options.block_size_bytes, 64, second_store.get()});
  }
  core = std::make_unique<Controller>(config, table, doorbells_);
  core->set_bus_master(true);
}

std::uint64_t RawHost::pages(std::uint64_t count) {
  const std::uint64_t iova = kArenaIova + used_;
  used_ += count * kPage;
  REQUIRE(used_ <= kArenaBytes);
  std::memset(at(iova), 0, count * kPage);
  return iova;
}

std::uint32_t RawHost::enable_value() const {
  std::uint32_t cc = nvme::cc::kEn.put(0u, 1);
  cc = nvme::cc::kIosqes.put(cc, 6);
  return nvme::cc::kIocqes.put(cc, 4);
}

void RawHost::enable(std::uint32_t entries) {
  admin_queue = {};
  admin_queue.entries = entries;
  admin_queue.sq_iova = pages((entries * 64 + kPage - 1) / kPage);
  admin_queue.cq_iova = pages((entries * 16 + kPage - 1) / kPage);
  set_reg(nvme::reg::kAqa, (entries - 1) | (entries - 1) << 16);
  set_reg(nvme::reg::kAsq, admin_queue.sq_iova, 8);
  set_reg(nvme::reg::kAcq, admin_queue.cq_iova, 8);
  set_reg(nvme::reg::kCc, enable_value());
  run();
  REQUIRE(nvme::csts::kRdy.of(reg(nvme::reg::kCsts)) == 1);
}

void RawHost::run() {
  unsigned idle = 0;
  for (unsigned steps = 0; idle <= Controller::kScanInterval; ++steps) {
    REQUIRE(steps < kMaxSteps);
    idle = core->step(now_ns) == 0 ? idle + 1 : 0;
  }
}

std::uint16_t RawHost::put(Queue& queue, nvme::Command command, std::optional<std::uint16_t> cid) {
  const std::uint16_t used = cid.value_or(next_cid_);
  if (!cid) next_cid_ = static_cast<std::uint16_t>(next_cid_ == 0xfffe ? 0 : next_cid_ + 1);
  command.cdw0 |= std::uint32_t{used} << 16;
  as<nvme::Command>(queue.sq_iova + queue.tail * sizeof(nvme::Command)) = command;
  queue.tail = (queue.tail + 1) % queue.entries;
  return used;
}

std::optional<nvme::Completion> RawHost::poll(Queue& queue, bool lazy) {
  const auto entry = as<nvme::Completion>(queue.cq_iova + queue.head * sizeof(nvme::Completion));
  if (nvme::cqe::kPhase.of(entry.tail) != queue.phase) return std::nullopt;
  if (++queue.head == queue.entries) {
    queue.head = 0;
    queue.phase ^= 1;
  }
  if (!lazy) store_doorbell(2u * queue.id + 1, queue.head);
  return entry;
}

nvme::Completion RawHost::execute(Queue& queue, const nvme::Command& command) {
  const std::uint16_t cid = put(queue, command);
  ring(queue);
  run();
  const std::optional<nvme::Completion> entry = poll(queue);
  if (!entry) return {0, 0, nvme::cqe::kCid.put(std::uint64_t{0}, nvme::kCidReserved)};
  REQUIRE(cid_of(*entry) == cid);
  REQUIRE(nvme::cqe::kSqid.of(entry->tail) == queue.id);
  return *entry;
}

nvme::StatusCode RawHost::admin_status(const nvme::Command& command) { return status(admin_queue, command); }

nvme::StatusCode RawHost::status(Queue& queue, const nvme::Command& command) {
  const nvme::Completion entry = execute(queue, command);
  REQUIRE(cid_of(entry) != nvme::kCidReserved);
  return status_of(entry).code();
}

RawHost::Queue& RawHost::create_pair(std::uint16_t id, std::uint32_t entries) {
  Queue& queue = *pairs_.emplace_back(std::make_unique<Queue>());
  queue.id = id;
  queue.entries = entries;
  queue.sq_iova = pages((entries * 64 + kPage - 1) / kPage);
  queue.cq_iova = pages((entries * 16 + kPage - 1) / kPage);
  REQUIRE(admin_status(create_cq_command(id, entries, queue.cq_iova)) == nvme::StatusCode::success);
  REQUIRE(admin_status(create_sq_command(id, entries, queue.sq_iova, id)) == nvme::StatusCode::success);
  return queue;
}

bool RawHost::violated(Rule rule) const {
  return std::ranges::any_of(core->violations().list(), [&](const Violation& v) { return v.rule == rule; });
}

nvme::Command admin_command(nvme::AdminOpcode opcode, std::uint32_t cdw10, std::uint32_t cdw11, std::uint64_t prp1,
                            std::uint32_t nsid) {
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(opcode);
  command.nsid = nsid;
  command.prp1 = prp1;
  command.cdw10 = cdw10;
  command.cdw11 = cdw11;
  return command;
}

nvme::Command io_command(nvme::IoOpcode opcode, std::uint64_t slba, std::uint32_t blocks, std::uint64_t prp1,
                         std::uint64_t prp2, std::uint32_t nsid) {
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(opcode);
  command.nsid = nsid;
  command.prp1 = prp1;
  command.prp2 = prp2;
  command.cdw10 = static_cast<std::uint32_t>(slba);
  command.cdw11 = static_cast<std::uint32_t>(slba >> 32);
  command.cdw12 = blocks - 1;
  return command;
}

nvme::Command create_cq_command(std::uint16_t id, std::uint32_t entries, std::uint64_t iova) {
  return admin_command(nvme::AdminOpcode::create_cq, id | (entries - 1) << 16, 1, iova);
}

nvme::Command create_sq_command(std::uint16_t id, std::uint32_t entries, std::uint64_t iova, std::uint16_t cqid) {
  return admin_command(nvme::AdminOpcode::create_sq, id | (entries - 1) << 16, 1u | std::uint32_t{cqid} << 16, iova);
}

nvme::Status status_of(const nvme::Completion& entry) {
  return {static_cast<std::uint16_t>(nvme::cqe::kStatus.of(entry.tail))};
}

std::uint16_t cid_of(const nvme::Completion& entry) {
  return static_cast<std::uint16_t>(nvme::cqe::kCid.of(entry.tail));
}

void fill_pattern(std::span<std::byte> bytes, unsigned seed) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>((i * 7 + i / 512 * 13 + seed) & 0xff);
}

bool has_pattern(std::span<const std::byte> bytes, unsigned seed) {
  std::vector<std::byte> expected(bytes.size());
  fill_pattern(expected, seed);
  return std::equal(bytes.begin(), bytes.end(), expected.begin());
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace pollux::softnvme
