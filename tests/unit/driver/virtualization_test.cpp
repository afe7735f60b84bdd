#include "pollux/driver/controller/virtualization.hpp"

#include <catch2/catch.hpp>

namespace pollux::nvme {
namespace {

// Controller 5, which shares 8 queues and 6 interrupts with others.
PrimaryControllerCapabilities capabilities() {
  PrimaryControllerCapabilities page{};
  page.cntlid = 5;
  page.crt = crt::kVq | crt::kVi;
  page.vqfrt = 8;
  page.vqrfa = 3;
  page.vqrfap = 4;
  page.vqfrsm = 2;
  page.vifrt = 6;
  page.virfa = 1;
  page.virfap = 2;
  page.vifrsm = 3;
  return page;
}

// Secondary controllers 6 and up of controller 5.
SecondaryControllerList list_of(std::uint8_t count) {
  SecondaryControllerList page{};
  page.num = count;
  for (std::uint8_t i = 0; i < count && i < kSecondaryEntries; ++i) {
    page.entries[i].scid = static_cast<std::uint16_t>(6 + i);
    page.entries[i].pcid = 5;
    page.entries[i].vfn = static_cast<std::uint16_t>(1 + i);
  }
  return page;
}

bool refused(const SecondaryControllerList& page, std::uint32_t from = 0) { return !decode(page, 5, from); }

}  // namespace

TEST_CASE("what a primary controller shares out is told by kind") {
  const auto primary = decode(capabilities());
  REQUIRE(primary);
  CHECK(primary->id == 5);
  CHECK(primary->queues.total == 8);
  CHECK(primary->queues.of_primary == 4);
  CHECK(primary->queues.of_secondaries == 3);
  CHECK(primary->queues.unassigned() == 1);
  CHECK(primary->queues.secondary_max == 2);
  CHECK(primary->interrupts.unassigned() == 3);
  CHECK(primary->interrupts.secondary_max == 3);
}

TEST_CASE("a kind of resource that is not flexible counts nothing, whatever the page holds") {
  auto page = capabilities();
  page.crt = crt::kVi;
  page.vqrfa = 0xffff'ffff;
  const auto primary = decode(page);
  REQUIRE(primary);
  CHECK_FALSE(primary->queues.flexible);
  CHECK(primary->queues.unassigned() == 0);
  CHECK(primary->interrupts.flexible);
}

TEST_CASE("more given out than there is, is refused") {
  auto page = capabilities();
  SECTION("queues") { page.vqrfa = 5; }
  SECTION("interrupts") { page.virfap = 6; }
  SECTION("so many that the sum wraps in 32 bits") { page.vqrfa = 0xffff'fffe; }
  CHECK_FALSE(decode(page));
}

TEST_CASE("secondary controllers are told with their function, state and resources") {
  auto page = list_of(2);
  page.entries[1].scs = 0x81;  // only bit 0 is the state
  page.entries[1].nvq = 3;
  page.entries[1].nvi = 2;
  const auto list = decode(page, 5, 0);
  REQUIRE(list);
  REQUIRE(list->size() == 2);
  CHECK((*list)[0].id == 6);
  CHECK((*list)[0].virtual_function == 1);
  CHECK_FALSE((*list)[0].online);
  CHECK((*list)[1].online);
  CHECK((*list)[1].queues == 3);
  CHECK((*list)[1].interrupts == 2);
  CHECK(decode(list_of(kSecondaryEntries), 5, 0)->size() == kSecondaryEntries);
  CHECK(decode(list_of(0), 5, 0)->empty());
}

TEST_CASE("a list of secondary controllers that cannot be is refused") {
  auto page = list_of(3);
  SECTION("an identifier twice: reading on would never end") { page.entries[2].scid = page.entries[1].scid; }
  SECTION("the primary itself") { page.entries[0].scid = 5; }
  SECTION("another primary's") { page.entries[1].pcid = 4; }
  CHECK(refused(page));
}

TEST_CASE("a list with more entries than its page has is refused before they are read") {
  auto page = list_of(kSecondaryEntries);
  page.num = kSecondaryEntries + 1;
  const auto list = decode(page, 5, 0);
  REQUIRE_FALSE(list);
  CHECK(list.error().what.find("128 entries of 127") != std::string::npos);
}

TEST_CASE("a list that begins before what was asked for is refused") {
  CHECK(refused(list_of(2), 7));
  CHECK_FALSE(refused(list_of(2), 6));
}

}  // namespace pollux::nvme
