#include "raw_client.hpp"

#include <linux/vfio.h>
#include <sys/mman.h>

#include <catch2/catch.hpp>
#include <utility>

#include "pollux/driver/spec/completion.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::softnvme {

namespace reg = nvme::reg;
namespace user = vfio::user;

SharedFile::SharedFile(std::uint64_t size_bytes)
    : file_(memfd_create("client memory", MFD_CLOEXEC)), size_bytes_(size_bytes) {
  truncate(size_bytes);
  data_ = static_cast<std::byte*>(mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  REQUIRE(data_ != MAP_FAILED);
}

SharedFile::~SharedFile() { munmap(data_, size_bytes_); }

void SharedFile::truncate(std::uint64_t size_bytes) {
  REQUIRE(ftruncate(file_.get(), static_cast<off_t>(size_bytes)) == 0);
}

RawClient::~RawClient() {
  if (doorbells != nullptr) munmap(doorbells, kPageBytes);
}

Message RawClient::ask(Command command, std::vector<std::byte> payload, std::vector<int> fds) {
  const std::uint16_t id = id_of_all.value_or(next_id_++);
  REQUIRE(socket.send({.id = id, .command = command}, payload, fds));
  if (serve_) serve_();
  auto reply = socket.receive(kWaitNs);
  REQUIRE(reply);
  REQUIRE(*reply);
  Message& message = **reply;
  REQUIRE(message.header.id == id);
  REQUIRE(message.header.command == command);
  REQUIRE(message.header.is_reply());
  return std::move(message);
}

int RawClient::refusal(Command command, std::vector<std::byte> payload, std::vector<int> fds) {
  const Message reply = ask(command, std::move(payload), std::move(fds));
  if (!reply.header.is_error()) return 0;
  CHECK(reply.payload.empty());
  CHECK(reply.fds.empty());
  CHECK(reply.header.os_error != 0);
  return static_cast<int>(reply.header.os_error);
}

Message RawClient::agree(std::uint16_t minor, const std::string& json) {
  std::vector<std::byte> payload = bytes_of(user::VersionPayload{.minor = minor});
  const auto text = std::as_bytes(std::span(json.c_str(), json.size() + 1));
  payload.insert(payload.end(), text.begin(), text.end());
  return ask(Command::version, std::move(payload));
}

int RawClient::map(std::uint64_t iova, std::uint64_t size_bytes, std::vector<int> fds, std::uint64_t fd_offset,
                   std::uint32_t flags) {
  return refusal(
      Command::dma_map,
      bytes_of(user::DmaMapPayload{.flags = flags, .fd_offset = fd_offset, .iova = iova, .size_bytes = size_bytes}),
      std::move(fds));
}

int RawClient::unmap(std::uint64_t iova, std::uint64_t size_bytes, std::uint32_t flags) {
  const auto payload = bytes_of(user::DmaUnmapPayload{.flags = flags, .iova = iova, .size_bytes = size_bytes});
  const Message reply = ask(Command::dma_unmap, payload);
  if (reply.header.is_error()) return static_cast<int>(reply.header.os_error);
  CHECK(reply.payload == payload);
  return 0;
}

std::uint64_t RawClient::read(std::uint32_t region, std::uint64_t offset, std::uint32_t count) {
  const user::RegionAccessPayload access{.offset = offset, .region = region, .count = count};
  const Message reply = ask(Command::region_read, bytes_of(access));
  REQUIRE_FALSE(reply.header.is_error());
  REQUIRE(reply.payload.size() == sizeof access + count);
  std::uint64_t value = 0;
  std::memcpy(&value, reply.payload.data() + sizeof access, std::min<std::size_t>(count, sizeof value));
  return value;
}

void RawClient::write(std::uint32_t region, std::uint64_t offset, std::uint64_t value, std::uint32_t count) {
  const user::RegionAccessPayload access{.offset = offset, .region = region, .count = count};
  std::vector<std::byte> payload = bytes_of(access);
  const auto data = std::as_bytes(std::span(&value, 1)).first(count);
  payload.insert(payload.end(), data.begin(), data.end());
  const Message reply = ask(Command::region_write, std::move(payload));
  REQUIRE_FALSE(reply.header.is_error());
  REQUIRE(reply.payload == bytes_of(access));
}

int RawClient::set_irqs(std::uint32_t index, std::uint32_t flags, std::uint32_t start, std::uint32_t count,
                        std::vector<int> fds, std::vector<std::byte> data) {
  const struct {
    std::uint32_t argsz, flags, index, start, count;
  } head{static_cast<std::uint32_t>(sizeof head + data.size()), flags, index, start, count};
  std::vector<std::byte> payload = bytes_of(head);
  payload.insert(payload.end(), data.begin(), data.end());
  return refusal(Command::device_set_irqs, std::move(payload), std::move(fds));
}

void RawClient::bring_up(SharedFile& memory) {
  memory_ = &memory;
  sq_tail_ = cq_head_ = 0;
  std::memset(memory.data(), 0, 3 * kPageBytes);
  REQUIRE(map(kIova, 3 * kPageBytes, {memory.fd()}) == 0);
  constexpr std::uint64_t kCommand = 4, kBusMasterAndMemory = 6;
  write(VFIO_PCI_CONFIG_REGION_INDEX, kCommand, read(VFIO_PCI_CONFIG_REGION_INDEX, kCommand, 2) | kBusMasterAndMemory,
        2);
  vfio_region_info asked{};
  asked.argsz = 4096;
  const Message info = ask(Command::device_get_region_info, bytes_of(asked));
  if (doorbells != nullptr) munmap(std::exchange(doorbells, nullptr), kPageBytes);
  if (!info.fds.empty()) {
    void* const page =
        mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, info.fds[0].get(), reg::kDoorbells);
    REQUIRE(page != MAP_FAILED);
    doorbells = static_cast<std::uint32_t*>(page);
  }
  write(0, reg::kAqa, 0x000f'000f, 4);
  write(0, reg::kAsq, kIova, 8);
  write(0, reg::kAcq, kIova + kPageBytes, 8);
  write(0, reg::kCc, 1 | 6u << 16 | 4u << 20, 4);
  const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
  while (nvme::csts::kRdy.of(read(0, reg::kCsts, 4)) == 0) REQUIRE(steady_clock().now_ns() < end_ns);
}

void RawClient::ring(std::uint32_t word, std::uint32_t value) {
  if (doorbells == nullptr) return write(0, reg::kDoorbells + word * sizeof value, value, sizeof value);
  __atomic_store_n(doorbells + word, value, __ATOMIC_RELEASE);
}

void RawClient::submit(const nvme::Command& command, std::optional<std::uint16_t> cid) {
  nvme::Command sent = command;
  sent.cdw0 |= cid.value_or(sq_tail_) << 16;
  std::memcpy(memory_->data() + sq_tail_ * sizeof sent, &sent, sizeof sent);
  sq_tail_ = (sq_tail_ + 1) % 16;
  ring(0, sq_tail_);
}

void RawClient::identify() {
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::identify);
  command.prp1 = kIova + 2 * kPageBytes;
  command.cdw10 = 1;
  submit(command);
}

bool RawClient::answered() {
  auto* entry = reinterpret_cast<nvme::Completion*>(memory_->data() + kPageBytes) + cq_head_;
  const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
  while (nvme::cqe::kPhase.of(__atomic_load_n(&entry->tail, __ATOMIC_ACQUIRE)) == 0) {
    if (steady_clock().now_ns() > end_ns) return false;
    steady_clock().pause_ns(10'000);
  }
  ring(1, ++cq_head_);
  return true;
}

}  // namespace pollux::softnvme
