// Controllers that do at a bad moment what they should not: what the driver takes for lost, and how long it waits.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

struct Misbehaving {
  explicit Misbehaving(std::uint32_t reconnect_ms = 0) {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identity.vwc = 1;
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 2}}};
    played->other = [this](const Command& command, std::uint32_t& dw0) {
      if (cdw0::kOpcode.of(command.cdw0) != static_cast<unsigned>(AdminOpcode::set_features)) return Status{};
      dw0 = 0x0003'0003;  // four queue pairs
      return command.nsid == gone_nsid ? Status::from(StatusCode::invalid_namespace_or_format, true) : Status{};
    };
    drive = *open_played(std::move(controller), "test:", reconnect_ms);
    device = played->device;
  }
  Status send(AdminOpcode opcode, std::uint32_t nsid, std::uint32_t cdw10) {
    Command command;
    command.cdw0 = static_cast<std::uint32_t>(opcode);
    command.nsid = nsid;
    command.cdw10 = cdw10;
    return drive->controller().admin(command)->status;
  }
  std::uint32_t losses() { return drive->controller().cache_losses(); }
  std::uint64_t seconds() const { return played->clock.now_ / 1'000'000'000; }

  PlayedController* played;
  RegisterFile* device;
  std::uint32_t gone_nsid = 99;
  std::unique_ptr<Drive> drive;
};

constexpr std::uint32_t kReady = 1, kReadyAndFatal = 3, kReadyAndPaused = 1 | 1u << 5;

}  // namespace

TEST_CASE("a fatal status that comes up while the controller is being disabled may have cost the cache") {
  Misbehaving one;
  one.device->on_write = [&, inner = one.device->on_write](std::uint32_t offset) {
    inner(offset);
    const bool is_disabled = offset == reg::kCc && cc::kEn.of(one.device->word(reg::kCc)) == 0;
    if (is_disabled) one.device->word(reg::kCsts) = kReadyAndFatal;
  };
  one.device->on_read = [&, looks = 0](std::uint32_t offset) mutable {
    std::uint32_t& csts = one.device->word(reg::kCsts);
    if (offset == reg::kCsts && csts == kReadyAndFatal && ++looks == 5) csts = 0;
  };
  CHECK(one.drive->reset());
  CHECK(one.losses() == 1);
}

TEST_CASE("a controller that stopped being ready by itself may have lost its cache") {
  Misbehaving one;
  one.played->clock.least_pause_ns = 1'000'000;
  one.device->word(reg::kCsts) = 0;  // EN is 1
  CHECK(one.drive->poll());
  CHECK(one.losses() == 1);
}

TEST_CASE("a fatal status that was seen may have cost the cache, though it is gone when the controller is disabled") {
  Misbehaving one;
  one.device->word(reg::kCsts) = kReadyAndFatal;
  one.device->on_read = [&, looks = 0](std::uint32_t offset) mutable {
    if (offset == reg::kCsts && ++looks == 2) one.device->word(reg::kCsts) = kReady;
  };
  CHECK(one.drive->poll());
  CHECK(one.losses() == 1);
}

TEST_CASE("a feature of a namespace that was deleted or detached since is not set again, and costs no drive") {
  const auto opcode = GENERATE(AdminOpcode::namespace_management, AdminOpcode::namespace_attachment);
  constexpr std::uint32_t kErrorRecovery = 5, kDeleteOrDetach = 1;
  Misbehaving one;
  REQUIRE(one.send(AdminOpcode::set_features, 2, kErrorRecovery).ok());
  REQUIRE(one.send(opcode, 2, kDeleteOrDetach).ok());
  one.gone_nsid = 2;
  CHECK(one.drive->reset());
}

TEST_CASE("another drive that answers after a reset is not reset by its function") {
  Misbehaving one;
  one.device->can_reset = true;
  std::memcpy(one.played->identity.sn, "OTHER1", 6);
  CHECK_FALSE(one.drive->reset());
  CHECK(one.device->resets == 0);
}

TEST_CASE("a device that comes back and goes again before it is up is waited for no longer than was asked") {
  constexpr std::uint32_t kReconnectMs = 1'000;
  Misbehaving one(kReconnectMs);
  const std::uint32_t version = one.device->word(reg::kVs);
  const auto go = [&] { one.device->word(reg::kVs) = one.device->word(reg::kCsts) = 0; };
  one.device->on_write = [&, inner = one.device->on_write](std::uint32_t offset) {
    inner(offset);
    if (offset == reg::kCc && cc::kEn.of(one.device->word(reg::kCc)) != 0) go();
  };
  one.device->comes_back = [&] {
    one.device->word(reg::kVs) = version;
    one.device->word(reg::kCc) = one.device->word(reg::kCsts) = 0;
  };
  go();
  const std::uint64_t begin_s = one.seconds();
  for (int i = 0; i < 100 && one.drive->poll(); ++i) one.played->clock.now_ += 500 * kNsPerMs;
  CHECK_FALSE(one.drive->poll());
  CHECK(one.seconds() - begin_s <= 5);
}

TEST_CASE("pauses that follow each other count as one, so that no deadline is put off for ever") {
  Misbehaving one;
  one.played->hangs = true;
  one.played->clock.least_pause_ns = 50 * kNsPerMs;
  const std::uint64_t begin_s = one.seconds();
  one.device->on_read = [&, last_s = begin_s](std::uint32_t offset) mutable {
    if (offset != reg::kCsts) return;
    const bool breathes = one.seconds() - last_s > 25;
    if (breathes) last_s = one.seconds();
    one.device->word(reg::kCsts) = breathes ? kReady : kReadyAndPaused;
  };
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::get_features);
  CHECK_FALSE(one.drive->controller().admin(command, {}, DataDirection::none, 1'000));
  CHECK(one.seconds() - begin_s <= 30 + 2);  // MTFA names none: 30 s, and its own
  one.device->on_read = nullptr;
}

}  // namespace pollux::nvme
