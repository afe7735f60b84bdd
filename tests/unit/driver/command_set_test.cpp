// Which namespaces are opened: of the NVM command set, in a format that pollux drives; and what is said of the others.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

constexpr std::uint64_t kSeveralSets = cap::kCss.put(std::uint64_t{0}, cap::kCssNvm | cap::kCssIoSets);

struct OpenedDrive {
  explicit OpenedDrive(PlayedNamespaces namespaces,
                       const std::string& address = "test:", std::uint64_t command_sets = kSeveralSets) {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->cap = plain_cap(4) | command_sets;
    played->identify = std::move(namespaces);
    auto opened = open_played(std::move(controller), address);
    if (!opened) FAIL(opened.error().message());
    drive = std::move(*opened);
  }

  std::string refusal(std::uint32_t nsid = 0) {
    const auto ns = drive->open_namespace(nsid);
    REQUIRE_FALSE(ns);
    return ns.error().message();
  }
  std::uint32_t opened(std::uint32_t nsid = 0) {
    const auto ns = drive->open_namespace(nsid);
    if (!ns) FAIL(ns.error().message());
    return ns->nsid;
  }

  PlayedController* played = nullptr;
  std::unique_ptr<Drive> drive;
};

bool says(const std::string& text, std::string_view word) {
  INFO(text);
  return text.find(word) != std::string::npos;
}

}  // namespace

TEST_CASE("a namespace of another command set is refused in its own words") {
  struct Row {
    CommandSet set;
    const char* words;
  };
  const Row row =
      GENERATE(Row{CommandSet::key_value, "is of the key value command set (CSI 01h)"},
               Row{CommandSet::zoned, "is of the zoned command set (CSI 02h)"},
               Row{CommandSet::local_memory, "is of the subsystem local memory command set (CSI 03h)"},
               Row{CommandSet::computational_programs, "is of the computational programs command set (CSI 04h)"},
               Row{static_cast<CommandSet>(0x5a), "is of the unknown command set (CSI 5Ah)"});
  OpenedDrive one({.all = {{.nsid = 1, .set = row.set}}});
  CHECK(says(one.refusal(), std::string("namespace 1 ") + row.words));
  CHECK(says(one.refusal(1), row.words));
  CHECK(says(one.refusal(), "pollux drives that of NVM (00h)"));
}

TEST_CASE("the command set is told by the list of its namespaces where no descriptor tells it") {
  const bool describes = GENERATE(true, false);
  OpenedDrive drive({.all = {{.nsid = 1, .set = CommandSet::zoned}, {.nsid = 4}},
                     .describes = describes,
                     .tells_set = false,
                     .lists_sets = true});
  CHECK(says(drive.refusal(1), "zoned"));
  CHECK(drive.opened(4) == 4);
}

TEST_CASE("where a controller of several command sets tells none, its namespaces are not guessed at") {
  OpenedDrive drive({.all = {{.nsid = 1}}, .tells_set = false});
  CHECK(says(drive.refusal(), "does not tell which one namespace 1 has"));
}

TEST_CASE("a controller of the NVM command set alone is believed without a descriptor, and with one that says more") {
  const std::uint64_t only_nvm = 0;
  OpenedDrive plain({.all = {{.nsid = 1}}, .tells_set = false}, "test:", only_nvm);
  CHECK(plain.opened() == 1);
  OpenedDrive zoned({.all = {{.nsid = 1, .set = CommandSet::zoned}}}, "test:", only_nvm);
  CHECK(says(zoned.refusal(), "zoned"));
}

TEST_CASE("a namespace that pollux does not drive is the default only where there is no other") {
  const PlayedNamespace zoned{.nsid = 1, .set = CommandSet::zoned}, metadata{.nsid = 2, .metadata = 8},
      strange{.nsid = 3, .lbads = 20}, empty{.nsid = 4, .blocks = 0}, good{.nsid = 7};
  OpenedDrive drive({.all = {zoned, metadata, strange, empty, good, {.nsid = 9}}});
  CHECK(drive.opened() == 7);
  CHECK(drive.opened(9) == 9);
  CHECK(says(drive.refusal(2), "has 8 bytes of metadata"));

  OpenedDrive none({.all = {zoned, metadata}});
  CHECK(says(none.refusal(), "namespace 1 is of the zoned command set"));
}

TEST_CASE("the namespace that an address names is the default, whatever others there are") {
  OpenedDrive drive({.all = {{.nsid = 1, .set = CommandSet::zoned}, {.nsid = 2}, {.nsid = 3}}}, "test:,ns=3");
  CHECK(drive.opened() == 3);
  OpenedDrive refusing({.all = {{.nsid = 1, .set = CommandSet::zoned}, {.nsid = 2}}}, "test:,ns=1");
  CHECK(says(refusing.refusal(), "zoned"));
}

TEST_CASE("a controller that takes its time is not asked for the default namespace by namespace") {
  PlayedNamespaces namespaces;
  for (std::uint32_t nsid = 1; nsid <= 900; ++nsid) namespaces.all.push_back({.nsid = nsid, .set = CommandSet::zoned});
  OpenedDrive drive(namespaces);
  drive.played->command_ns = 5'000 * kNsPerMs;
  const std::uint64_t start_ns = drive.played->clock.now_;
  CHECK(says(drive.refusal(), "namespace 1 "));
  CHECK(drive.played->clock.now_ - start_ns <= 2 * kNamespacesTimeoutMs * kNsPerMs);
}

TEST_CASE("the specifications' names of zoned, key value and placement statuses are told") {
  struct Row {
    StatusCode code;
    const char* text;
  };
  const Row row = GENERATE(Row{static_cast<StatusCode>(0x1b8), "Zone Boundary Error (SCT 1h, SC B8h)"},
                           Row{static_cast<StatusCode>(0x1b9), "Zone Is Full (SCT 1h, SC B9h)"},
                           Row{static_cast<StatusCode>(0x1bc), "Zone Invalid Write (SCT 1h, SC BCh)"},
                           Row{static_cast<StatusCode>(0x087), "KV Key Does Not Exist (SCT 0h, SC 87h)"},
                           Row{static_cast<StatusCode>(0x029), "FDP Disabled (SCT 0h, SC 29h)"});
  CHECK(Status::from(row.code).text() == row.text);
}

}  // namespace pollux::nvme
