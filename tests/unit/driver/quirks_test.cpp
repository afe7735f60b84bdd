// What is known of single drives, and what it does.
#include "pollux/driver/controller/quirks.hpp"

#include <set>

#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

using enum Quirk;

struct Expected {
  std::uint16_t vendor, device;
  Quirks quirks;
};

// A drive of this kind; `also`: what its address adds.
struct QuirkyDrive {
  explicit QuirkyDrive(std::uint16_t vendor, std::uint16_t device, PlayedNamespaces all, const std::string& also = "",
                       std::uint32_t version = 0x0001'0400)
      : namespaces(std::move(all)) {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->pci_ids = std::uint32_t{device} << 16 | vendor;
    played->version = version;
    played->identity.nn = 4;
    played->identity.oncs = oncs::kWriteZeroes;
    played->identify = [this](const Command& command, std::byte* page) {
      asked.insert(cns_of(command));
      return namespaces(command, page);
    };
    auto opened = open_played(std::move(controller), also.empty() ? "test:" : "test:quirks=" + also);
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
    ns = *drive->open_namespace();
  }

  PlayedNamespaces namespaces;
  std::set<Cns> asked;
  PlayedController* played = nullptr;
  std::unique_ptr<Drive> drive;
  Namespace ns;
};

constexpr std::array<std::uint8_t, 16> kOne{1}, kOther{2};

bool has_no_ids(const Namespace& ns) {
  const auto zero = [](unsigned char byte) { return byte == 0; };
  return std::ranges::all_of(ns.nguid, zero) && std::ranges::all_of(ns.eui64, zero) &&
         std::ranges::all_of(ns.uuid, zero);
}

}  // namespace

// The kernel's pci.c has each of these but the last, SPDK's nvme_quirks.c that.
TEST_CASE("each drive that is known to be odd has its row") {
  const Expected rows[] = {
      {0x1cc1, 0x33f8, bogus_nid},
      {0x1cc1, 0x5350, bogus_nid},
      {0x1cc1, 0x8201, no_deepest_ps | ignore_dev_subnqn},
      {0x10ec, 0x5762, ignore_dev_subnqn | bogus_nid},
      {0x10ec, 0x5763, bogus_nid},
      {0x1dbe, 0x5236, bogus_nid},
      {0x126f, 0x1001, no_deepest_ps | ignore_dev_subnqn},
      {0x126f, 0x2262, no_deepest_ps | bogus_nid},
      {0x126f, 0x2263, no_ns_desc_list | bogus_nid},
      {0x1d97, 0x2263, disable_write_zeroes},
      {0x2646, 0x2262, no_deepest_ps},
      {0x2646, 0x2263, no_deepest_ps},
      {0x1b36, 0x0010, bogus_nid},
      {0x8086, 0x5845, identify_cns | disable_write_zeroes | bogus_nid},
      {0x1bb1, 0x0100, delay_before_chk_rdy | no_ns_desc_list},
      {0x1c58, 0x0003, delay_before_chk_rdy},
      {0x1c58, 0x0023, delay_before_chk_rdy},
      {0x1c5f, 0x0540, delay_before_chk_rdy},
      {0x144d, 0xa821, delay_before_chk_rdy},
      {0x144d, 0xa822, delay_before_chk_rdy},
      {0x80ee, 0x4e56, delay_after_queue_alloc},
  };
  for (const Expected& one : rows) {
    INFO(std::hex << one.vendor << ":" << one.device);
    const QuirkRow* const row = quirk_row_of(one.vendor, one.device);
    REQUIRE(row != nullptr);
    CHECK(row->quirks == one.quirks);
  }
  CHECK(quirk_rows().size() == std::size(rows));
  CHECK(quirk_row_of(0x1cc1, 0x0021) == nullptr);
}

TEST_CASE("a row says whose drive it is and why, and no drive has two") {
  std::set<std::pair<unsigned, unsigned>> seen;
  for (const QuirkRow& row : quirk_rows()) {
    CHECK(seen.emplace(row.vendor, row.device).second);
    CHECK(std::string_view(row.drive).size() > 3);
    CHECK(std::string_view(row.why).size() > 10);
    CHECK(row.quirks.bits != 0);
  }
}

TEST_CASE("quirks are named one by one, and a wrong name is answered with the right ones") {
  Quirks all;
  for (const QuirkMeaning& one : quirk_meanings()) {
    const auto parsed = parse_quirks(one.name);
    REQUIRE(parsed);
    CHECK(*parsed == Quirks(one.quirk));
    CHECK_FALSE(all.has(one.quirk));
    all = all | one.quirk;
  }
  CHECK(*parse_quirks("bogus_nid+identify_cns") == (bogus_nid | identify_cns));
  CHECK(*parse_quirks("") == Quirks());
  for (const char* wrong : {"bogus", "bogus_nid,identify_cns", "bogus_nid++identify_cns", "+"}) {
    const auto parsed = parse_quirks(wrong);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().message().find("known are bogus_nid, no_ns_desc_list") != std::string::npos);
  }
}

TEST_CASE("identifiers that are bogus tell nothing: neither who a namespace is, nor that it is another") {
  QuirkyDrive drive(0x1cc1, 0x5350, {.all = {{.nguid = kOne, .uuid = kOne}}});
  CHECK(has_no_ids(drive.ns));
  const auto channel = drive.drive->open_channel(drive.ns, {.depth = 2});
  REQUIRE(channel);
  drive.namespaces.all = {{.nguid = kOther, .uuid = kOther}};
  CHECK(drive.drive->reset());
  drive.namespaces.all = {{.lbads = 12}};  // which still counts
  CHECK_FALSE(drive.drive->reset());
}

TEST_CASE("a drive that answers the descriptors with garbage is not asked for them, not even after a reset") {
  QuirkyDrive drive(0x126f, 0x2263, {.all = {{.uuid = kOne}}});
  const auto channel = drive.drive->open_channel(drive.ns, {.depth = 2});
  REQUIRE(drive.drive->reset());
  CHECK(drive.asked.count(Cns::ns) == 1);
  CHECK(drive.asked.count(Cns::ns_descriptors) == 0);
}

TEST_CASE("a drive that never answers the descriptors is told by the command's name, with the quirk that helps") {
  QuirkyDrive drive(0x1234, 0x5678, {.all = {{.nsid = 1}}});
  drive.played->identify = [&](const Command& command, std::byte* page) {
    drive.played->hangs = cns_of(command) == Cns::ns_descriptors;
    return drive.namespaces(command, page);
  };
  const auto ns = drive.drive->open_namespace();
  REQUIRE_FALSE(ns);
  CHECK(ns.error().message().contains(
      "Identify (06h, CNS 03h) was not answered within 30000 ms: the controller hangs: reset it or power it off; if "
      "this question alone does it, add ,quirks=no_ns_desc_list to its address"));
}

TEST_CASE("a drive that knows two values of CNS is asked for no list before NVMe 1.2") {
  const bool is_old = GENERATE(true, false);
  QuirkyDrive drive(0x8086, 0x5845, {.all = {{.nsid = 3}}}, "", is_old ? 0x0001'0100 : 0x0001'0200);
  CHECK(drive.ns.nsid == 3);
  CHECK(drive.asked.count(Cns::active_ns_list) == (is_old ? 0 : 1));
}

TEST_CASE("Write Zeroes that does not work is not offered") {
  CHECK(QuirkyDrive(0x1d97, 0x2263, {.all = {{}}}).ns.write_zeroes_blocks == 0);
  CHECK(QuirkyDrive(0x1cc1, 0x0021, {.all = {{}}}).ns.write_zeroes_blocks != 0);
}

TEST_CASE("a queue that is not ready at once is left alone for a moment") {
  const auto takes_ns = [](std::uint16_t vendor, std::uint16_t device) {
    QuirkyDrive drive(vendor, device, {.all = {{}}});
    const std::uint64_t start_ns = drive.played->clock.now_;
    REQUIRE(drive.drive->open_channel(drive.ns, {.depth = 2}));
    return drive.played->clock.now_ - start_ns;
  };
  CHECK(takes_ns(0x80ee, 0x4e56) - takes_ns(0x1cc1, 0x0021) >= 100'000);
}

TEST_CASE("a reset of a drive that wants to be left alone takes as long") {
  QuirkyDrive slow(0x1c58, 0x0003, {.all = {{}}}), quick(0x1cc1, 0x0021, {.all = {{}}});
  for (QuirkyDrive* drive : {&slow, &quick}) {
    const std::uint64_t start_ns = drive->played->clock.now_;
    REQUIRE(drive->drive->reset());
    CHECK((drive->played->clock.now_ - start_ns >= 2'300 * kNsPerMs) == (drive == &slow));
  }
}

TEST_CASE("an address adds to what is known of the drive") {
  QuirkyDrive added(0x1d97, 0x2263, {.all = {{.nguid = kOne}}}, "bogus_nid");
  CHECK(has_no_ids(added.ns));
  CHECK(added.drive->controller().quirks() == (bogus_nid | disable_write_zeroes));
  QuirkyDrive plain(0x1d97, 0x2263, {.all = {{.nguid = kOne}}});
  CHECK_FALSE(has_no_ids(plain.ns));
  const auto wrong = open_played(std::make_unique<PlayedController>(), "test:quirks=slow");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message().find("there is no quirk \"slow\"") != std::string::npos);
}

}  // namespace pollux::nvme
