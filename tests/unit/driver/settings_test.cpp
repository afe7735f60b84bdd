// What the application has set and asked for is as before after a reset: features and events.
#include "pollux/tests/unit/driver/recovery_fixture.hpp"

#include <catch2/catch.hpp>

#include "pollux/driver/controller/identify.hpp"

namespace pollux {

TEST_CASE("features that the application has set are set again after a reset, and a refusal then loses the drive") {
  SoftDrive soft;
  const auto feature = [&](nvme::AdminOpcode opcode, nvme::FeatureId id, std::uint32_t value) {
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(opcode);
    command.cdw10 = nvme::features::kFid.put(0u, static_cast<std::uint64_t>(id));
    command.cdw11 = value;
    return soft.controller().admin(command)->dw0;
  };
  using nvme::AdminOpcode, nvme::FeatureId;
  const std::uint32_t lower = 1u << 20;  // THSEL: under-temperature
  feature(AdminOpcode::set_features, FeatureId::volatile_write_cache, 1);
  feature(AdminOpcode::set_features, FeatureId::volatile_write_cache, 0);
  feature(AdminOpcode::set_features, FeatureId::temperature_threshold, 350);
  feature(AdminOpcode::set_features, FeatureId::temperature_threshold, lower | 280);
  SECTION("they are as before") {
    REQUIRE(soft.drive->reset(GENERATE(ResetReach::controller, ResetReach::function)));
    CHECK(feature(AdminOpcode::get_features, FeatureId::volatile_write_cache, 0) == 0);
    CHECK(feature(AdminOpcode::get_features, FeatureId::temperature_threshold, 0) == 350);
    CHECK(feature(AdminOpcode::get_features, FeatureId::temperature_threshold, lower) == 280);
  }
  SECTION("one is refused") {
    struct Refusal final : softnvme::FaultHook {
      softnvme::FetchFault after_fetch(std::uint16_t, const nvme::Command& command) override {
        const bool meant =
            nvme::cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(nvme::AdminOpcode::set_features) &&
            nvme::features::kFid.of(command.cdw10) == static_cast<unsigned>(FeatureId::volatile_write_cache);
        if (!meant) return {};
        return {softnvme::FetchFault::Kind::answer, nvme::Status::from(nvme::StatusCode::invalid_field), 0};
      }
    } refusal;
    soft.device().set_fault_hook(&refusal);
    const auto reset = soft.drive->reset();
    REQUIRE_FALSE(reset);
    CHECK(reset.error().what.find("feature 06h") != std::string::npos);
    soft.device().set_fault_hook(nullptr);
  }
}

TEST_CASE("events are collected with their log page, and the next one is reported after it, over a reset too") {
  SoftDrive soft;
  CHECK_FALSE(soft.drive->take_event());
  REQUIRE(soft.drive->poll());  // arms
  for (int round = 0; round < 3; ++round) {
    // Above 310 kelvin, which is what the drive tells.
    nvme::Command command;
    command.cdw0 = static_cast<std::uint32_t>(nvme::AdminOpcode::set_features);
    command.cdw10 = nvme::features::kFid.put(0u, static_cast<std::uint64_t>(nvme::FeatureId::temperature_threshold));
    command.cdw11 = 300;
    REQUIRE(soft.controller().admin(command)->status.ok());
    std::optional<Event> event;
    const std::uint64_t end_ns = steady_clock().now_ns() + 5'000 * kNsPerMs;
    while (!event && steady_clock().now_ns() < end_ns) {
      REQUIRE(soft.drive->poll());
      event = soft.drive->take_event();
    }
    REQUIRE(event);
    CHECK(event->type == nvme::AsyncEventType::health);
    CHECK(event->text() == "health: temperature threshold (log page 02h)");
    REQUIRE(event->log.size() == sizeof(nvme::SmartLog));
    CHECK((std::to_integer<unsigned>(event->log[0]) & 2) == 2);  // critical warning: temperature
    if (round == 1) REQUIRE(soft.drive->reset());
  }
}

TEST_CASE("a controller that takes no event request is driven without events") {
  SoftDrive soft;
  Fault fault(true, static_cast<unsigned>(nvme::AdminOpcode::async_event_request), softnvme::FetchFault::Kind::answer);
  fault.status = nvme::Status::from(nvme::StatusCode::invalid_opcode);
  fault.left = kAlways;
  soft.device().set_fault_hook(&fault);
  for (int i = 0; i < 20; ++i) {
    REQUIRE(soft.drive->poll());
    steady_clock().pause_ns(kNsPerMs);
  }
  CHECK(fault.seen == 1);
  CHECK_FALSE(soft.drive->take_event());
  soft.device().set_fault_hook(nullptr);
}

}  // namespace pollux
