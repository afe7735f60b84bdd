// Config space, and both capability lists in it, of a device that writes what it likes there. A walk ends, and visits
// an offset once at most.
#include <set>
#include <vector>

#include "input.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

using namespace pollux;
using fuzz::must;

namespace {

constexpr unsigned kMostReads = 4096;  // of a walk: config space has 1024 dwords

// A function that is nothing but config space. Registers may be read-only, and so may the command register.
class ConfigBytes final : public vfio::Device {
 public:
  ConfigBytes(std::vector<std::byte> bytes, std::uint64_t claimed_bytes, bool drops_writes)
      : bytes_(std::move(bytes)), claimed_bytes_(claimed_bytes), drops_writes_(drops_writes) {}

  unsigned reads = 0;

  const vfio::Address& address() const override { return address_; }
  Result<vfio::RegionInfo> region_info(vfio::RegionIndex) override {
    return vfio::RegionInfo{.size_bytes = claimed_bytes_, .readable = true, .writable = true, .mappable = {}};
  }
  Result<void> read(vfio::RegionIndex, std::uint64_t offset, std::span<std::byte> into) override {
    must(++reads <= kMostReads, "the walk ends");
    if (offset > bytes_.size() || into.size() > bytes_.size() - offset) return fail("outside");
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  }
  Result<void> write(vfio::RegionIndex, std::uint64_t offset, std::span<const std::byte> from) override {
    if (offset > bytes_.size() || from.size() > bytes_.size() - offset) return fail("outside");
    if (!drops_writes_) std::ranges::copy(from, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  Result<vfio::MappedArea> map(vfio::RegionIndex, vfio::RegionArea) override { return fail("no BAR"); }
  Result<vfio::InterruptInfo> interrupt_info(vfio::InterruptIndex) override { return vfio::InterruptInfo{}; }
  Result<void> set_interrupts(vfio::InterruptIndex, std::span<const int>) override { return {}; }
  Result<void> reset() override { return {}; }

 private:
  vfio::Address address_{"fuzz:", "fuzz", "", {}, {}};
  std::vector<std::byte> bytes_;
  std::uint64_t claimed_bytes_;
  bool drops_writes_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::uint8_t kind = input.u8();
  const auto rest = input.rest();
  const auto bytes = std::as_bytes(rest);
  std::vector<std::byte> config(bytes.begin(), bytes.end());
  // As it came, or with zeros up to the size of the one kind of config space or the other.
  if ((kind & 1) != 0) config.resize(std::max<std::size_t>(config.size(), (kind & 2) != 0 ? 4096 : 256));
  ConfigBytes device(config, (kind & 4) != 0 ? 4096 : config.size(), (kind & 8) != 0);

  const auto ids = vfio::read_ids(device);
  if (ids) must(ids->vendor != 0xffff && ids->class_code <= 0xff'ffff, "a function that answers");
  device.reads = 0;
  if (const auto found = vfio::read_capabilities(device)) {
    std::set<std::pair<bool, std::uint16_t>> visited;
    for (const vfio::PciCapability& one : *found) {
      must(visited.emplace(one.extended, one.offset).second, "each capability once");
      must(one.offset % 4 == 0 && one.offset < 4096, "in config space");
      must(!vfio::name_of(one).empty(), "a name, or unknown");
    }
  }
  device.reads = 0;
  for (const bool on : {true, false}) {
    const auto set = vfio::set_bus_master(device, on);
    const auto now = vfio::bus_master(device);
    if (set) must(now && *now == on, "Bus Master Enable is as it was set");
  }
  return 0;
}
