#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <filesystem>
#include <numeric>
#include <thread>

#include "pollux/dma/space.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/eventfd.hpp"
#include "pollux/vfio/user/client.hpp"
#include "scripted_server.hpp"

using namespace pollux;
using namespace pollux::vfio;
using namespace pollux::vfio::user;

namespace {

constexpr std::uint64_t k2MiB = 1 << 21;

struct Scene {
  ScriptedServer server;
  std::shared_ptr<dma::Space> space;

  Result<std::unique_ptr<Device>> attach() {
    const auto address = Address::parse(server.address());
    REQUIRE(address);
    auto io = scheme().make_space(*address);
    REQUIRE(io);
    space = dma::Space::create(std::move(*io));
    return space->attach(*address);
  }
  std::unique_ptr<Device> attached() {
    auto device = attach();
    if (!device) FAIL(device.error().message());
    return std::move(*device);
  }
};

bool says(const Error& error, std::string_view word) { return error.message().find(word) != std::string::npos; }

std::vector<std::byte> counting(std::size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 7 + 1);
  return data;
}

}  // namespace

TEST_CASE_METHOD(Scene, "regions are as the server tells, and their mappable areas are its memory") {
  const auto device = attached();
  const auto bar0 = device->region_info(RegionIndex::bar0);
  REQUIRE(bar0);
  CHECK(bar0->size_bytes == ScriptedServer::kBar0Bytes);
  REQUIRE(bar0->mappable == std::vector<RegionArea>{{0x1000, 0x1000}});
  CHECK(device->region_info(RegionIndex::bar1)->size_bytes == 0);
  const auto area = device->map(RegionIndex::bar0, bar0->mappable[0]);
  REQUIRE(area);
  area->address()[8] = std::byte{0x42};
  CHECK(server.bar0()[0x1008] == std::byte{0x42});
  const auto outside = device->map(RegionIndex::bar0, {0, 0x1000});
  REQUIRE_FALSE(outside);
  CHECK(says(outside.error(), "by call"));
}

TEST_CASE_METHOD(Scene, "a region that needs more room for its answer is asked again") {
  std::vector<std::uint32_t> asked;
  server.on(Command::device_get_region_info, [&](const Message& command) {
    auto question = *read_part<vfio_region_info>(command.payload);
    if (question.index != 1) return server.behave(command);
    asked.push_back(question.argsz);
    question.argsz = 4000;
    question.size = 8192;
    std::vector<std::byte> payload;
    append(payload, question);
    server.reply(command, payload);
  });
  const auto device = attached();
  CHECK(device->region_info(RegionIndex::bar1)->size_bytes == 8192);
  CHECK(asked == std::vector<std::uint32_t>{1024, 4000});
}

TEST_CASE_METHOD(Scene, "an area without a file, or with one that has no end to look at, is reached by message") {
  const FileDescriptor device_file(open("/dev/zero", O_RDWR | O_CLOEXEC));
  std::vector<int> fds;
  SECTION("none") {}
  SECTION("a device") { fds = {device_file.get()}; }
  server.on(Command::device_get_region_info, [&](const Message& command) {
    auto info = *read_part<vfio_region_info>(command.payload);
    info.argsz = sizeof info;
    info.size = 0x2000;
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;
    std::vector<std::byte> payload;
    append(payload, info);
    server.reply(command, payload, fds);
  });
  const auto device = attached();
  CHECK(device->region_info(RegionIndex::bar0)->mappable.empty());
}

TEST_CASE_METHOD(Scene, "reading and writing keep to what the server takes in one message") {
  server.capabilities = R"({"capabilities":{"max_data_xfer_size":1000}})";
  const auto device = attached();
  server.take(Command::region_read);  // of taking the function over
  server.take(Command::region_write);
  const auto data = counting(4096);
  REQUIRE(device->write(RegionIndex::config, 0, data));
  CHECK(server.count(Command::region_write) == 5);
  std::vector<std::byte> back(4096);
  REQUIRE(device->read(RegionIndex::config, 0, back));
  CHECK(back == data);
  CHECK(server.count(Command::region_read) == 5);
  CHECK_FALSE(device->read(RegionIndex::config, 4090, std::span(back).first(7)));
  CHECK_FALSE(device->write(RegionIndex::bar2, 0, std::span(back).first(1)));
}

TEST_CASE_METHOD(Scene, "registers are written in pieces of 8 bytes, in one message where the server takes that") {
  const bool multiple = GENERATE(true, false);
  server.capabilities = fmt::format(R"({{"capabilities":{{"write_multiple":{}}}}})", multiple);
  const auto device = attached();
  server.take(Command::region_write);
  const auto data = counting(20);
  REQUIRE(device->write(RegionIndex::bar0, 0x24, data));
  CHECK(std::equal(data.begin(), data.end(), server.bar0() + 0x24));
  CHECK(server.count(Command::region_write_multi) == (multiple ? 1 : 0));
  CHECK(server.count(Command::region_write) == (multiple ? 0 : 3));
}

TEST_CASE_METHOD(Scene, "eventfds go out in messages of as many as the server takes, for a vector without one too") {
  const auto device = attached();
  const Eventfd eventfd = *Eventfd::create();
  const int one = eventfd.fd();
  const int fds[] = {-1, one, one, one, one, one};  // five in a row, where four fit
  REQUIRE(device->set_interrupts(InterruptIndex::msix, fds));
  auto sent = server.take(Command::device_set_irqs);
  REQUIRE(sent.size() == 2);
  const auto first = *read_part<InterruptSetPayload>(sent[0].payload),
             second = *read_part<InterruptSetPayload>(sent[1].payload);
  CHECK(first.argsz == sizeof first);
  CHECK(sent[0].payload.size() == sizeof first);
  CHECK(first.flags == (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER));
  CHECK(first.index == VFIO_PCI_MSIX_IRQ_INDEX);
  CHECK(first.start == 0);
  CHECK(first.count == 4);
  CHECK(sent[0].fds.size() == 4);
  CHECK(second.start == 4);
  CHECK(second.count == 2);
  CHECK(sent[1].fds.size() == 2);

  // What came for the first vector was pending until it has an eventfd.
  REQUIRE(eventfd_write(sent[0].fds[0].get(), 5) == 0);
  CHECK_FALSE(eventfd.wait(0));
  const int all[] = {one, one, one, one, one, one};
  REQUIRE(device->set_interrupts(InterruptIndex::msix, all));
  CHECK(server.take(Command::device_set_irqs).size() == 2);
  CHECK(eventfd.drain() == 1);

  // A vector that goes takes all of them off first; the rest come back.
  REQUIRE(device->set_interrupts(InterruptIndex::msix, std::span(fds).first(3)));
  sent = server.take(Command::device_set_irqs);
  REQUIRE(sent.size() == 2);
  const auto off = *read_part<InterruptSetPayload>(sent[0].payload);
  CHECK(off.flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER));
  CHECK(off.count == 0);
  CHECK(read_part<InterruptSetPayload>(sent[1].payload)->count == 3);

  REQUIRE(device->trigger_interrupts(InterruptIndex::msix));
  CHECK(read_part<InterruptSetPayload>(server.take(Command::device_set_irqs)[0].payload)->count == 3);
  REQUIRE(device->set_interrupts(InterruptIndex::msix, {}));
  CHECK(server.count(Command::device_set_irqs) == 1);
  const std::vector<int> many(ScriptedServer::kVectors + 1, one);
  CHECK_FALSE(device->set_interrupts(InterruptIndex::msix, many));
}

// A function with power management, MSI and MSI-X, as the client before left it: in D3hot, memory space off, everything
// that can interrupt enabled, bus mastering on.
struct UsedFunction : Scene {
  static constexpr std::size_t kCommand = 4, kStatus = 6, kFirst = 0x34, kPower = 0x40, kMsi = 0x50, kMsix = 0x70;
  static constexpr std::uint16_t kMsixEnable = 0x8000, kMsixMask = 0x4000, kInterruptDisable = 0x400;

  UsedFunction() {
    server.set_config16(kStatus, 0x10);
    server.set_config16(kFirst, kPower);
    server.set_config16(kPower, 0x01 | kMsi << 8);
    server.set_config16(kMsi, 0x05 | kMsix << 8);
    server.set_config16(kMsix, 0x11);
    use();
  }
  void use() {
    server.set_config16(kCommand, 0x104);
    server.set_config16(kPower + 4, 0x100b);
    server.set_config16(kMsi + 2, 0x00a5);
    server.set_config16(kMsix + 2, kMsixEnable | kMsixMask | 5);
  }
  bool is_as_vfio_hands_over() const {
    return server.config16(kCommand) == (0x106 | kInterruptDisable) && server.config16(kPower + 4) == 0x1008 &&
           (server.config16(kMsi + 2) & 1) == 0 && server.config16(kMsix + 2) == 5;
  }
};

TEST_CASE_METHOD(UsedFunction,
                 "a function is taken over awake and with its interrupts off, at first and each time it comes back") {
  const auto device = attached();
  CHECK(is_as_vfio_hands_over());
  server.hang_up();
  use();
  REQUIRE(device->reconnect());
  CHECK(is_as_vfio_hands_over());
}

// The thread sanitizer sees whether what it looks at is replaced meanwhile.
TEST_CASE_METHOD(Scene, "a doorbell may be written by message at any moment while its server comes back") {
  constexpr std::uint64_t kDoorbell = 0x1000;
  const auto device = attached();
  std::atomic<bool> stop = false;
  std::atomic<unsigned> done = 0;
  std::thread owner([&] {
    while (!stop) done += device->write(RegionIndex::bar0, kDoorbell, counting(4)).has_value();
  });
  for (int time = 0; time < 5; ++time) {
    server.hang_up();
    const auto back = device->reconnect();
    if (!back) WARN(back.error().why.message());
    CHECK(back);
    const unsigned before = done;
    const std::uint64_t end_ns = steady_clock().now_ns() + 10'000 * kNsPerMs;
    while (done == before && steady_clock().now_ns() < end_ns) steady_clock().pause_ns(kNsPerMs);
    CHECK(done != before);
  }
  stop = true;
  owner.join();
}

TEST_CASE_METHOD(UsedFunction, "MSI-X is enabled once its vectors have eventfds, and disabled before they lose them") {
  const auto device = attached();
  // With how many messages for eventfds the control register became what.
  std::vector<std::pair<std::size_t, std::uint16_t>> history;
  server.on(Command::region_write, [&](const Message& command) {
    if (read_part<RegionAccessPayload>(command.payload)->offset == kMsix + 2)
      history.emplace_back(server.count(Command::device_set_irqs),
                           *read_part<std::uint16_t>(command.payload, sizeof(RegionAccessPayload)));
    server.behave(command);  // afterwards: with the answer the client goes on
  });
  const Eventfd eventfd = *Eventfd::create();
  const std::vector<int> fds(6, eventfd.fd());
  using History = decltype(history);
  constexpr std::uint16_t kOn = kMsixEnable | 5, kOff = 5;
  REQUIRE(device->set_interrupts(InterruptIndex::msix, fds));
  CHECK(history == History{{2, kOn}});
  REQUIRE(device->set_interrupts(InterruptIndex::msix, std::span(fds).first(2)));  // off, and two again
  CHECK(history == History{{2, kOn}, {2, kOff}, {4, kOn}});
  server.hang_up();
  use();
  REQUIRE(device->reconnect());
  CHECK(history == History{{2, kOn}, {2, kOff}, {4, kOn}, {4, kOff}, {5, kOn}});
  REQUIRE(device->set_interrupts(InterruptIndex::msix, {}));
  CHECK(history.back() == History::value_type{5, kOff});
  CHECK(server.count(Command::device_set_irqs) == 6);
}

TEST_CASE_METHOD(UsedFunction, "a server that comes back with fewer interrupts than have eventfds is another one") {
  const auto device = attached();
  const Eventfd eventfd = *Eventfd::create();
  const std::vector<int> fds(2, eventfd.fd());
  REQUIRE(device->set_interrupts(InterruptIndex::msix, fds));
  server.hang_up();
  server.on(Command::device_get_irq_info, [&](const Message& command) {
    auto info = *read_part<vfio_irq_info>(command.payload);
    info.count = 1;
    info.flags = VFIO_IRQ_INFO_EVENTFD;
    std::vector<std::byte> payload;
    append(payload, info);
    server.reply(command, payload);
  });
  const auto back = device->reconnect();
  REQUIRE_FALSE(back);
  CHECK(back.error().is_final);
  CHECK(says(back.error().why, "2 eventfds for the MSI-X interrupts of the device: it has 1 vectors"));
}

TEST_CASE_METHOD(Scene, "a reset is a message") {
  const auto device = attached();
  REQUIRE(device->reset());
  CHECK(server.count(Command::device_reset) == 1);
}

TEST_CASE_METHOD(Scene, "an address that leads to no PCI device is refused") {
  server.on(Command::device_get_info, [&](const Message& command) {
    std::vector<std::byte> payload;
    append(payload, DeviceInfoPayload{.flags = VFIO_DEVICE_FLAGS_RESET, .regions = 2, .interrupts = 1});
    server.reply(command, payload);
  });
  const auto device = attach();
  REQUIRE_FALSE(device);
  CHECK(says(device.error(), "no PCI device"));
  CHECK(says(device.error(), server.path()));
}

TEST_CASE_METHOD(Scene, "memory is mapped by its file, in pieces of 2 MiB that lie at multiples of it") {
  const auto device = attached();
  {
    const auto buffer = space->allocate(4096);
    REQUIRE(buffer);
    CHECK(buffer->slice().iova % k2MiB == 0);
    const auto sent = server.take(Command::dma_map);
    REQUIRE(sent.size() == 1);
    const auto map = *read_part<DmaMapPayload>(sent[0].payload);
    CHECK(map.argsz == 32);
    CHECK(map.flags == 3);
    CHECK(map.iova == buffer->slice().iova);
    CHECK(map.size_bytes == k2MiB);
    REQUIRE(sent[0].fds.size() == 1);
    // What the server maps is the memory that we hold.
    void* const theirs = mmap(nullptr, k2MiB, PROT_READ | PROT_WRITE, MAP_SHARED, sent[0].fds[0].get(),
                              static_cast<off_t>(map.fd_offset));
    REQUIRE(theirs != MAP_FAILED);
    buffer->slice().data[100] = std::byte{9};
    CHECK(static_cast<std::byte*>(theirs)[100] == std::byte{9});
    munmap(theirs, k2MiB);
    CHECK(space->io().mappings_left() == 65534);
  }
  const auto gone = server.take(Command::dma_unmap);
  REQUIRE(gone.size() == 1);
  CHECK(read_part<DmaUnmapPayload>(gone[0].payload)->size_bytes == k2MiB);
  CHECK(space->io().mappings_left() == 65535);
}

TEST_CASE_METHOD(Scene, "memory without a file is refused with the reason") {
  const auto device = attached();
  alignas(4096) static std::byte plain[4096];
  const auto registered = space->register_memory(plain, sizeof plain);
  REQUIRE_FALSE(registered);
  CHECK(says(registered.error(), "by its file"));
  CHECK(server.count(Command::dma_map) == 0);
}

TEST_CASE_METHOD(Scene, "a mapping that the server refuses leaves nothing behind") {
  server.on(Command::dma_map, [&](const Message& command) { server.refuse(command, EINVAL); });
  const auto device = attached();
  const auto buffer = space->allocate(4096);
  REQUIRE_FALSE(buffer);
  CHECK(says(buffer.error(), "2 MiB"));
  CHECK(space->io().mappings_left() == 65535);
}

TEST_CASE_METHOD(Scene, "as many mappings are made as the server takes") {
  server.capabilities = R"({"capabilities":{"max_dma_maps":1}})";
  const auto device = attached();
  const auto buffer = space->allocate(4096);
  REQUIRE(buffer);
  const auto another = space->allocate(4096);
  REQUIRE_FALSE(another);
  CHECK(another.error().os_error == ENOSPC);
}

TEST_CASE_METHOD(Scene, "when the server dies every call ends at once, and what was mapped stays memory") {
  const auto device = attached();
  const auto area = device->map(RegionIndex::bar0, {0x1000, 0x1000});
  REQUIRE(area);
  auto buffer = space->allocate(4096);
  server.hang_up();
  std::array<std::byte, 4> word{};
  const std::uint64_t start_ns = steady_clock().now_ns();
  CHECK_FALSE(device->read(RegionIndex::bar0, 0, word));
  CHECK_FALSE(device->reset());
  CHECK_FALSE(space->allocate(4096));
  buffer = {};
  CHECK(steady_clock().now_ns() - start_ns < 1000 * kNsPerMs);
  area->address()[0] = std::byte{1};
  device->release();
  CHECK(area->address()[0] == std::byte{0});
  CHECK_FALSE(device->read(RegionIndex::bar0, 0, word));
}

TEST_CASE_METHOD(Scene, "a space holds one device, and takes another when that one is closed") {
  auto device = attached();
  const auto second = space->attach(*Address::parse(server.address()));
  REQUIRE_FALSE(second);
  CHECK(says(second.error(), "one device"));
  device.reset();
  const ScriptedServer next;
  CHECK(space->attach(*Address::parse(next.address())));
}

TEST_CASE_METHOD(
    Scene, "a server that comes back gets memory and interrupts again, and shows its doorbells at the old place") {
  const auto device = attached();
  const auto area = device->map(RegionIndex::bar0, {0x1000, 0x1000});
  REQUIRE(area);
  const auto buffer = space->allocate(4096);
  REQUIRE(buffer);
  auto doomed = space->allocate(4096);
  const Eventfd eventfd = *Eventfd::create();
  const int fds[] = {-1, eventfd.fd()};
  REQUIRE(device->set_interrupts(InterruptIndex::msix, fds));
  server.take(Command::dma_map);
  server.take(Command::device_set_irqs);
  server.hang_up();
  std::array<std::byte, 4> word{};
  CHECK_FALSE(device->read(RegionIndex::bar0, 0, word));
  doomed = {};  // while nobody is there
  CHECK(device->may_come_back());

  const auto back = device->reconnect();
  if (!back) FAIL(back.error().why.message());
  const auto maps = server.take(Command::dma_map);
  REQUIRE(maps.size() == 1);
  CHECK(read_part<DmaMapPayload>(maps[0].payload)->iova == buffer->slice().iova);
  CHECK(maps[0].fds.size() == 1);
  const auto interrupts = server.take(Command::device_set_irqs);
  REQUIRE(interrupts.size() == 1);
  CHECK(read_part<InterruptSetPayload>(interrupts[0].payload)->count == 2);
  area->address()[4] = std::byte{0x77};
  CHECK(server.bar0()[0x1004] == std::byte{0x77});
  CHECK(device->read(RegionIndex::bar0, 0, word));
}

TEST_CASE_METHOD(Scene, "a server that is another one when it comes back is refused") {
  const auto device = attached();
  server.hang_up();
  SECTION("other terms") { server.capabilities = "{}"; }
  SECTION("another region") {
    server.on(Command::device_get_region_info, [&](const Message& command) {
      auto info = *read_part<vfio_region_info>(command.payload);
      info.argsz = sizeof info;
      info.size = 0x8000;
      std::vector<std::byte> payload;
      append(payload, info);
      server.reply(command, payload);
    });
  }
  SECTION("another version") { server.major = 1; }
  SECTION("a region that can no longer be written") {
    server.on(Command::device_get_region_info, [&](const Message& command) {
      auto info = *read_part<vfio_region_info>(command.payload);
      if (info.index != VFIO_PCI_CONFIG_REGION_INDEX) return server.behave(command);
      info.argsz = sizeof info;
      info.size = ScriptedServer::kConfigBytes;
      info.flags = VFIO_REGION_INFO_FLAG_READ;
      std::vector<std::byte> payload;
      append(payload, info);
      server.reply(command, payload);
    });
  }
  const auto back = device->reconnect();
  REQUIRE_FALSE(back);
  CAPTURE(back.error().why.message());
  CHECK(back.error().is_final);
  CHECK((says(back.error().why, "another") || says(back.error().why, "version 1.2")));
}

TEST_CASE_METHOD(Scene, "an address may be the folder that a target listens in, at \"cntrl\"") {
  const auto folder = std::filesystem::path(server.path()).parent_path();
  const auto address = Address::parse("vfio-user:" + folder.string());
  REQUIRE(address);
  auto io = scheme().make_space(*address);
  REQUIRE(io);
  const auto nobody = (*io)->attach(*address);
  REQUIRE_FALSE(nobody);
  CHECK(says(nobody.error(), folder.string() + "/cntrl"));
  CHECK(says(nobody.error(), "start the server"));
  std::filesystem::create_symlink(server.path(), folder / "cntrl");
  const auto device = (*io)->attach(*address);
  REQUIRE(device);
  server.hang_up();
  CHECK((*device)->reconnect());
}

TEST_CASE_METHOD(Scene, "a write that the server did in part is an error, in config space and in a BAR") {
  const auto device = attached();
  server.on(Command::region_write, [&](const Message& command) {
    auto access = *read_part<RegionAccessPayload>(command.payload);
    access.count -= 1;
    std::vector<std::byte> payload;
    append(payload, access);
    server.reply(command, payload);
  });
  const auto index = GENERATE(RegionIndex::bar0, RegionIndex::config);
  const auto written = device->write(index, 0x10, counting(4));
  REQUIRE_FALSE(written);
  CHECK(says(written.error(), "3 of 4 bytes were written at 0x10"));
  server.on(Command::region_write, [&](const Message& command) { server.reply(command); });
  CHECK(says(device->write(index, 0x10, counting(4)).error(), "16 are the least"));
}

TEST_CASE_METHOD(Scene, "a server that is back and says nothing, or refuses for now, may still be the one") {
  const auto device = attached();
  server.hang_up();
  SECTION("it serves somebody else") {
    server.on(Command::version, [&](const Message&) { server.hang_up(); });
  }
  SECTION("it refuses") {
    server.on(Command::device_get_info, [&](const Message& command) { server.refuse(command, EBUSY); });
  }
  SECTION("it dies again") {
    server.on(Command::device_get_info, [&](const Message&) { server.hang_up(); });
  }
  const auto back = device->reconnect();
  REQUIRE_FALSE(back);
  CAPTURE(back.error().why.message());
  CHECK_FALSE(back.error().is_final);
}

TEST_CASE_METHOD(Scene, "nobody at the old place is an error at once") {
  const auto device = attached();
  std::filesystem::remove(server.path());
  server.hang_up();
  const auto back = device->reconnect();
  REQUIRE_FALSE(back);
  CHECK_FALSE(back.error().is_final);
  CHECK(says(back.error().why, "start the server"));
}
