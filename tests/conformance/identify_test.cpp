// What the controller tells of itself and of its namespaces.
#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "pollux/driver/controller/identify.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "test_device.hpp"

namespace pollux::conformance {
namespace {

TEST_CASE_METHOD(TestDevice, "Identify Controller is plausible, and its texts are trimmed") {
  nvme::Controller& controller = drive->controller();
  const nvme::IdentifyController& identity = controller.identity();
  CHECK(identity.vid != 0);
  CHECK(identity.nn >= 1);
  CHECK((identity.sqes & 0xf) <= 6);
  CHECK((identity.sqes >> 4) >= 6);
  CHECK((identity.cqes & 0xf) <= 4);
  CHECK((identity.cqes >> 4) >= 4);
  for (const std::string& text : {controller.model(), controller.serial()}) {
    REQUIRE_FALSE(text.empty());
    CHECK(text.front() != ' ');
    CHECK(text.back() != ' ');
    CHECK(std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; }));
  }
}

TEST_CASE_METHOD(TestDevice, "MDTS counts in the controller's smallest pages") {
  const nvme::Controller& controller = drive->controller();
  const std::uint64_t unit = kPage << nvme::cap::kMpsmin.of(controller.cap());
  const unsigned mdts = controller.identity().mdts;
  CHECK(controller.max_transfer_bytes() == (mdts == 0 ? 0 : unit << mdts));
}

TEST_CASE_METHOD(TestDevice, "the active namespaces ascend, and the one that was opened is among them") {
  const auto active = nvme::active_namespaces(drive->controller());
  REQUIRE(active);
  REQUIRE_FALSE(active->empty());
  CHECK(std::ranges::adjacent_find(*active, std::greater_equal()) == active->end());
  CHECK(std::ranges::count(*active, ns.nsid) == 1);
}

TEST_CASE_METHOD(TestDevice, "a namespace is what Identify Namespace says") {
  const auto identified = nvme::identify_namespace(drive->controller(), ns.nsid);
  REQUIRE(identified);
  CHECK(identified->nsze == ns.block_count);
  CHECK((std::has_single_bit(ns.block_size_bytes) && ns.block_size_bytes >= 512 && ns.block_size_bytes <= 65536));
  const nvme::LbaFormat& format = identified->lbaf[identified->flbas & 0xf];
  CHECK(1u << format.lbads == ns.block_size_bytes);
  CHECK(ns.size_bytes() == ns.block_count * ns.block_size_bytes);
  const nvme::NamespaceIdentity identity = nvme::identity_of(ns.nsid, *identified, {}, drive->controller().quirks());
  if (identity.nguid != decltype(identity.nguid){}) CHECK(std::ranges::equal(identity.nguid, ns.nguid));
  if (identity.eui64 != decltype(identity.eui64){}) CHECK(std::ranges::equal(identity.eui64, ns.eui64));
}

TEST_CASE_METHOD(TestDevice, "a namespace that is not active identifies as zeros") {
  const auto active = nvme::active_namespaces(drive->controller());
  REQUIRE(active);
  std::uint32_t inactive = 1;
  while (std::ranges::count(*active, inactive) != 0) ++inactive;
  if (inactive > drive->controller().identity().nn) {
    WARN("every namespace up to NN is active here: there is none to ask for");
    return;
  }
  const auto identified = nvme::identify_namespace(drive->controller(), inactive);
  REQUIRE(identified);
  const auto bytes = std::as_bytes(std::span(&*identified, 1));
  CHECK(std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE_METHOD(TestDevice,
                 "namespace descriptors have the lengths of their types, and agree with Identify Namespace") {
  const auto descriptors = nvme::namespace_descriptors(drive->controller(), ns.nsid);
  REQUIRE(descriptors);
  const bool is_believed = !drive->controller().quirks().has(nvme::Quirk::bogus_nid);
  for (const auto& descriptor : *descriptors) {
    const auto is = [&](const unsigned char* expected, std::size_t size) {
      return descriptor.value.size() == size &&
             (!is_believed || std::equal(expected, expected + size, descriptor.value.begin()));
    };
    switch (descriptor.type) {
      case nvme::NsIdType::eui64:
        CHECK(is(ns.eui64, 8));
        break;
      case nvme::NsIdType::nguid:
        CHECK(is(ns.nguid, 16));
        break;
      case nvme::NsIdType::uuid:
        CHECK(is(ns.uuid, 16));
        break;
      case nvme::NsIdType::csi:
        CHECK(descriptor.value == std::vector<std::uint8_t>{0});  // NVM: no other is opened
        break;
    }
  }
}

TEST_CASE_METHOD(TestDevice, "the SMART log tells a temperature between freezing and boiling") {
  const auto smart = nvme::smart_log(drive->controller());
  REQUIRE(smart);
  const unsigned kelvin = smart->composite_temperature;
  CHECK(kelvin >= 273);
  CHECK(kelvin <= 373);
}

}  // namespace
}  // namespace pollux::conformance
