// DMA_MAP and DMA_UNMAP: what a client may share, and when it is gone.
#include <fcntl.h>

#include <cerrno>

#include "guest.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/softnvme/server/shared_memory.hpp"
#include "pollux/vfio/clock.hpp"
#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint64_t kIova = 0x4000'0000;

TEST_CASE("whole pages below 2^64 can be mapped, up to the last") {
  Guest guest;
  SharedFile memory(8 * kPage);
  RawClient& client = *guest.client;
  CHECK(client.map(0, kPage, {memory.fd()}) == 0);
  CHECK(client.map(0xfee0'0000, kPage, {memory.fd()}, 7 * kPage) == 0);  // where an IOMMU has a hole
  CHECK(client.map(0 - kPage, kPage, {memory.fd()}) == 0);
  CHECK(client.map(0 - 2 * kPage, 2 * kPage, {memory.fd()}) == EEXIST);
  CHECK(client.map(0 - 2 * kPage, kPage, {memory.fd()}) == 0);

  CHECK(client.map(kIova + 1, kPage, {memory.fd()}) == EINVAL);
  CHECK(client.map(kIova, kPage - 1, {memory.fd()}) == EINVAL);
  CHECK(client.map(kIova, 0, {memory.fd()}) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 512) == EINVAL);
  CHECK(client.map(0 - 4 * kPage, 8 * kPage, {memory.fd()}) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 0, 0) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 0, 4 | 3) == EINVAL);
  vfio::user::DmaMapPayload small{.argsz = 31, .flags = 3, .iova = kIova, .size_bytes = kPage};
  CHECK(client.refusal(Command::dma_map, bytes_of(small), {memory.fd()}) == EINVAL);
  CHECK(client.refusal(Command::dma_map, std::vector<std::byte>(31), {memory.fd()}) == EINVAL);
  CHECK(client.refusal(Command::dma_map, std::vector<std::byte>(33), {memory.fd()}) == EINVAL);
  CHECK(client.unmap(kIova, kPage) == 0);  // none of these are there
}

TEST_CASE("a file must be as long as what is mapped of it, and open for what the device may do") {
  Guest guest;
  SharedFile memory(8 * kPage);
  RawClient& client = *guest.client;
  CHECK(client.map(kIova, 9 * kPage, {memory.fd()}) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 8 * kPage) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 1ull << 63) == EINVAL);
  CHECK(client.map(kIova, kPage, {memory.fd()}, 0 - kPage) == EINVAL);
  const vfio::FileDescriptor read_only(
      open(fmt::format("/proc/self/fd/{}", memory.fd()).c_str(), O_RDONLY | O_CLOEXEC));
  CHECK(client.map(kIova, kPage, {read_only.get()}) == EACCES);
  CHECK(client.map(kIova, kPage, {read_only.get()}, 0, 1) == 0);
  const vfio::FileDescriptor no_memory(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(client.map(kIova + kPage, kPage, {no_memory.get()}) == ENODEV);
}

TEST_CASE("nothing is mapped twice, and only whole mappings or nothing at all are unmapped") {
  Guest guest;
  SharedFile memory(8 * kPage);
  RawClient& client = *guest.client;
  REQUIRE(client.map(kIova, 4 * kPage, {memory.fd()}) == 0);
  CHECK(client.map(kIova, 4 * kPage, {memory.fd()}) == EEXIST);
  CHECK(client.map(kIova + 3 * kPage, 2 * kPage, {memory.fd()}) == EEXIST);
  CHECK(client.map(kIova - kPage, 2 * kPage, {memory.fd()}) == EEXIST);
  CHECK(client.map(kIova - kPage, 8 * kPage, {memory.fd()}) == EEXIST);
  CHECK(client.unmap(kIova, kPage) == EINVAL);
  CHECK(client.unmap(kIova + kPage, 3 * kPage) == EINVAL);
  CHECK(client.unmap(kIova - kPage, 2 * kPage) == EINVAL);
  CHECK(client.unmap(kIova, 0 - kIova + kPage) == EINVAL);
  CHECK(client.unmap(kIova + 4 * kPage, 4 * kPage) == 0);
  CHECK(client.unmap(0, 0) == 0);
  CHECK(client.unmap(kIova, 4 * kPage, 1) == EINVAL);
  CHECK(client.unmap(kIova, 4 * kPage) == 0);
  CHECK(client.unmap(kIova, 4 * kPage) == 0);
  CHECK(client.map(kIova, 4 * kPage, {memory.fd()}) == 0);
}

TEST_CASE("one message unmaps the mappings in a range, as QEMU takes back the pages of a vIOMMU") {
  Guest guest;
  SharedFile memory(8 * kPage);
  RawClient& client = *guest.client;
  for (std::uint64_t page = 0; page < 4; page += 2)
    REQUIRE(client.map(kIova + page * kPage, kPage, {memory.fd()}, page * kPage) == 0);
  REQUIRE(client.map(kIova + 4 * kPage, 4 * kPage, {memory.fd()}, 4 * kPage) == 0);
  CHECK(client.unmap(kIova - kPage, 6 * kPage) == EINVAL);  // which would cut the third
  CHECK(client.map(kIova, kPage, {memory.fd()}) == EEXIST);
  CHECK(client.unmap(kIova - kPage, 0 - kIova + kPage) == 0);
  CHECK(client.map(kIova, 8 * kPage, {memory.fd()}) == 0);
}

TEST_CASE("everything can be unmapped at once, as QEMU does with a vIOMMU") {
  Guest guest;
  SharedFile memory(2 * kPage);
  RawClient& client = *guest.client;
  REQUIRE(client.map(kIova, kPage, {memory.fd()}) == 0);
  REQUIRE(client.map(0, kPage, {}) == 0);
  CHECK(client.unmap(kIova, kPage, server::SharedMemory::kUnmapAll) == EINVAL);
  CHECK(client.unmap(0, 0, server::SharedMemory::kUnmapAll) == 0);
  CHECK(client.map(kIova, kPage, {memory.fd()}) == 0);
  CHECK(client.map(0, kPage, {memory.fd()}) == 0);
}

TEST_CASE("memory without a file is taken, told once, and out of the controller's reach") {
  Guest guest;
  RawClient& client = *guest.client;
  CHECK(client.map(kIova, 16 * kPage, {}) == 0);
  CHECK(client.map(kIova + 16 * kPage, kPage, {}) == 0);
  CHECK(guest.told.size() == 1);
  CHECK(client.map(kIova + kPage, kPage, {}) == EEXIST);
  CHECK(guest.space.mappings_left() == 65535);
  SharedFile memory(4 * kPage);
  client.bring_up(memory);
  nvme::Command command;
  command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::identify);
  command.prp1 = kIova;
  command.cdw10 = 1;
  client.submit(command);
  CHECK(client.answered());
  CHECK(guest.device().violation_count() == 1);  // DMA to what is not mapped
  CHECK(client.unmap(kIova, 16 * kPage) == 0);
}

TEST_CASE("thousands of pages can be mapped one by one, while a controller runs") {
  Guest guest;
  SharedFile memory(4 * kPage);
  RawClient& client = *guest.client;
  client.bring_up(memory);
  constexpr std::uint64_t kPages = 4000;
  // Each second page, so that the kernel cannot join them.
  for (std::uint64_t i = 0; i < kPages; ++i) REQUIRE(client.map(kIova + 2 * i * kPage, kPage, {memory.fd()}) == 0);
  client.identify();
  CHECK(client.answered());
  for (std::uint64_t i = 0; i < kPages; i += 2) REQUIRE(client.unmap(kIova + 2 * i * kPage, kPage) == 0);
  CHECK(guest.space.mappings_left() == 65535 - 1 - kPages / 2);
  REQUIRE(guest.session->end());
  CHECK(guest.space.mappings_left() == 65535);
  CHECK(guest.device().violation_count() == 0);
}

TEST_CASE("after a shutdown a client may take its memory back, shadow doorbells included") {
  Guest guest("size=1MiB,shadow=1");
  SharedFile memory(8 * kPage);
  RawClient& client = *guest.client;
  client.bring_up(memory);
  REQUIRE(client.map(kIova, 4 * kPage, {memory.fd()}, 4 * kPage) == 0);
  nvme::Command shadows = admin_command(nvme::AdminOpcode::doorbell_buffer_config, 0, 0, kIova);
  shadows.prp2 = kIova + kPage;
  client.submit(shadows);
  REQUIRE(client.answered());
  client.submit(create_cq_command(1, 16, kIova + 2 * kPage));
  REQUIRE(client.answered());
  client.submit(create_sq_command(1, 16, kIova + 3 * kPage, 1));
  REQUIRE(client.answered());
  client.write(0, nvme::reg::kCc, 1 | 1u << 14 | 6u << 16 | 4u << 20, 4);
  const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
  while (nvme::csts::kShst.of(client.read(0, nvme::reg::kCsts, 4)) != nvme::csts::kShstComplete)
    REQUIRE(steady_clock().now_ns() < end_ns);
  CHECK(client.unmap(kIova, 4 * kPage) == 0);
  CHECK(client.unmap(RawClient::kIova, 3 * kPage) == 0);
  steady_clock().pause_ns(20 * kNsPerMs);  // some steps of the controller's
  CHECK(nvme::csts::kCfs.of(client.read(0, nvme::reg::kCsts, 4)) == 0);
  CHECK(guest.device().violation_count() == 0);
}

TEST_CASE("memory that is unmapped under a running controller's queues is a fatal error, and no fault") {
  Guest guest;
  SharedFile memory(4 * kPage);
  RawClient& client = *guest.client;
  client.bring_up(memory);
  CHECK(client.unmap(RawClient::kIova, 3 * kPage) == 0);
  client.ring(0, 5);
  client.write(0, nvme::reg::kCc, 1 | 1u << 14 | 6u << 16 | 4u << 20, 4);  // a shutdown, which looks at the doorbells
  const std::uint64_t end_ns = steady_clock().now_ns() + kWaitNs;
  while (nvme::csts::kCfs.of(client.read(0, nvme::reg::kCsts, 4)) == 0) REQUIRE(steady_clock().now_ns() < end_ns);
  REQUIRE(guest.session->end());
}

}  // namespace
}  // namespace pollux::softnvme
