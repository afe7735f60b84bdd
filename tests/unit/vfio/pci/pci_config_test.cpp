#include "pollux/vfio/pci/pci_config.hpp"

#include <catch2/catch.hpp>
#include <cstring>

using namespace pollux;
using namespace pollux::vfio;

namespace {

// A function that is nothing but config space.
class FakeDevice final : public Device {
 public:
  explicit FakeDevice(std::size_t config_bytes = 4096) : config_(config_bytes) {
    set(pci::kStatus, pci::kStatusCapabilities);
  }

  template <typename Value>
  void set(std::size_t offset, Value value) {
    std::memcpy(config_.data() + offset, &value, sizeof value);
  }
  void set_standard(std::uint8_t offset, std::uint8_t id, std::uint8_t next) {
    set(offset, static_cast<std::uint16_t>(id | next << 8));
  }
  void set_extended(std::uint16_t offset, std::uint16_t id, std::uint32_t version, std::uint32_t next) {
    set(offset, std::uint32_t{id} | version << 16 | next << 20);
  }

  bool writes_are_dropped = false;

  const Address& address() const override { return address_; }
  Result<RegionInfo> region_info(RegionIndex) override {
    RegionInfo info;
    info.size_bytes = config_.size();
    return info;
  }
  Result<void> read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) override {
    if (index != RegionIndex::config || offset + into.size() > config_.size()) return fail("outside");
    std::memcpy(into.data(), config_.data() + offset, into.size());
    return {};
  }
  Result<void> write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) override {
    if (index != RegionIndex::config || offset + from.size() > config_.size()) return fail("outside");
    if (!writes_are_dropped) std::memcpy(config_.data() + offset, from.data(), from.size());
    return {};
  }
  Result<MappedArea> map(RegionIndex, RegionArea) override { return fail("no BAR"); }
  Result<InterruptInfo> interrupt_info(InterruptIndex) override { return InterruptInfo{}; }
  Result<void> set_interrupts(InterruptIndex, std::span<const int>) override { return fail("no interrupts"); }
  Result<void> reset() override { return fail("no reset"); }

 private:
  Address address_ = *Address::parse("02:00.0");
  std::vector<std::byte> config_;
};

std::vector<std::uint16_t> offsets(const std::vector<PciCapability>& found) {
  std::vector<std::uint16_t> list;
  for (const auto& one : found) list.push_back(one.offset);
  return list;
}

}  // namespace

TEST_CASE("ids are read from where the specification puts them") {
  FakeDevice device;
  device.set(0x00, 0x0021'1cc1u);
  device.set(0x08, 0x0108'0201u);
  device.set(0x2c, 0x0001'1cc2u);
  const auto ids = read_ids(device);
  REQUIRE(ids);
  CHECK(ids->vendor == 0x1cc1);
  CHECK(ids->device == 0x0021);
  CHECK(ids->class_code == 0x010802);
  CHECK(ids->revision == 1);
  CHECK(ids->subsystem_vendor == 0x1cc2);
  CHECK(ids->subsystem == 1);
}

TEST_CASE("a function that reads as all ones does not answer") {
  FakeDevice device;
  device.set(0x00, 0xffff'ffffu);
  CHECK_FALSE(read_ids(device));
}

TEST_CASE("both capability lists are walked in their order, and named") {
  FakeDevice device;
  device.set(pci::kCapabilities, std::uint8_t{0x43});  // the low two bits do not count
  device.set_standard(0x40, 0x11, 0x80);
  device.set_standard(0x80, 0x10, 0x60);
  device.set_standard(0x60, 0x01, 0);
  device.set_extended(0x100, 0x0001, 2, 0x148);
  device.set_extended(0x148, 0x0003, 1, 0);
  const auto found = read_capabilities(device);
  REQUIRE(found);
  CHECK(offsets(*found) == std::vector<std::uint16_t>{0x40, 0x80, 0x60, 0x100, 0x148});
  CHECK(name_of((*found)[0]) == "MSI-X");
  CHECK(name_of((*found)[3]) == "Advanced Error Reporting");
  CHECK((*found)[3].version == 2);
  CHECK((*found)[3].extended);
}

TEST_CASE("no capability bit in the status register means no list") {
  FakeDevice device;
  device.set(pci::kStatus, std::uint16_t{0});
  device.set(pci::kCapabilities, std::uint8_t{0x40});
  device.set_standard(0x40, 0x11, 0);
  const auto found = read_capabilities(device);
  REQUIRE(found);
  CHECK(found->empty());
}

TEST_CASE("an extended list whose first capability is hidden goes on") {
  FakeDevice device;
  device.set_extended(0x100, 0, 0, 0x200);
  device.set_extended(0x200, 0x0018, 1, 0);
  const auto found = read_capabilities(device);
  REQUIRE(found);
  CHECK(offsets(*found) == std::vector<std::uint16_t>{0x200});
}

TEST_CASE("256 bytes of config space have no extended list") {
  FakeDevice device(256);
  const auto found = read_capabilities(device);
  REQUIRE(found);
  CHECK(found->empty());
}

TEST_CASE("a list that comes back to itself is an error, not a loop") {
  FakeDevice device;
  SECTION("standard") {
    device.set(pci::kCapabilities, std::uint8_t{0x40});
    device.set_standard(0x40, 0x01, 0x50);
    device.set_standard(0x50, 0x05, 0x40);
  }
  SECTION("extended") {
    device.set_extended(0x100, 0x0001, 1, 0x200);
    device.set_extended(0x200, 0x0003, 1, 0x100);
  }
  const auto found = read_capabilities(device);
  REQUIRE_FALSE(found);
  CHECK(found.error().message().find("comes back to") != std::string::npos);
}

TEST_CASE("a list that leads into the header is an error") {
  FakeDevice device;
  SECTION("standard") { device.set(pci::kCapabilities, std::uint8_t{0x3c}); }
  SECTION("extended") { device.set_extended(0x100, 0x0001, 1, 0x40); }
  CHECK_FALSE(read_capabilities(device));
}

TEST_CASE("a list may use the last dword of config space") {
  FakeDevice device;
  device.set_extended(0x100, 0x0001, 1, 0xffc);
  device.set_extended(0xffc, 0x0003, 1, 0);
  const auto found = read_capabilities(device);
  REQUIRE(found);
  CHECK(offsets(*found) == std::vector<std::uint16_t>{0x100, 0xffc});
}

TEST_CASE("Bus Master is set and cleared without touching the other bits") {
  FakeDevice device;
  device.set(pci::kCommand, std::uint16_t{0x0103});
  REQUIRE(set_bus_master(device, true));
  CHECK(*read_config16(device, pci::kCommand) == 0x0107);
  CHECK(*bus_master(device));
  REQUIRE(set_bus_master(device, false));
  CHECK(*read_config16(device, pci::kCommand) == 0x0103);
}

TEST_CASE("a Bus Master bit that does not hold is an error") {
  FakeDevice device;
  device.writes_are_dropped = true;
  CHECK_FALSE(set_bus_master(device, true));
  CHECK(set_bus_master(device, false));
}
