// pollux-vf PF shared|apart: drives a physical function, its address with a token, and its virtual function 1 from one
// process, in one address space or in one each. Creates the virtual functions (root), gives the first its queues and
// interrupts, has both write at the same time, each to a range of its own of the same namespace, and has each read what
// the other wrote. Then: which reset the virtual function survives, and what it says of one that it does not.
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#include "pollux/driver/block/block.hpp"
#include "pollux/driver/controller/virtualization.hpp"
#include "pollux/vfio/pci/virtual_functions.hpp"

namespace {

using pollux::Result;
using pollux::nvme::ResourceType;

constexpr unsigned kFunctions = 2;    // virtual ones to create
constexpr std::uint16_t kNumber = 1;  // of the one that is driven
constexpr unsigned kRequests = 128, kDepth = 32;
constexpr std::uint32_t kBytes = 4096;  // of a request
constexpr pollux::nvme::SecondaryWants kWants{.io_queues = 2, .interrupts = 3};

// Bytes that tell the round and the place that they belong to.
void fill(std::byte* into, std::uint64_t round, std::uint64_t lba) {
  for (std::uint64_t word = 0; word < kBytes / 8; ++word) {
    const std::uint64_t value = (round << 48 | lba << 16 | word) * 0x9e37'79b9'7f4a'7c15;
    std::memcpy(into + word * 8, &value, 8);
  }
}

// One drive, and the kRequests requests that it has in flight, kDepth at a time.
class Side {
 public:
  static Result<Side> open(std::string_view address, const pollux::OpenOptions& options, pollux::Wait wait) {
    Side side;
    auto drive = pollux::Drive::open(address, options);
    if (!drive) return std::unexpected(drive.error());
    side.drive_ = std::move(*drive);
    auto ns = side.drive_->open_namespace();
    if (!ns) return std::unexpected(ns.error());
    side.ns_ = *ns;
    auto channel = side.drive_->open_channel(*ns, {.depth = kDepth, .wait = wait});
    if (!channel) return std::unexpected(channel.error());
    side.channel_ = std::move(*channel);
    auto buffer = side.drive_->allocate(std::uint64_t{kRequests} * kBytes);
    if (!buffer) return std::unexpected(buffer.error());
    side.buffer_ = std::move(*buffer);
    return side;
  }

  pollux::Drive& drive() { return *drive_; }
  bool done() const { return answered_ == kRequests; }

  void start_writing(std::uint64_t round, unsigned range) {
    start(range, true);
    for (unsigned i = 0; i < kRequests; ++i) fill(at(i), round, lba(i));
  }
  void start_reading(unsigned range) {
    start(range, false);
    std::memset(at(0), 0, std::size_t{kRequests} * kBytes);
  }

  // Keeps the queue full and answers what has completed. `sleep`: waits for the next, as the channel was told to.
  Result<void> turn(bool sleep) {
    while (submitted_ < kRequests) {
      const auto data = buffer_.slice(std::uint64_t{submitted_} * kBytes, kBytes);
      const pollux::Submit submit = writing_ ? channel_->write(lba(submitted_), data, on_done, this)
                                             : channel_->read(lba(submitted_), data, on_done, this);
      if (submit == pollux::Submit::queue_full) break;
      if (submit != pollux::Submit::accepted) return pollux::fail("a request was not accepted");
      ++submitted_;
    }
    if (sleep)
      channel_->wait(1000);
    else
      channel_->poll();
    if (failed_ != 0) return pollux::fail(fmt::format("{} requests failed", failed_));
    return drive_->poll();
  }

  Result<void> check_read(std::uint64_t round) {
    std::array<std::byte, kBytes> expected;
    for (unsigned i = 0; i < kRequests; ++i) {
      fill(expected.data(), round, lba(i));
      if (std::memcmp(at(i), expected.data(), kBytes) != 0)
        return pollux::fail(fmt::format("LBA {} does not hold what was written to it", lba(i)));
    }
    return {};
  }

 private:
  static void on_done(void* context, pollux::nvme::Status status) noexcept {
    auto* const side = static_cast<Side*>(context);
    ++side->answered_;
    if (!status.ok()) ++side->failed_;
  }
  void start(unsigned range, bool writing) {
    range_ = range;
    writing_ = writing;
    submitted_ = answered_ = failed_ = 0;
    channel_->poll();  // notices a reset, and makes the queue anew
  }
  std::uint64_t lba(unsigned request) const {
    return (std::uint64_t{range_} * kRequests + request) * (kBytes / ns_.block_size_bytes);
  }
  std::byte* at(unsigned request) { return buffer_.slice().data + std::size_t{request} * kBytes; }

  std::unique_ptr<pollux::Drive> drive_;
  pollux::Namespace ns_;
  pollux::dma::Buffer buffer_;
  std::unique_ptr<pollux::Channel> channel_;  // goes before the buffer
  unsigned range_ = 0, submitted_ = 0, answered_ = 0, failed_ = 0;
  bool writing_ = false;
};

// How often vector 1, that of the first I/O queue, has come, by the kernel's own count.
std::uint64_t interrupts_of(const std::string& bdf) {
  std::ifstream file("/proc/interrupts");
  std::uint64_t sum = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.find(fmt::format("vfio-msix[1]({})", bdf)) == std::string::npos) continue;
    std::istringstream counts(line.substr(line.find(':') + 1));
    for (std::uint64_t one; counts >> one;) sum += one;  // one a processor, then words
  }
  return sum;
}

// Both at once. The virtual function sleeps until its interrupt when only it has work left.
Result<void> run(Side& pf, Side& vf) {
  while (!pf.done() || !vf.done()) {
    if (!pf.done())
      if (const auto turned = pf.turn(false); !turned) return turned;
    if (!vf.done())
      if (const auto turned = vf.turn(pf.done()); !turned) return turned;
  }
  return {};
}

Result<void> exchange(Side& pf, Side& vf, std::uint64_t round) {
  pf.start_writing(round, 0);
  vf.start_writing(round, 1);
  if (const auto written = run(pf, vf); !written) return written;
  pf.start_reading(1);
  vf.start_reading(0);
  if (const auto read = run(pf, vf); !read) return read;
  if (const auto same = pf.check_read(round); !same) return same;
  return vf.check_read(round);
}

// The physical function, which keeps all of the flexible resources for itself, or none. That is so from its next reset
// on: it is opened twice.
Result<Side> open_primary(std::string_view address, bool keeps_all) {
  {
    auto pf = Side::open(address, {}, pollux::Wait::poll);
    if (!pf) return pf;
    pollux::nvme::Controller& controller = pf->drive().controller();
    const auto primary = pollux::nvme::primary_controller(controller);
    if (!primary) return std::unexpected(primary.error());
    const auto allocate = [&](ResourceType type, std::uint32_t total) {
      return pollux::nvme::allocate_to_primary(controller, type, static_cast<std::uint16_t>(keeps_all ? total : 0));
    };
    if (const auto kept = allocate(ResourceType::vq, primary->queues.total); !kept)
      return std::unexpected(kept.error());
    if (const auto kept = allocate(ResourceType::vi, primary->interrupts.total); !kept)
      return std::unexpected(kept.error());
  }
  auto pf = Side::open(address, {}, pollux::Wait::poll);
  if (!pf) return pf;
  const auto primary = pollux::nvme::primary_controller(pf->drive().controller());
  if (!primary) return std::unexpected(primary.error());
  for (const auto* resources : {&primary->queues, &primary->interrupts})
    if (resources->total == 0 || resources->unassigned() != (keeps_all ? 0 : resources->total))
      return pollux::fail(
          fmt::format("{} of {} flexible resources are unassigned", resources->unassigned(), resources->total));
  return pf;
}

Result<void> drive_both(const pollux::vfio::Address& pf_address, bool shared) {
  {
    auto pf = open_primary(pf_address.text, true);
    if (!pf) return std::unexpected(pf.error());
    const auto online = pollux::nvme::bring_online(pf->drive().controller(), kNumber, kWants);
    if (online) return pollux::fail("the virtual function was given what the physical function keeps");
    fmt::print("with all at the physical function: {}\n", online.error().message());
  }
  auto pf = open_primary(pf_address.text, false);
  if (!pf) return std::unexpected(pf.error());
  pollux::nvme::Controller& primary = pf->drive().controller();
  // Only now: a reset of the physical function, as when it is opened, ends its virtual ones.
  const auto functions = pollux::vfio::set_virtual_functions(pollux::vfio::Sysfs(), pf_address.target, kFunctions);
  if (!functions) return std::unexpected(functions.error());
  const std::string& bdf = functions->bdfs.at(kNumber - 1);
  const std::string vf_address = fmt::format("{},vf_token={}", bdf, pf_address.vf_token);
  const pollux::OpenOptions options{.space = shared ? pf->drive().space() : nullptr};
  const auto open_vf = [&]() -> Result<Side> {
    if (const auto online = pollux::nvme::bring_online(primary, kNumber, kWants); !online)
      return std::unexpected(online.error());
    return Side::open(vf_address, options, pollux::Wait::interrupt);
  };
  const auto early = Side::open(vf_address, options, pollux::Wait::interrupt);
  if (early) return pollux::fail("the virtual function works before it was brought online");
  fmt::print("before it is brought online: {}\n", early.error().message());
  {
    auto vf = open_vf();
    if (!vf) return std::unexpected(vf.error());
    fmt::print("{} I/O queue pairs of {} asked for, in {}\n", vf->drive().controller().io_queue_limit(), 16,
               shared ? "one address space" : "an address space each");
    for (std::uint64_t round = 1; round <= 4; ++round)
      if (const auto done = exchange(*pf, *vf, round); !done) return done;
    if (interrupts_of(bdf) == 0) return pollux::fail("the virtual function has raised no interrupt");
    fmt::print("each wrote {} KiB at the same time, 4 times, and each read what the other wrote\n",
               kRequests * kBytes / 1024);

    if (const auto reset = vf->drive().reset(); !reset) return reset;
    if (const auto done = exchange(*pf, *vf, 5); !done) return done;
    fmt::print("a reset of the virtual function's controller leaves it online\n");

    if (const auto reset = pf->drive().reset(); !reset) return reset;
    const auto lost = vf->drive().poll();
    if (lost) return pollux::fail("the virtual function outlived a reset of its physical function");
    fmt::print("after a reset of the physical function: {}\n", lost.error().message());
  }
  {
    auto vf = open_vf();
    if (!vf) return std::unexpected(vf.error());
    if (const auto done = exchange(*pf, *vf, 6); !done) return done;
    fmt::print("brought online again and opened anew, it works\n");
  }
  return pollux::nvme::take_offline(primary, kNumber);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view spaces = argc == 3 ? argv[2] : "";
  const auto address = pollux::vfio::Address::parse(argc == 3 ? argv[1] : "");
  if (!address || address->vf_token.empty() || (spaces != "shared" && spaces != "apart")) {
    fmt::print(stderr, "usage: pollux-vf PF,vf_token=UUID shared|apart\n");
    return 2;
  }
  if (const auto done = drive_both(*address, spaces == "shared"); !done) {
    fmt::print(stderr, "pollux-vf: {}\n", done.error().message());
    return 1;
  }
}
