// A namespace that changes under an open channel: the channel is stopped before a command of its means other blocks.
#include "played_namespaces.hpp"

namespace pollux::nvme {
namespace {

constexpr std::uint32_t kEvery = 0xffff'ffff;

struct TwoNamespaces {
  TwoNamespaces() {
    auto controller = std::make_unique<PlayedController>();
    played = controller.get();
    played->identify = PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 2}}};
    played->other = [this](const Command& command, std::uint32_t& dw0) {
      seen.push_back(static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0)));
      if (seen.back() == AdminOpcode::set_features) dw0 = 0x0003'0003;  // four queue pairs
      return other ? other(command, dw0) : Status{};
    };
    drive = *open_played(std::move(controller));
    for (std::uint32_t nsid : {1u, 2u}) {
      channels.push_back(*drive->open_channel(*drive->open_namespace(nsid), {.depth = 4}));
      REQUIRE(read(nsid) == Submit::accepted);
    }
    seen.clear();
  }
  Submit read(std::uint32_t nsid) {
    return channels[nsid - 1]->read(0, buffer().slice(0, 512), &TwoNamespaces::done, &answers[nsid - 1]);
  }
  const dma::Buffer& buffer() {
    if (!memory) memory = *drive->allocate(4096);
    return *memory;
  }
  static void done(void* context, Status status) noexcept {
    static_cast<std::vector<Status>*>(context)->push_back(status);
  }
  // Sends it, and polls the owners then.
  Result<AdminResult> send(AdminOpcode opcode, std::uint32_t nsid, std::uint32_t cdw10 = 0) {
    Command command;
    command.cdw0 = static_cast<std::uint32_t>(opcode);
    command.nsid = nsid;
    command.cdw10 = cdw10;
    auto result = drive->controller().admin(command);
    for (auto& channel : channels) channel->poll();
    return result;
  }
  bool stopped(std::uint32_t nsid) {
    return answers[nsid - 1].size() == 1 && channels[nsid - 1]->in_flight() == 0 &&
           read(nsid) == Submit::namespace_changed;
  }
  bool works(std::uint32_t nsid) { return answers[nsid - 1].empty() && read(nsid) == Submit::accepted; }

  PlayedController* played;
  std::function<Status(const Command&, std::uint32_t&)> other;
  std::vector<AdminOpcode> seen;
  std::vector<Status> answers[2];
  std::optional<dma::Buffer> memory;
  std::unique_ptr<Drive> drive;
  std::vector<std::unique_ptr<Channel>> channels;
};

}  // namespace

TEST_CASE("a Format stops the channels of its namespace, before it is sent, and no others") {
  TwoNamespaces two;
  REQUIRE(two.send(AdminOpcode::format_nvm, 1));
  CHECK(two.seen == std::vector{AdminOpcode::delete_sq, AdminOpcode::delete_cq, AdminOpcode::format_nvm});
  CHECK(two.stopped(1));
  CHECK(two.works(2));
  // For good: no reset brings it back, nor is its namespace looked for.
  two.played->identify = PlayedNamespaces{.all = {{.nsid = 1, .lbads = 12}, {.nsid = 2}}};
  REQUIRE(two.drive->reset());
  two.channels[0]->poll();
  CHECK(two.read(1) == Submit::namespace_changed);
  const auto again = two.drive->open_channel(*two.drive->open_namespace(1));
  REQUIRE(again);
  CHECK((*again)->ns().block_size_bytes == 4096);
}

TEST_CASE("what changes every namespace stops every channel") {
  TwoNamespaces two;
  SECTION("a Format of all") { REQUIRE(two.send(AdminOpcode::format_nvm, kEvery)); }
  SECTION("a controller whose Format reaches all (FNA bit 0)") {
    two.played->identity.fna = 1;
    REQUIRE(two.drive->reset());
    REQUIRE(two.send(AdminOpcode::format_nvm, 1));
  }
  SECTION("a secure erase that reaches all (FNA bit 1)") {
    two.played->identity.fna = 2;
    REQUIRE(two.drive->reset());
    REQUIRE(two.send(AdminOpcode::format_nvm, 1, format_command::kSes.put(0u, 1)));
  }
  SECTION("Sanitize") { REQUIRE(two.send(AdminOpcode::sanitize, 0, sanitize_command::kSanact.put(0u, 2))); }
  CHECK(two.read(1) == Submit::namespace_changed);
  CHECK(two.read(2) == Submit::namespace_changed);
}

TEST_CASE("deleting or detaching a namespace stops its channels, creating or attaching one does not") {
  TwoNamespaces two;
  const auto opcode = GENERATE(AdminOpcode::namespace_management, AdminOpcode::namespace_attachment);
  REQUIRE(two.send(opcode, 1, 0));
  CHECK(two.works(1));
  two.answers[0].clear();
  REQUIRE(two.send(opcode, 1, 1));
  CHECK(two.read(1) == Submit::namespace_changed);
  CHECK(two.works(2));
}

TEST_CASE("a namespace that the controller tells to have changed stops its channels if it is another one") {
  TwoNamespaces two;
  unsigned events = 0;
  two.other = [&](const Command& command, std::uint32_t& dw0) {
    if (cdw0::kOpcode.of(command.cdw0) != static_cast<unsigned>(AdminOpcode::async_event_request)) return Status{};
    if (++events > 1) return Status::from(StatusCode::async_event_limit_exceeded);
    dw0 = 0x0004'0002;  // notice, namespace attribute changed, log page 04h
    return Status{};
  };
  const bool changes = GENERATE(false, true);
  if (changes) {
    two.played->identify = GENERATE(PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 2, .lbads = 12}}},
                                    PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 2, .metadata = 8}}});
  }
  for (int i = 0; i < 6; ++i) {
    REQUIRE(two.drive->poll());
    for (auto& channel : two.channels) channel->poll();
  }
  CHECK(two.drive->take_event());
  CHECK(two.works(1));
  CHECK((changes ? two.stopped(2) : two.works(2)));
}

TEST_CASE("a namespace that changes is noticed whether or not somebody takes events") {
  TwoNamespaces two;
  constexpr unsigned kUntaken = Controller::kMaxEvents + 1;
  unsigned events = 0;
  two.other = [&](const Command& command, std::uint32_t& dw0) {
    if (cdw0::kOpcode.of(command.cdw0) != static_cast<unsigned>(AdminOpcode::async_event_request)) return Status{};
    ++events;
    if (events > kUntaken + 1) return Status::from(StatusCode::async_event_limit_exceeded);
    dw0 = events <= kUntaken ? 0x0002'0101 : 0x0004'0002;  // temperature, log page 02h; namespace attribute changed
    if (events == kUntaken + 1) two.played->identify = PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 2, .lbads = 12}}};
    return Status{};
  };
  for (unsigned i = 0; i < 4 * kUntaken && events <= kUntaken + 1; ++i) REQUIRE(two.drive->poll());
  for (auto& channel : two.channels) channel->poll();
  CHECK(two.works(1));
  CHECK(two.stopped(2));
  unsigned kept = 0;
  AsyncEventType last{};
  while (const auto event = two.drive->take_event()) {
    ++kept;
    last = event->type;
  }
  CHECK(kept == Controller::kMaxEvents);
  CHECK(last == AsyncEventType::notice);
}

TEST_CASE("firmware that is activated without a reset stops the channels of namespaces that it changes") {
  TwoNamespaces two;
  two.other = [&](const Command& command, std::uint32_t&) {
    if (cdw0::kOpcode.of(command.cdw0) == static_cast<unsigned>(AdminOpcode::firmware_commit))
      two.played->identify = PlayedNamespaces{.all = {{.nsid = 1, .lbads = 12}, {.nsid = 2}}};
    return Status{};
  };
  REQUIRE(two.send(AdminOpcode::firmware_commit, 0, firmware_commit::kCa.put(0u, firmware_commit::kActivateNow)));
  CHECK(two.stopped(1));
  CHECK(two.works(2));
}

TEST_CASE("a channel to the namespace as it is now goes on where one to what it was is stopped") {
  TwoNamespaces two;
  two.played->identify = PlayedNamespaces{.all = {{.nsid = 1, .lbads = 12}, {.nsid = 2}}};  // by another host
  const auto now = *two.drive->open_channel(*two.drive->open_namespace(1), {.depth = 4});
  REQUIRE(two.send(AdminOpcode::firmware_commit, 0, firmware_commit::kCa.put(0u, firmware_commit::kActivateNow)));
  CHECK(two.stopped(1));
  now->poll();
  std::vector<Status> answers;
  CHECK(now->read(0, two.buffer().slice(0, 4096), &TwoNamespaces::done, &answers) == Submit::accepted);
}

}  // namespace pollux::nvme
