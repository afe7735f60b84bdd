// A controller whose admin commands the test answers: for what Identify may say that no emulated drive says. It has a
// ring of admin commands and no I/O; its queues are made and deleted by name only.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <map>

#include "pollux/driver/block/block.hpp"
#include "pollux/tests/unit/driver/register_file.hpp"

namespace pollux::nvme {

class PlayedController final : public vfio::IoAddressSpace {
 public:
  PlayedController() {
    identity.nn = 0xffff'ffff;
    std::memcpy(identity.sn, "PLAYED", 6);
  }

  // Each Identify but that of the controller: fills the page, which is all zeros, and says how the command ends.
  std::function<Status(const Command&, std::byte* page)> identify = [](const Command&, std::byte*) { return Status{}; };
  // Every other command; none: success.
  std::function<Status(const Command&, std::uint32_t& dw0)> other;
  IdentifyController identity{};
  std::uint64_t cap = plain_cap(4);
  std::uint32_t version = 0x0001'0400;
  std::uint32_t pci_ids = 0;     // device and vendor id, as config space has them
  bool hangs = false;            // answers nothing any more
  std::uint64_t command_ns = 0;  // that each Identify takes
  unsigned asked = 0;            // Identify commands but that of the controller
  vfio::MemoryDemands wants;
  unsigned unmaps = 0;
  ManualClock clock;
  RegisterFile* device = nullptr;

  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address&) override {
    auto made = std::make_unique<RegisterFile>();
    device = made.get();
    device->region.mappable.clear();
    device->set64(reg::kCap, cap);
    device->word(reg::kVs) = version;
    (void)device->write(vfio::RegionIndex::config, 0, std::as_bytes(std::span(&pci_ids, 1)));
    device->on_write = [this](std::uint32_t offset) { written(offset); };
    return made;
  }
  Result<void> map(const vfio::DmaMapping& mapping) override {
    mapped_.emplace(mapping.iova, mapping);
    return {};
  }
  Result<void> unmap(vfio::Iova iova, std::uint64_t) override {
    mapped_.erase(iova);
    ++unmaps;
    return {};
  }
  std::vector<vfio::IovaRange> usable_ranges() const override { return {{0x1000, 0xffff'ffff}}; }
  std::uint64_t page_sizes() const override { return 4096; }
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  std::string describe() const override { return "played"; }
  vfio::MemoryDemands demands() const override { return wants; }

 private:
  std::byte* memory(std::uint64_t iova) {
    const vfio::DmaMapping& one = std::prev(mapped_.upper_bound(iova))->second;
    return static_cast<std::byte*>(one.address) + (iova - one.iova);
  }

  void written(std::uint32_t offset) {
    if (offset == reg::kCc) {
      const std::uint32_t config = device->word(reg::kCc);
      device->word(reg::kCsts) = static_cast<std::uint32_t>(cc::kEn.of(config)) | (cc::kShn.of(config) != 0 ? 8 : 0);
      done_ = 0;
    }
    if (offset == reg::kDoorbells && device->word(reg::kAsq) != 0) execute();
  }

  Status answer(const Command& command, std::uint32_t& dw0) {
    if (cdw0::kOpcode.of(command.cdw0) != static_cast<unsigned>(AdminOpcode::identify))
      return other ? other(command, dw0) : Status{};
    clock.now_ += command_ns;
    std::byte* const page = memory(command.prp1);
    std::memset(page, 0, kIdentifyBytes);
    if (identify::kCns.of(command.cdw10) == static_cast<unsigned>(Cns::controller)) {
      std::memcpy(page, &identity, sizeof identity);
      return {};
    }
    ++asked;
    return identify(command, page);
  }

  void execute() {
    constexpr unsigned kEntries = AdminQueue::kEntries;
    Command command;
    std::memcpy(&command, memory(device->word(reg::kAsq)) + done_ % kEntries * sizeof command, sizeof command);
    std::uint32_t dw0 = 0;
    const Status status = answer(command, dw0);
    if (hangs) return;
    auto* const entry = reinterpret_cast<Completion*>(memory(device->word(reg::kAcq))) + done_ % kEntries;
    const bool phase = done_ / kEntries % 2 == 0;
    entry->dw0 = dw0;
    entry->tail = cqe::kCid.put(cqe::kStatus.put(cqe::kPhase.put(std::uint64_t{0}, phase), status.bits),
                                cdw0::kCid.of(command.cdw0));
    ++done_;
  }

  std::map<std::uint64_t, vfio::DmaMapping> mapped_;
  unsigned done_ = 0;
};

// A drive with this controller, which it owns: `played` stays valid as long.
inline Result<std::unique_ptr<Drive>> open_played(std::unique_ptr<PlayedController> played,
                                                  const std::string& address = "test:",
                                                  std::uint32_t reconnect_ms = 0) {
  static std::unique_ptr<PlayedController> next;
  next = std::move(played);
  ManualClock& clock = next->clock;
  const vfio::Scheme scheme{
      "test", [](const vfio::Address&) -> Result<std::unique_ptr<vfio::IoAddressSpace>> { return std::move(next); }};
  return Drive::open(
      address, {.schemes = {&scheme, 1}, .shadow_doorbells = false, .reconnect_ms = reconnect_ms, .clock = &clock});
}

inline Cns cns_of(const Command& command) { return static_cast<Cns>(identify::kCns.of(command.cdw10)); }

}  // namespace pollux::nvme
