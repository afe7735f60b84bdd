// What a reset may change of a controller: it is read anew, and refused where an open channel relies on more.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

struct Updated {
  Updated() {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}}};
    played->identity.mdts = 5;
    std::memcpy(played->identity.fr, "OLD", 3);
    drive = *open_played(std::move(controller));
    channel = *drive->open_channel(*drive->open_namespace(), {.depth = 32});
  }
  void set_cap(std::uint64_t cap) { played->device->set64(reg::kCap, cap); }
  std::string refusal() {
    const auto reset = drive->reset();
    REQUIRE_FALSE(reset);
    return reset.error().message();
  }

  PlayedController* played;
  std::unique_ptr<Drive> drive;
  std::unique_ptr<Channel> channel;
};

}  // namespace

TEST_CASE("after a reset the facts are those that the controller tells then") {
  Updated drive;
  std::memcpy(drive.played->identity.fr, "NEW", 3);
  drive.played->identity.mdts = 7;
  drive.set_cap(cap::kMqes.put(plain_cap(4), 1023));
  REQUIRE(drive.drive->reset());
  const Controller& controller = drive.drive->controller();
  CHECK(controller.firmware() == "NEW");
  CHECK(controller.max_transfer_bytes() == 4096u << 7);
  CHECK(controller.max_queue_entries() == 1024);
}

TEST_CASE("a controller that offers less than an open channel uses is lost, and the error names both") {
  Updated drive;
  SECTION("MDTS") {
    drive.played->identity.mdts = 2;
    const std::string why = drive.refusal();
    CHECK(why.find("16384") != std::string::npos);
    CHECK(why.find("131072") != std::string::npos);
  }
  SECTION("MQES") {
    drive.set_cap(cap::kMqes.put(plain_cap(4), 7));
    const std::string why = drive.refusal();
    INFO(why);
    CHECK(why.find("queues (CAP.MQES) of 8") != std::string::npos);
    CHECK(why.find("uses 33") != std::string::npos);
  }
  SECTION("queues, which it refuses") {
    drive.played->other = [](const Command& command, std::uint32_t&) {
      const bool is_refused = cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(AdminOpcode::set_features) &&
                              features::kFid.of(command.cdw10) == static_cast<unsigned>(FeatureId::number_of_queues);
      return is_refused ? Status::from(StatusCode::internal_error, true) : Status{};
    };
    const std::string why = drive.refusal();
    INFO(why);
    CHECK(why.find("grants no I/O queue, and channels are open: Internal Error (SCT 0h, SC 06h") != std::string::npos);
  }
  SECTION("DSTRD") {
    drive.set_cap(cap::kDstrd.put(plain_cap(4), 1));
    CHECK(drive.refusal().find("CAP.DSTRD") != std::string::npos);
  }
  SECTION("a volatile write cache that was not there") {
    drive.played->identity.vwc = 1;
    CHECK(drive.refusal().find("volatile write cache") != std::string::npos);
  }
  CHECK_FALSE(drive.drive->poll());
}

TEST_CASE(
    "a block that no command of the drive's carries is the drive's matter, and one that the options forbid is theirs") {
  Updated drive;
  drive.channel.reset();
  drive.played->identify = PlayedNamespaces{.all = {{.nsid = 1, .lbads = 16}}};
  const auto refusal = [&](std::uint32_t most_bytes) {
    const auto channel = drive.drive->open_channel(*drive.drive->open_namespace(), {.max_transfer_bytes = most_bytes});
    REQUIRE_FALSE(channel);
    return channel.error().message();
  };
  CHECK(refusal(4096).contains("max_transfer_bytes"));
  drive.played->identity.mdts = 1;
  REQUIRE(drive.drive->reset());
  CHECK(refusal(0).contains("a block has 65536 bytes, and the drive takes 8192 in one command (its MDTS)"));
}

TEST_CASE("what no open channel uses may become less") {
  Updated drive;
  drive.channel.reset();
  drive.played->identity.mdts = 2;
  drive.played->identity.vwc = 1;
  drive.set_cap(cap::kDstrd.put(cap::kMqes.put(plain_cap(4), 7), 1));
  REQUIRE(drive.drive->reset());
  const auto channel = drive.drive->open_channel(*drive.drive->open_namespace(), {.depth = 32});
  REQUIRE(channel);
  CHECK((*channel)->depth() == 7);
  CHECK((*channel)->max_transfer_bytes() == 16384);
  CHECK((*channel)->ns().volatile_write_cache);
}

TEST_CASE("where another drive answers after a reset the error names both") {
  Updated drive;
  std::memcpy(drive.played->identity.sn, "OTHER1", 6);
  std::memcpy(drive.played->identity.mn, "MODEL", 5);
  const std::string why = drive.refusal();
  CHECK(why.find("MODEL with serial number OTHER1") != std::string::npos);
  CHECK(why.find("serial number PLAYED and firmware OLD") != std::string::npos);
}

TEST_CASE("while the controller works on no command, within its own time for that, nothing grows older") {
  Updated drive;
  drive.played->identity.mtfa = 50;  // 5 s
  REQUIRE(drive.drive->reset());
  const auto tick = [&] { return Pulse{drive.drive->controller().pulse().load()}.tick_ms(); };
  const auto later = [&](std::uint64_t ms) {
    drive.played->clock.now_ += ms * kNsPerMs;
    REQUIRE(drive.drive->poll());
    return tick();
  };
  later(1);
  const std::uint32_t before = tick();
  drive.played->device->word(reg::kCsts) |= static_cast<std::uint32_t>(csts::kPp.mask());
  CHECK(later(1000) == before);
  CHECK(later(3900) == before);
  SECTION("it goes on") {
    drive.played->device->word(reg::kCsts) &= ~static_cast<std::uint32_t>(csts::kPp.mask());
    CHECK(later(1) > before);
  }
  SECTION("it does not within its time") { CHECK(later(2000) > before); }
  SECTION("it has met a fatal error") {
    drive.played->device->word(reg::kCsts) |= static_cast<std::uint32_t>(csts::kCfs.mask());
    later(1);
    CHECK(Pulse{drive.drive->controller().pulse().load()}.epoch() == 3);
  }
}

}  // namespace pollux::nvme
