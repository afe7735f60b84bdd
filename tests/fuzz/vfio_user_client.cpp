// The vfio-user client on a server that answers as it likes: attached, asked for everything that the driver asks a
// device for, its registers and doorbells used, memory shared, interrupts set, reset and reconnected. Calls may fail;
// memory that was not shared is never touched, and nothing waits past its bound.
#include "pollux/vfio/user/client.hpp"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "hostile_server.hpp"
#include "pollux/dma/space.hpp"
#include "pollux/driver/controller/registers.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

using namespace pollux;
using fuzz::must;

namespace {

constexpr std::size_t kMemoryBytes = 4 * 4096;
constexpr std::size_t kMemoryAlignment =
    4 * kMemoryBytes;  // so that larger pages of a server would fit, and reach beyond
constexpr unsigned kMostActions = 32;

// Where the server listens; gone with the process.
struct Folder {
  std::string name = "/tmp/pollux-fuzz-XXXXXX";
  Folder() { must(mkdtemp(name.data()) != nullptr, "a folder"); }
  ~Folder() { rmdir(name.c_str()); }
};

class Driver {
 public:
  Driver(dma::Space& space, vfio::Device& device) : space_(space), device_(device) {
    must(file_ && eventfd_ && memory_ != MAP_FAILED, "descriptors and memory");
    must(ftruncate(file_.get(), kMemoryBytes) == 0, "a file");
    void* const shared = mmap(inner(), kMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_.get(), 0);
    must(shared == inner(), "memory that is shared");
  }
  Driver(const Driver&) = delete;
  ~Driver() {
    registrations_.clear();
    munmap(memory_, 3 * kMemoryAlignment);
  }

  void act(std::uint8_t action) {
    switch (action % 12) {
      case 0:
        use_registers();
        break;
      case 1: {
        std::vector<std::byte> into(action * 8u);
        (void)device_.read(static_cast<vfio::RegionIndex>(action / 12 % 8), action, into);
        break;
      }
      case 2: {
        const std::vector<std::byte> from(action);
        (void)device_.write(static_cast<vfio::RegionIndex>(action / 12 % 8), action % 64, from);
        break;
      }
      case 3: {
        const std::vector<int> eventfds(action / 48, eventfd_.get());
        (void)device_.set_interrupts(static_cast<vfio::InterruptIndex>(action / 12 % 4 + 1), eventfds);
        break;
      }
      case 4:
        if (auto one = space_.register_memory(inner(), kMemoryBytes - action / 12 * 512, file_.get()))
          registrations_.push_back(std::move(*one));
        break;
      case 5:
        if (!registrations_.empty()) registrations_.pop_back();
        break;
      case 6:
        (void)device_.reset();
        break;
      case 7:
        (void)device_.reconnect();
        break;
      case 8:
        (void)vfio::read_ids(device_);
        (void)vfio::read_capabilities(device_);
        (void)vfio::set_bus_master(device_, true);
        break;
      case 9:
        (void)device_.trigger_interrupts(vfio::InterruptIndex::msix);
        (void)device_.unmask_interrupt(vfio::InterruptIndex::intx);
        break;
      case 10:
        must(space_.io().usable_ranges().size() <= 1, "one range");
        (void)space_.io().mappings_left();
        break;
      case 11:
        if (action > 200) device_.release();
        break;
    }
  }

 private:
  // As the driver does: by mapping where the server has said that one may be mapped, over whatever happens later.
  void use_registers() {
    if (!registers_) {
      auto opened = nvme::Registers::open(device_);
      if (!opened) return;
      registers_ = std::move(*opened);
    }
    (void)registers_->read64(nvme::reg::kCap);
    (void)registers_->write32(nvme::reg::kCc, 1);
    for (const std::uint64_t offset : {nvme::submission_doorbell_offset(0, 0), nvme::completion_doorbell_offset(3, 0)})
      if (const auto doorbell = registers_->doorbell(offset)) doorbell->ring(1);
  }

  // Aligned, and with nothing around it: a step beside it ends the process.
  void* inner() const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_) + kMemoryAlignment;
    return reinterpret_cast<void*>((address + kMemoryAlignment - 1) & ~(kMemoryAlignment - 1));
  }

  dma::Space& space_;
  vfio::Device& device_;
  // All that a server may reach lies in here.
  void* const memory_ = mmap(nullptr, 3 * kMemoryAlignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  vfio::FileDescriptor file_{memfd_create("memory", MFD_CLOEXEC)};
  vfio::FileDescriptor eventfd_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::vector<dma::Registration> registrations_;
  std::optional<nvme::Registers> registers_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  fuzz::Input actions = [&] {
    const auto bytes = input.bytes(input.u8() % (kMostActions + 1));
    return fuzz::Input(bytes.data(), bytes.size());
  }();
  static const Folder folder;
  const std::string path = folder.name + "/server";
  fuzz::HostileServer server(path, input);
  const vfio::Address address{"vfio-user:" + path, "vfio-user", path, {}, {}};
  const auto space = dma::Space::create(*vfio::user::scheme().make_space(address));
  if (auto device = space->attach(address)) {
    Driver driver(*space, **device);
    while (!actions.at_end()) driver.act(actions.u8());
  }
  unlink(path.c_str());
  return 0;
}
