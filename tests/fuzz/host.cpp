// A host that breaks every rule, against the software controller's core: registers, doorbells, queues, commands and
// their PRPs, as the client of a server may send them. It never leaves the memory that is mapped, and each step ends.
// Each window of memory is a piece of the heap of its own, so that the sanitizer sees a step beside it.
#include <memory>
#include <vector>

#include "input.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/softnvme/core/controller.hpp"

using namespace pollux;
using namespace pollux::softnvme;
using fuzz::must;

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBlocks = 64;
constexpr std::uint32_t kEntries = 16;
constexpr std::uint16_t kQueues = 3;
constexpr unsigned kMostActions = 256;
constexpr std::uint64_t kStepNs = 10'000'000;

// Windows of a few pages, with a page between two that is not mapped. IOVA 0 is.
class Memory final : public HostMemory {
 public:
  Memory() {
    for (std::uint64_t n = 0; n < kWindows; ++n) pages_.push_back(std::make_unique<std::byte[]>(kWindowBytes));
  }
  Window window(std::uint64_t iova) const override {
    const std::uint64_t n = iova / kStride;
    if (n >= pages_.size() || iova % kStride >= kWindowBytes) return {};
    // The last one is for reading, the one before for writing.
    return {n * kStride, kWindowBytes, pages_[n].get(), n != kWindows - 2, n != kWindows - 1};
  }
  void write(std::uint64_t iova, std::span<const std::uint8_t> bytes) {
    const Window one = window(iova);
    const std::uint64_t room = one.size_bytes == 0 ? 0 : one.size_bytes - (iova - one.iova);
    if (room != 0) std::memcpy(one.host + (iova - one.iova), bytes.data(), std::min<std::uint64_t>(bytes.size(), room));
  }
  void unmap_last() {
    if (pages_.size() > 1) pages_.pop_back();
    changed();
  }

  static constexpr std::uint64_t kWindows = 6, kWindowBytes = 4 * kPage, kStride = 8 * kPage;

 private:
  std::vector<std::unique_ptr<std::byte[]>> pages_;
};

class HeapStore final : public Store {
 public:
  bool read(std::uint64_t offset, std::span<std::byte> into) override {
    std::copy_n(at(offset, into.size()), into.size(), into.begin());
    return true;
  }
  bool write(std::uint64_t offset, std::span<const std::byte> from) override {
    std::ranges::copy(from, at(offset, from.size()));
    return true;
  }
  bool zero(std::uint64_t offset, std::uint64_t size_bytes) override {
    std::fill_n(at(offset, size_bytes), size_bytes, std::byte{0});
    return true;
  }
  bool flush() override { return true; }

 private:
  std::byte* at(std::uint64_t offset, std::uint64_t size_bytes) {
    must(offset <= bytes_.size() && size_bytes <= bytes_.size() - offset, "within the medium");
    return bytes_.data() + offset;
  }
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kBlocks * 512);
};

struct NoInterrupts final : Interrupts {
  void signal(std::uint16_t vector) override { must(vector < 17, "a vector that there is"); }
};

class Host {
 public:
  explicit Host(fuzz::Input& input)
      : input_(input), doorbells_(kDoorbellWords), controller_(config(), memory_, doorbells_.data()) {
    controller_.set_interrupts(&interrupts_);
    controller_.set_bus_master(true);
  }

  void work() {
    for (unsigned count = 0; count < kMostActions && !input_.at_end(); ++count) {
      act(input_.u8());
      step();
    }
  }

 private:
  Config config() {
    Config config;
    config.io_queues = kQueues - 1;
    config.mdts = 4;
    config.shadow_doorbells = true;
    config.namespaces = {{1, 512, kBlocks, &store_}};
    return config;
  }

  void step() { must(controller_.step(now_ns_ += kStepNs) <= 16 * Controller::kBurst, "a step is bounded"); }

  // The tails that an honest host would ring are kept, so that a command needs no more than its bytes.
  void act(std::uint8_t action) {
    switch (action % 12) {
      case 0:
        controller_.write(input_.u16() % 0x2010 * 4, action < 128 ? 4 : 8, input_.u64());
        break;
      case 1:
        (void)controller_.read(input_.u16(), 1u << (action / 12 % 4));
        break;
      case 2:
        ring(input_.u8() % kDoorbellWords, input_.u16());
        break;
      case 3: {
        const std::uint32_t iova = input_.u32() % (Memory::kWindows * Memory::kStride);
        memory_.write(iova, input_.bytes(input_.u8()));
        break;
      }
      case 4:
        enable();
        break;
      case 5:
        create_queue(static_cast<std::uint16_t>(1 + action / 12 % (kQueues - 1)));
        break;
      case 6:
      case 7:
        submit(action / 12 % kQueues, input_.bytes(sizeof(nvme::Command)));
        break;
      case 8:
        controller_.set_bus_master(action < 128);
        break;
      case 9:
        controller_.function_reset();
        break;
      case 10:
        if (action >= 192) memory_.unmap_last();
        break;
      case 11:
        for (unsigned steps = input_.u8(); steps != 0; --steps) step();
        break;
    }
  }

  void enable() {
    const std::uint64_t sizes = (kEntries - 1) | (kEntries - 1) << 16;
    controller_.write(nvme::reg::kAqa, 4, sizes);
    controller_.write(nvme::reg::kAsq, 8, submissions(0));
    controller_.write(nvme::reg::kAcq, 8, submissions(0) + kPage);
    controller_.write(nvme::reg::kCc, 4, 1 | 6u << 16 | 4u << 20);
    std::ranges::fill(tails_, 0);
    step();
  }

  void create_queue(std::uint16_t qid) {
    nvme::Command command;
    command.cdw10 = qid | (kEntries - 1) << 16;
    command.cdw0 = 0x05 | qid << 16;
    command.prp1 = submissions(qid) + kPage;
    command.cdw11 = 1;
    submit(0, bytes_of(command));
    command.cdw0 = 0x01 | (qid + 8u) << 16;
    command.prp1 = submissions(qid);
    command.cdw11 = 1 | std::uint32_t{qid} << 16;
    submit(0, bytes_of(command));
    tails_[qid] = 0;
  }

  static std::span<const std::uint8_t> bytes_of(const nvme::Command& command) {
    return {reinterpret_cast<const std::uint8_t*>(&command), sizeof command};
  }

  static std::uint64_t submissions(std::uint64_t qid) { return qid * Memory::kStride; }

  void submit(unsigned qid, std::span<const std::uint8_t> command) {
    memory_.write(submissions(qid) + tails_[qid] * sizeof(nvme::Command), command);
    tails_[qid] = (tails_[qid] + 1) % kEntries;
    ring(2 * qid, tails_[qid]);
    step();
  }

  void ring(std::uint32_t word, std::uint32_t value) { __atomic_store_n(&doorbells_[word], value, __ATOMIC_RELEASE); }

  fuzz::Input& input_;
  Memory memory_;
  NoInterrupts interrupts_;
  std::vector<std::uint32_t> doorbells_;
  HeapStore store_;
  Controller controller_;
  std::uint32_t tails_[kQueues] = {};
  std::uint64_t now_ns_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Host(input).work();
  return 0;
}
