// What a namespace is known by after a reset: whichever of NGUID, EUI64 and UUID it has, its block size and command
// set. Nothing is sent to another one.
#include "played_namespaces.hpp"
#include "pollux/driver/controller/patience.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::nvme {
namespace {

struct Reset {
  static constexpr std::uint32_t kTail = reg::kDoorbells + 8;  // of I/O queue 1

  explicit Reset(const PlayedNamespace& before, bool describes = true) : namespaces{{before}} {
    namespaces.describes = describes;
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    controller->identify = [this](const Command& command, std::byte* page) { return namespaces(command, page); };
    drive = *open_played(std::move(controller));
    const auto ns = drive->open_namespace();
    if (!ns) FAIL(ns.error().message());
    channel = *drive->open_channel(*ns, {.depth = 2});
  }
  // Another namespace is there after a reset.
  Result<void> with(const PlayedNamespace& after) {
    namespaces.all = {after};
    return drive->reset();
  }

  PlayedController* played;
  PlayedNamespaces namespaces;
  std::unique_ptr<Drive> drive;
  std::unique_ptr<Channel> channel;
};

constexpr std::array<std::uint8_t, 16> kOne{1, 2, 3}, kOther{1, 2, 4};

bool is_another(const Result<void>& reset) {
  return !reset && reset.error().what.find("namespace 1 is another one") != std::string::npos;
}

struct Answers {
  unsigned times = 0;
  Status last;
  static void take(void* context, Status status) noexcept {
    auto* const answers = static_cast<Answers*>(context);
    ++answers->times;
    answers->last = status;
  }
};

}  // namespace

TEST_CASE("a namespace that has only a UUID is the same while that is") {
  Reset reset({.uuid = kOne});
  CHECK(std::ranges::equal(reset.channel->ns().uuid, kOne));
  CHECK(reset.with({.uuid = kOne}));
  CHECK(is_another(reset.with({.uuid = kOther})));
}

TEST_CASE("a UUID that is gone, or has come, makes another namespace") {
  Reset gone({.uuid = kOne});
  CHECK(is_another(gone.with({})));
  Reset come{PlayedNamespace{}};
  CHECK(is_another(come.with({.uuid = kOne})));
  Reset silent({.uuid = kOne});
  silent.namespaces.describes = false;
  CHECK(is_another(silent.with({.uuid = kOne})));
}

TEST_CASE("NGUID, EUI64, block size and command set count as before") {
  const PlayedNamespace before{.nguid = kOne, .eui64 = {1}, .uuid = kOne};
  PlayedNamespace after = before;
  SECTION("all the same") {
    Reset reset(before);
    CHECK(reset.with(after));
    return;
  }
  SECTION("NGUID") { after.nguid = kOther; }
  SECTION("EUI64") { after.eui64 = {2}; }
  SECTION("block size") { after.lbads = 12; }
  SECTION("command set") { after.set = CommandSet::zoned; }
  Reset reset(before);
  CHECK(is_another(reset.with(after)));
}

TEST_CASE("one that a controller without descriptors has is the same by what Identify Namespace says") {
  Reset reset({.eui64 = {1}}, false);
  CHECK(reset.with({.eui64 = {1}}));
  CHECK(is_another(reset.with({.eui64 = {2}})));
}

TEST_CASE("nothing is sent to another namespace: what waits is answered, and the drive is cut off") {
  Reset reset({.uuid = kOne});
  const auto buffer = *reset.drive->allocate(4096);
  Answers told, untold;
  REQUIRE(reset.channel->read(0, buffer.slice(0, 512), Answers::take, &told) == Submit::accepted);
  reset.channel->ring();
  REQUIRE(reset.channel->read(1, buffer.slice(512, 512), Answers::take, &untold) == Submit::accepted);
  REQUIRE(reset.played->device->word(Reset::kTail) == 1);
  CHECK(is_another(reset.with({.uuid = kOther})));
  CHECK(*vfio::bus_master(*reset.played->device) == false);
  reset.channel->poll();
  CHECK((told.times == 1 && told.last.code() == StatusCode::aborted_by_host));
  CHECK((untold.times == 1 && untold.last.code() == StatusCode::host_pathing_error));
  CHECK(reset.played->device->word(Reset::kTail) == 1);
  CHECK_FALSE(reset.drive->poll());
}

TEST_CASE("a namespace whose channels are closed is not looked for after a reset") {
  Reset reset({.uuid = kOne});
  reset.channel.reset();
  CHECK(reset.with({.uuid = kOther}));
}

TEST_CASE("a namespace that is not ready right after a reset is waited for, and not taken for another one") {
  Reset reset({.uuid = kOne});
  const auto cns = GENERATE(Cns::ns, Cns::ns_descriptors);
  bool comes = GENERATE(true, false);
  unsigned refused = 0;
  reset.played->identify = [&](const Command& command, std::byte* page) {
    if (cns_of(command) != cns || (comes && refused == 3)) return reset.namespaces(command, page);
    ++refused;
    return Status::from(StatusCode::namespace_not_ready);
  };
  const std::uint64_t start_ns = reset.played->clock.now_;
  const auto done = reset.with({.uuid = kOne});
  CHECK(done.has_value() == comes);
  if (!done)
    CHECK(done.error().what.ends_with("namespace 1 cannot be identified: Namespace Not Ready (SCT 0h, SC 82h)"));
  CHECK(reset.played->clock.now_ - start_ns < 2 * kPatienceMs * kNsPerMs);
}

TEST_CASE("a drive that does not tell its descriptors yet is not opened without them") {
  auto controller = std::make_unique<PlayedController>();
  PlayedNamespaces namespaces{{{.uuid = kOne}}};
  controller->identify = [&](const Command& command, std::byte* page) {
    if (cns_of(command) == Cns::ns_descriptors) return Status::from(StatusCode::internal_error);
    return namespaces(command, page);
  };
  const auto drive = *open_played(std::move(controller));
  CHECK_FALSE(drive->open_namespace());
}

TEST_CASE("no channel is opened to a namespace that has changed since it was opened") {
  Reset reset({.uuid = kOne});
  const Namespace ns = reset.channel->ns();
  reset.channel.reset();
  CHECK(reset.drive->open_channel(ns));
  SECTION("another format") { reset.namespaces.all = {{.lbads = 12, .uuid = kOne}}; }
  SECTION("another one") { reset.namespaces.all = {{.uuid = kOther}}; }
  SECTION("none any more") { reset.namespaces.all = {}; }
  SECTION("a volatile write cache that was not there") {
    reset.played->identity.vwc = 1;
    REQUIRE(reset.drive->reset());
  }
  const auto channel = reset.drive->open_channel(ns);
  REQUIRE_FALSE(channel);
  CHECK(channel.error().what == "test:registers: namespace 1 is not what it was when it was opened");
  CHECK(reset.played->device->word(Reset::kTail) == 0);
}

// The page is the device's: lengths that do not fit are no identifiers.
TEST_CASE("descriptors of a wrong length, or that end beyond the page, are not believed") {
  std::vector<std::byte> page(kIdentifyBytes);
  const auto put = [&](std::size_t at, std::uint8_t type, std::uint8_t length) {
    page[at] = std::byte{type};
    page[at + 1] = std::byte{length};
  };
  put(0, 3, 15);   // a UUID of 15 bytes
  put(19, 4, 2);   // a command set of two
  put(25, 2, 16);  // a good NGUID
  page[29] = std::byte{7};
  const auto ids = parse_ns_descriptors(page);
  REQUIRE(ids.size() == 3);
  const NamespaceIdentity identity = identity_of(1, {}, ids);
  CHECK(identity.uuid == decltype(identity.uuid){});
  CHECK(identity.command_set == CommandSet::nvm);
  CHECK(identity.nguid[0] == 7);

  std::fill(page.begin(), page.end(), std::byte{0xff});
  CHECK(parse_ns_descriptors(page).size() == kIdentifyBytes / 259);
  CHECK(parse_ns_descriptors(std::span(page).first(3)).empty());
}

}  // namespace pollux::nvme
