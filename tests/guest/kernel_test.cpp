// What only the kernel's VFIO has: run in the guest, a tag at a time, by the script of that name. POLLUX_TEST_DEVICE
// and POLLUX_OTHER_DEVICE name the drives.
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "pollux/tests/conformance/raw_io_queue.hpp"
#include "pollux/vfio/clock.hpp"
#include "pollux/vfio/eventfd.hpp"
#include "pollux/vfio/kernel/kernel.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::conformance {
namespace {

using vfio::InterruptIndex;

constexpr std::uint64_t kMiB = 1 << 20, kGiB = 1 << 30;
constexpr unsigned kDepth = 32;
constexpr std::uint32_t kCsts = 0x1c;
constexpr std::uint64_t kQuickNs = 5000 * kNsPerMs, kQuietNs = 100 * kNsPerMs;

std::string other_address() {
  const char* address = std::getenv("POLLUX_OTHER_DEVICE");
  return address != nullptr ? address : "";
}

// Another drive, in the address space of the first.
struct OtherDrive {
  explicit OtherDrive(TestDevice& first) {
    OpenOptions options = open_options();
    options.space = first.drive->space();
    auto opened = Drive::open(other_address(), options);
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
    const auto found = drive->open_namespace();
    if (!found) FAIL(found.error().message());
    ns = *found;
    auto made = drive->open_channel(ns);
    if (!made) FAIL(made.error().message());
    channel = std::move(*made);
  }

  std::unique_ptr<Drive> drive;
  Namespace ns;
  std::unique_ptr<Channel> channel;
};

double seconds_since(std::uint64_t start_ns) { return static_cast<double>(steady_clock().now_ns() - start_ns) * 1e-9; }

// Keeps `kDepth` reads in flight until it is told to stop or the channel takes no more, and counts each.
class Load {
 public:
  Load(TestDevice& device, const ChannelOptions& options = {.depth = kDepth})
      : buffer_(device.allocate(kPage)), channel_(device.open_channel(options)), block_(device.block()) {}

  void start() {
    for (unsigned i = 0; i < kDepth; ++i) submit();
    channel_->ring();
  }
  unsigned poll() { return channel_->poll(); }

  // Polls until everything is answered; false if that takes too long.
  bool finish() {
    stopping_ = true;
    return drain(*channel_) && answered_ == submitted_;
  }

  Channel& channel() { return *channel_; }
  bool revives() {
    stopping_ = true;
    return revived(*channel_, buffer_.slice(0, block_));
  }
  std::uint64_t answered() const { return answered_; }
  std::uint64_t aborted() const { return aborted_; }
  std::uint64_t failed_otherwise() const { return failed_otherwise_; }

 private:
  void submit() {
    if (channel_->read(submitted_ % 64, buffer_.slice(0, block_), answer, this) == Submit::accepted) ++submitted_;
  }
  static void answer(void* context, nvme::Status status) noexcept {
    Load& load = *static_cast<Load*>(context);
    ++load.answered_;
    // The second is the answer to what the controller was never told of.
    if (status.code() == nvme::StatusCode::aborted_by_host || status.code() == nvme::StatusCode::host_pathing_error)
      ++load.aborted_;
    else if (!status.ok())
      ++load.failed_otherwise_;
    if (!load.stopping_) load.submit();
  }

  dma::Buffer buffer_;  // outlives the channel
  std::unique_ptr<Channel> channel_;
  std::uint64_t block_;
  bool stopping_ = false;
  std::uint64_t submitted_ = 0, answered_ = 0, aborted_ = 0, failed_otherwise_ = 0;
};

// One that is expected to be lost: it is not asked to shut down at the end.
struct DoomedDevice : TestDevice {
  ~DoomedDevice() { drive.reset(); }

  // Polls drive and load until the drive says that it is lost; the message, or nothing after so many seconds.
  std::string poll_until_lost(Load& load, double limit_s = 60) {
    const std::uint64_t start_ns = steady_clock().now_ns();
    while (seconds_since(start_ns) < limit_s) {
      load.poll();
      if (const auto alive = drive->poll(); !alive) return alive.error().message();
    }
    return {};
  }
};

// As long as this lives, no mmap() of this process succeeds. For root.
class NoRoomForMappings {
 public:
  NoRoomForMappings() {
    std::ifstream(kLimit) >> before_;
    REQUIRE(before_ > 1);
    std::ofstream(kLimit) << 1;
    REQUIRE(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
  }
  NoRoomForMappings(const NoRoomForMappings&) = delete;
  NoRoomForMappings& operator=(const NoRoomForMappings&) = delete;
  ~NoRoomForMappings() { std::ofstream(kLimit) << before_; }

 private:
  static constexpr const char* kLimit = "/proc/sys/vm/max_map_count";
  unsigned before_ = 0;
};

bool bus_master_as_sysfs_shows(const std::string& bdf) {
  std::ifstream config("/sys/bus/pci/devices/" + bdf + "/config", std::ios::binary);
  config.seekg(vfio::pci::kCommand);
  return (config.get() & vfio::pci::kCommandBusMaster) != 0;
}

}  // namespace

TEST_CASE_METHOD(TestDevice, "two controllers in one address space use one buffer that was mapped once", "[space]") {
  OtherDrive other(*this);
  const auto before = drive->space()->io().mappings_left();
  const auto buffer = drive->allocate(kMiB);
  REQUIRE(buffer);
  const auto after = drive->space()->io().mappings_left();
  REQUIRE(before.has_value() == after.has_value());  // iommufd has no limit to count
  if (before) CHECK(*before - *after == 1);

  const auto one = open_channel();
  const dma::Slice data = buffer->slice(0, kPage);
  write_pattern(*one, 8, data, 1);
  fill_bytes(data, kGuard);
  REQUIRE(read(*one, 8, data).ok());
  REQUIRE(write(*other.channel, 16, data).ok());  // what the first drive put there the second one takes
  fill_bytes(data, kGuard);
  REQUIRE(read(*other.channel, 16, data).ok());
  CHECK_FALSE(first_difference(data, 1, words(8)));
}

// Without so much memory: the same pages of a file, again and again.
TEST_CASE_METHOD(TestDevice, "8 GiB cost at most 8 mappings, and all of them are reached", "[scale]") {
  constexpr std::uint64_t kFileBytes = 32 * kMiB, kBytes = 8 * kGiB;
  const auto file = dma::Memory::allocate(kFileBytes);
  REQUIRE(file);
  REQUIRE(file->page_size_bytes() == 2 * kMiB);
  void* const reserved = mmap(nullptr, kBytes + kGiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(reserved != MAP_FAILED);
  auto* const base =
      reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(reserved) + kGiB - 1) & ~(kGiB - 1));
  for (std::uint64_t at = 0; at < kBytes; at += kFileBytes) {
    REQUIRE(mmap(base + at, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file->fd(), 0) == base + at);
  }

  const auto before = drive->space()->io().mappings_left();
  const std::uint64_t start_ns = steady_clock().now_ns();
  {
    const auto registration = drive->space()->register_memory(base, kBytes);
    if (!registration) FAIL(registration.error().message());
    const auto after = drive->space()->io().mappings_left();
    if (before) {
      WARN(fmt::format("8 GiB took {} mappings and {:.1f} s", *before - *after, seconds_since(start_ns)));
      CHECK(*before - *after <= 8);
    }
    const auto channel = open_channel();
    const dma::Slice last = registration->slice(kBytes - kPage, kPage);
    write_pattern(*channel, 0, last, 7);
    CHECK(holds_pattern(*channel, 0, registration->slice(5 * kGiB + 3 * kPage, kPage), 7));
  }
  if (before) CHECK(drive->space()->io().mappings_left() == before);
  munmap(reserved, kBytes + kGiB);
}

TEST_CASE_METHOD(TestDevice, "without an IOMMU memory that the kernel may move is refused", "[noiommu]") {
  alignas(4096) static std::byte ordinary[4096];
  ordinary[0] = std::byte{1};  // present
  const auto refused = drive->space()->register_memory(ordinary, sizeof ordinary);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("not in hugepages") != std::string::npos);
  const auto buffer = allocate(kPage);
  CHECK(drive->space()->register_memory(buffer.slice().data + 4, 512));
}

// The script has set dma_entry_limit to something that is soon reached.
TEST_CASE_METHOD(TestDevice, "when no mapping is left the error says how many there were", "[limit]") {
  std::vector<dma::Buffer> buffers;
  std::string told;
  for (unsigned i = 0; i < 1000 && told.empty(); ++i) {
    auto buffer = drive->allocate(kPage);
    if (buffer)
      buffers.push_back(std::move(*buffer));
    else
      told = buffer.error().message();
  }
  INFO(told);
  CHECK(told.find("no DMA mapping is left") != std::string::npos);
  CHECK(told.find("dma_entry_limit") != std::string::npos);
  REQUIRE_FALSE(buffers.empty());
  buffers.pop_back();
  CHECK(drive->allocate(kPage));
}

TEST_CASE_METHOD(TestDevice, "after a reset of the function or of the bus queues are made anew and data is whole",
                 "[reset]") {
  const ResetReach reach = GENERATE(ResetReach::controller, ResetReach::function, ResetReach::bus);
  const Wait wait = GENERATE(Wait::poll, Wait::interrupt);
  CAPTURE(static_cast<int>(reach), static_cast<int>(wait));
  Load load(*this, {.depth = kDepth, .wait = wait});
  const auto buffer = allocate(kPage);
  {
    const auto channel = open_channel();
    write_pattern(*channel, 100, buffer.slice(0, kPage), 11);
    REQUIRE(flush(*channel).ok());
  }
  load.start();
  for (unsigned i = 0; i < 50; ++i) load.poll();
  const std::uint64_t start_ns = steady_clock().now_ns();
  const auto reset = drive->reset(reach);
  if (!reset) FAIL(reset.error().message());
  // What a function is given to come back (PCIe 6.6.1, 6.6.2): less, and nothing but the controller was reset.
  if (reach != ResetReach::controller) CHECK(seconds_since(start_ns) >= 0.1);
  const std::uint64_t answered_before = load.answered();
  CHECK(load.finish());
  CHECK(load.answered() - answered_before == kDepth);  // all that was in flight, and sent again
  CHECK(load.aborted() == 0);
  CHECK(load.failed_otherwise() == 0);
  REQUIRE(load.revives());
  Request request;
  REQUIRE(load.channel().read(100, buffer.slice(0, block()), Request::done, &request) == Submit::accepted);
  const Deadline deadline;
  while (request.answers == 0 && !deadline.passed()) load.channel().wait(1000);
  CHECK(request.status.ok());
  CHECK(holds_pattern(load.channel(), 100, buffer.slice(0, kPage), 11));
}

TEST_CASE_METHOD(TestDevice, "a reset of the bus reaches the other drive on it, and both go on", "[shared-bus]") {
  OtherDrive other(*this);
  const auto one = open_channel();
  const auto buffer = allocate(kPage);
  const dma::Slice block_of_other = buffer.slice(0, other.ns.block_size_bytes);
  REQUIRE(read(*other.channel, 0, block_of_other).ok());

  const auto reset = drive->reset(ResetReach::bus);
  if (!reset) FAIL(reset.error().message());
  REQUIRE(revived(*one, buffer.slice(0, block())));
  const auto csts = other.drive->controller().read_register32(kCsts);
  REQUIRE(csts);
  CHECK((*csts & 1) == 0);  // not ready: the reset has reached it
  REQUIRE(other.drive->poll());
  REQUIRE(revived(*other.channel, block_of_other));
}

TEST_CASE_METHOD(TestDevice, "a bus reset that would hit a device of somebody else is refused, and the drive goes on",
                 "[foreign-bus]") {
  const auto reset = drive->reset(ResetReach::bus);
  REQUIRE_FALSE(reset);
  WARN(reset.error().message());
  CHECK(reset.error().message().find("would reset") != std::string::npos);
  const auto channel = open_channel();
  const auto buffer = allocate(kPage);
  CHECK(read(*channel, 0, buffer.slice(0, block())).ok());
}

TEST_CASE_METHOD(TestDevice, "the way from the kernel to each eventfd can be tried without a command", "[loop-back]") {
  vfio::Device& device = drive->controller().device();
  const auto info = device.interrupt_info(InterruptIndex::msix);
  REQUIRE(info);
  REQUIRE(info->count >= 3);
  std::vector<vfio::Eventfd> eventfds;
  std::vector<int> fds;
  for (unsigned v = 0; v < 3; ++v) {
    eventfds.push_back(*vfio::Eventfd::create());
    fds.push_back(eventfds.back().fd());
  }
  CHECK_FALSE(device.trigger_interrupts(InterruptIndex::msix));  // nothing is installed
  REQUIRE(device.set_interrupts(InterruptIndex::msix, fds));
  REQUIRE(device.trigger_interrupts(InterruptIndex::msix));
  for (const vfio::Eventfd& eventfd : eventfds) CHECK(eventfd.drain() == 1);
  CHECK_FALSE(device.unmask_interrupt(InterruptIndex::msix));  // vfio-pci masks INTx alone
}

// A completion that is taken at once takes its interrupt back: these are left until somebody was woken.
TEST_CASE_METHOD(TestDevice, "without MSI-X a queue signals INTx, once for each time it is unmasked", "[intx]") {
  vfio::Device& device = drive->controller().device();
  const auto eventfd = *vfio::Eventfd::create();
  const int fds[] = {eventfd.fd()};
  Queue queue(*drive, ns, std::uint16_t{0});
  const auto signals = [&](std::uint64_t wait_ns) {
    eventfd.drain();
    Request request;
    queue.submit(request);
    const bool signalled = eventfd.wait(wait_ns);
    REQUIRE(queue.finish(request));
    return signalled;
  };
  CHECK_FALSE(signals(kQuietNs));  // nobody listens
  REQUIRE(device.set_interrupts(InterruptIndex::intx, fds));
  CHECK(signals(kQuickNs));
  CHECK_FALSE(signals(kQuietNs));
  REQUIRE(device.unmask_interrupt(InterruptIndex::intx));
  CHECK(signals(kQuickNs));
  REQUIRE(device.set_interrupts(InterruptIndex::intx, {}));
  CHECK_FALSE(signals(kQuietNs));
}

TEST_CASE_METHOD(TestDevice, "an error that the link reports is followed by a reset of the controller", "[error]") {
  Load load(*this);
  load.start();
  REQUIRE(drive->controller().device().trigger_interrupts(InterruptIndex::error));
  REQUIRE(drive->poll());
  CHECK(load.finish());
  CHECK(load.answered() == kDepth);  // nothing was polled before the reset: all were sent again
  CHECK(load.aborted() == 0);
  CHECK(load.failed_otherwise() == 0);
  REQUIRE(load.revives());
}

TEST_CASE_METHOD(DoomedDevice, "a drive that is asked for is given back with every request answered", "[request]") {
  Load load(*this);
  const auto buffer = allocate(kPage);
  load.start();
  REQUIRE(drive->controller().device().trigger_interrupts(InterruptIndex::request));
  const std::string told = poll_until_lost(load, 10);
  CHECK(told.find("wants the drive back") != std::string::npos);
  CHECK(load.finish());
  CHECK(load.failed_otherwise() == 0);
  CHECK(load.channel().read(0, buffer.slice(0, block()), Request::done, nullptr) == Submit::gone);
  // The function is free: a second drive in the same process has it.
  auto again = Drive::open(device_address(), open_options());
  if (!again) FAIL(again.error().message());
}

TEST_CASE_METHOD(DoomedDevice, "a drive that is asked for when nothing can be laid over its BARs reaches no memory",
                 "[request]") {
  const std::string bdf = vfio::Address::parse(device_address())->target;
  {
    Load load(*this);
    load.start();
    CHECK(bus_master_as_sysfs_shows(bdf));
    std::string told;
    {
      const NoRoomForMappings none;
      REQUIRE(drive->controller().device().trigger_interrupts(InterruptIndex::request));
      told = poll_until_lost(load, 10);
    }
    CHECK(told.find("wants the drive back") != std::string::npos);
    CHECK_FALSE(bus_master_as_sysfs_shows(bdf));
    CHECK(load.finish());  // and rings doorbells that are still there
    CHECK(load.failed_otherwise() == 0);
  }
  drive.reset();
  auto again = Drive::open(device_address(), open_options());  // with the last mapping it went back
  if (!again) FAIL(again.error().message());
}

TEST_CASE_METHOD(DoomedDevice, "whoever unbinds a drive in use has it within a second or two", "[unbind]") {
  Load load(*this);
  load.start();
  const std::string bdf = vfio::Address::parse(device_address())->target;
  static std::atomic<bool> unbound = false;  // static: the thread may outlive a test that fails
  static std::atomic<std::uint64_t> took_ns = 0;
  std::thread administrator([bdf] {
    const std::uint64_t start_ns = steady_clock().now_ns();
    std::ofstream("/sys/bus/pci/drivers/vfio-pci/unbind") << bdf << std::flush;  // returns when the drive is free
    took_ns = steady_clock().now_ns() - start_ns;
    unbound = true;
  });
  const std::string told = poll_until_lost(load);
  CHECK(told.find("wants the drive back") != std::string::npos);
  const std::uint64_t start_ns = steady_clock().now_ns();
  while (!unbound && seconds_since(start_ns) < 30) load.poll();
  CHECK(unbound);
  unbound ? administrator.join() : administrator.detach();
  WARN(fmt::format("unbinding took {:.2f} s, {} reads were answered, {} of them aborted",
                   static_cast<double>(took_ns) * 1e-9, load.answered(), load.aborted()));
  CHECK(took_ns < 3000 * kNsPerMs);  // a second on a machine; the guest is some fourteen times slower
  CHECK(load.finish());  // each was answered; how many of them aborted is chance: what had completed is told so
  CHECK(load.failed_otherwise() == 0);
}

TEST_CASE_METHOD(DoomedDevice, "a drive that is lost already is given back all the same", "[request]") {
  Load load(*this);
  load.start();
  vfio::Device& device = drive->controller().device();
  const auto command = vfio::read_config16(device, vfio::pci::kCommand);
  REQUIRE(command);
  const auto off = static_cast<std::uint16_t>(*command & ~vfio::pci::kCommandMemorySpace);
  REQUIRE(vfio::write_config16(device, vfio::pci::kCommand, off));
  REQUIRE(device.trigger_interrupts(InterruptIndex::request));
  const std::uint64_t start_ns = steady_clock().now_ns();
  const auto told = drive->poll();  // the request comes first, and nobody is there to talk to
  REQUIRE_FALSE(told);
  CHECK(seconds_since(start_ns) < 5);
  CHECK(load.finish());
  for (const auto& later : {drive->poll(), drive->reset(), drive->shutdown()}) {
    REQUIRE_FALSE(later);
    CHECK(later.error().message().find("wants the drive back") != std::string::npos);
  }
}

// The script removes the drive, in one way or the other.
TEST_CASE_METHOD(DoomedDevice, "a drive that is removed while I/O runs answers every request", "[removal]") {
  Load load(*this);
  const auto buffer = allocate(kPage);
  load.start();
  while (load.answered() < 100) load.poll();
  fmt::print("REMOVE IT\n");
  std::fflush(stdout);
  const std::string told = poll_until_lost(load, 100);
  WARN(told);
  CHECK_FALSE(told.empty());
  CHECK(load.finish());
  CHECK(load.failed_otherwise() == 0);
  CHECK(load.channel().read(0, buffer.slice(0, block()), Request::done, nullptr) == Submit::gone);
}

TEST_CASE_METHOD(DoomedDevice, "a BAR that is touched while memory space is off kills nobody", "[memory-space]") {
  Load load(*this);
  load.start();
  vfio::Device& device = drive->controller().device();
  const auto command = vfio::read_config16(device, vfio::pci::kCommand);
  REQUIRE(command);
  const auto off = static_cast<std::uint16_t>(*command & ~vfio::pci::kCommandMemorySpace);
  REQUIRE(vfio::write_config16(device, vfio::pci::kCommand, off));
  for (unsigned i = 0; i < 1000; ++i) load.poll();  // doorbells go to ordinary memory
  const auto csts = drive->controller().read_register32(kCsts);
  REQUIRE(csts);
  CHECK(*csts == 0);
  SECTION("back on in time nobody notices") {
    REQUIRE(vfio::write_config16(device, vfio::pci::kCommand, *command));
    CHECK(*drive->controller().read_register32(kCsts) != 0);
    REQUIRE(drive->reset());
    CHECK(load.finish());
    CHECK(load.revives());
  }
  SECTION("else the drive is lost") {
    CHECK_FALSE(drive->poll());
    CHECK(load.finish());
    CHECK_FALSE(drive->poll());
  }
}

TEST_CASE_METHOD(TestDevice, "memory space stays on where nothing can be laid over the BARs", "[memory-space]") {
  Load load(*this);
  load.start();
  vfio::Device& device = drive->controller().device();
  const auto command = vfio::read_config16(device, vfio::pci::kCommand);
  REQUIRE(command);
  const auto off = static_cast<std::uint16_t>(*command & ~vfio::pci::kCommandMemorySpace);
  {
    const NoRoomForMappings none;
    const auto refused = vfio::write_config16(device, vfio::pci::kCommand, off);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().os_error == ENOMEM);
    CHECK(refused.error().message().find("nothing was written; raise vm.max_map_count") != std::string::npos);
  }
  CHECK(*vfio::read_config16(device, vfio::pci::kCommand) == *command);
  for (unsigned i = 0; i < 1000; ++i) load.poll();
  CHECK(load.finish());
  CHECK(load.aborted() + load.failed_otherwise() == 0);
  REQUIRE(load.revives());
}

TEST_CASE_METHOD(DoomedDevice, "BARs that cannot be mapped again stay covered, and are mapped with the next write",
                 "[memory-space]") {
  vfio::Device& device = drive->controller().device();
  const auto command = vfio::read_config16(device, vfio::pci::kCommand);
  REQUIRE(command);
  const auto off = static_cast<std::uint16_t>(*command & ~vfio::pci::kCommandMemorySpace);
  REQUIRE(vfio::write_config16(device, vfio::pci::kCommand, off));
  {
    const NoRoomForMappings none;
    const auto told = vfio::write_config16(device, vfio::pci::kCommand, *command);
    REQUIRE_FALSE(told);
    CHECK(told.error().message().find("cannot be mapped again") != std::string::npos);
    CHECK(*drive->controller().read_register32(kCsts) == 0);  // ordinary memory
  }
  REQUIRE(vfio::write_config16(device, vfio::pci::kCommand, *command));
  CHECK(*drive->controller().read_register32(kCsts) != 0);
}

}  // namespace pollux::conformance
