// The list of active namespaces, from a controller that does not let it end.
#include <catch2/catch.hpp>
#include <cstring>
#include <map>

#include "pollux/driver/block/block.hpp"
#include "pollux/driver/identify.hpp"
#include "register_file.hpp"

namespace pollux::nvme {
namespace {

// Executes the admin commands that are rung for, with `identify` as it likes.
class Lister final : public vfio::IoAddressSpace {
 public:
  std::function<void(const Command&, std::byte* page)> identify;
  std::uint64_t command_ns = 0;  // that each Identify takes
  bool knows_lists = true;
  unsigned asked = 0;
  ManualClock clock;

  Result<std::unique_ptr<vfio::Device>> attach(const vfio::Address&) override {
    auto device = std::make_unique<RegisterFile>();
    device_ = device.get();
    device_->region.mappable.clear();
    device_->set64(reg::kCap, plain_cap(4));
    device_->word(reg::kVs) = 0x0001'0400;
    device_->on_write = [this](std::uint32_t offset) { written(offset); };
    return device;
  }
  Result<void> map(const vfio::DmaMapping& mapping) override {
    mapped_.emplace(mapping.iova, mapping);
    return {};
  }
  Result<void> unmap(vfio::Iova iova, std::uint64_t) override {
    mapped_.erase(iova);
    return {};
  }
  std::vector<vfio::IovaRange> usable_ranges() const override { return {{0x1000, 0xffff'ffff}}; }
  std::uint64_t page_sizes() const override { return 4096; }
  std::optional<std::uint32_t> mappings_left() const override { return std::nullopt; }
  std::string describe() const override { return "lister"; }

 private:
  std::byte* memory(std::uint64_t iova) {
    const vfio::DmaMapping& one = std::prev(mapped_.upper_bound(iova))->second;
    return static_cast<std::byte*>(one.address) + (iova - one.iova);
  }

  void written(std::uint32_t offset) {
    if (offset == reg::kCc) {
      const std::uint32_t config = device_->word(reg::kCc);
      device_->word(reg::kCsts) = static_cast<std::uint32_t>(cc::kEn.of(config)) | (cc::kShn.of(config) != 0 ? 8 : 0);
      done_ = 0;
    }
    if (offset == reg::kDoorbells && device_->word(reg::kAsq) != 0) execute();
  }

  void execute() {
    constexpr unsigned kEntries = AdminQueue::kEntries;
    Command command;
    std::memcpy(&command, memory(device_->word(reg::kAsq)) + done_ % kEntries * sizeof command, sizeof command);
    std::uint16_t status = 0;
    if (cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(AdminOpcode::identify)) {
      const auto cns = static_cast<Cns>(identify::kCns.of(command.cdw10));
      clock.now_ += command_ns;
      if (cns != Cns::controller) ++asked;
      if (cns == Cns::controller) reinterpret_cast<IdentifyController*>(memory(command.prp1))->nn = 0xffff'ffff;
      if (cns == Cns::active_ns_list && !knows_lists)
        status = Status::from(StatusCode::invalid_field).bits;
      else if (cns != Cns::controller)
        identify(command, memory(command.prp1));
    }
    auto* const entry = reinterpret_cast<Completion*>(memory(device_->word(reg::kAcq))) + done_ % kEntries;
    const bool phase = done_ / kEntries % 2 == 0;
    entry->tail =
        cqe::kCid.put(cqe::kStatus.put(cqe::kPhase.put(std::uint64_t{0}, phase), status), cdw0::kCid.of(command.cdw0));
    ++done_;
  }

  RegisterFile* device_ = nullptr;
  std::map<std::uint64_t, vfio::DmaMapping> mapped_;
  unsigned done_ = 0;
};

Lister* lister = nullptr;  // what make_space() hands over; the drive owns it
std::unique_ptr<Lister> next;

std::unique_ptr<Drive> open() {
  next = std::make_unique<Lister>();
  lister = next.get();
  const vfio::Scheme scheme{
      "test", [](const vfio::Address&) -> Result<std::unique_ptr<vfio::IoAddressSpace>> { return std::move(next); }};
  auto drive = Drive::open("test:", {.schemes = {&scheme, 1}, .shadow_doorbells = false, .clock = &lister->clock});
  REQUIRE(drive.has_value());
  return std::move(*drive);
}

// As many as fit, from the namespace that was asked for on.
void list_on(const Command& command, std::byte* page) {
  for (std::uint32_t i = 0; i < kNsListEntries; ++i) {
    const std::uint32_t nsid = command.nsid + 1 + i;
    std::memcpy(page + i * sizeof nsid, &nsid, sizeof nsid);
  }
}

}  // namespace

TEST_CASE("a list of active namespaces that goes on and on is refused at a limit") {
  const auto drive = open();
  lister->identify = list_on;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.ends_with("more than 65536 active namespaces"));
  CHECK(lister->asked <= kMaxNamespaces / kNsListEntries + 1);
}

TEST_CASE("a controller that takes its time for each answer is not waited for namespace by namespace") {
  const auto drive = open();
  lister->command_ns = 10'000 * kNsPerMs;  // within the bound of each command
  lister->knows_lists = GENERATE(true, false);
  lister->identify = [](const Command& command, std::byte* page) {
    if (lister->knows_lists) list_on(command, page);
  };
  const std::uint64_t start_ns = lister->clock.now_;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.find("could not be listed within 60000 ms") != std::string::npos);
  CHECK(lister->clock.now_ - start_ns <= 90'000 * kNsPerMs);
}

}  // namespace pollux::nvme
