// The list of active namespaces, from controllers that do not let it end or do not know it.
#include "played_namespaces.hpp"
#include "pollux/driver/controller/identify.hpp"

namespace pollux::nvme {
namespace {

PlayedController* played = nullptr;  // the drive owns it

std::unique_ptr<Drive> open(const std::string& address = "test:",
                            const std::function<void(PlayedController&)>& prepare = nullptr) {
  auto controller = std::make_unique<PlayedController>();
  played = controller.get();
  if (prepare) prepare(*controller);
  auto drive = open_played(std::move(controller), address);
  if (!drive) FAIL(drive.error().message());
  return std::move(*drive);
}

Status refused(StatusCode code) { return Status::from(code, true); }

// As many as fit, from the namespace that was asked for on.
Status list_on(const Command& command, std::byte* page) {
  for (std::uint32_t i = 0; i < kNsListEntries; ++i) {
    const std::uint32_t nsid = command.nsid + 1 + i;
    std::memcpy(page + i * sizeof nsid, &nsid, sizeof nsid);
  }
  return {};
}

}  // namespace

TEST_CASE("a list of active namespaces that goes on and on is refused at a limit") {
  const auto drive = open();
  played->identify = list_on;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.ends_with("more than 65536 active namespaces"));
  CHECK(played->asked <= kMaxNamespaces / kNsListEntries + 1);
}

TEST_CASE("a controller that takes its time for each answer is not waited for namespace by namespace") {
  const auto drive = open();
  played->command_ns = 10'000 * kNsPerMs;  // within the bound of each command
  const bool knows_lists = GENERATE(true, false);
  played->identify = [knows_lists](const Command& command, std::byte* page) {
    if (cns_of(command) != Cns::active_ns_list) return Status{};
    return knows_lists ? list_on(command, page) : refused(StatusCode::invalid_field);
  };
  const std::uint64_t start_ns = played->clock.now_;
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.find("could not be listed within 60000 ms") != std::string::npos);
  CHECK(played->clock.now_ - start_ns <= 90'000 * kNsPerMs);
}

using Nsids = std::vector<std::uint32_t>;

Nsids active_of(Drive& drive) {
  const auto active = active_namespaces(drive.controller());
  if (!active) FAIL(active.error().message());
  return *active;
}

// 1.0 knows CNS 00h and 01h by one bit: 02h reads as 00h there, and whatever is answered is no list.
TEST_CASE("a controller of NVMe 1.0 is not asked for the list of namespaces") {
  bool was_asked = false;
  const auto drive = open("test:", [&](PlayedController& controller) {
    controller.version = 0x0001'0000;
    controller.identity.nn = 3;
    controller.identify = [&](const Command& command, std::byte* page) {
      if (cns_of(command) == Cns::active_ns_list) {
        was_asked = true;
        reinterpret_cast<IdentifyNamespace*>(page)->nsze = 0x0000'0002'0000'0001;  // as if a list: namespaces 1 and 2
        return Status{};
      }
      return PlayedNamespaces{.all = {{.nsid = 2}, {.nsid = 3}}}(command, page);
    };
  });
  CHECK(active_of(*drive) == Nsids{2, 3});
  CHECK_FALSE(was_asked);
  CHECK(drive->open_namespace()->nsid == 2);
}

TEST_CASE("whatever status refuses the list, the namespaces up to NN are looked for") {
  const StatusCode code =
      GENERATE(StatusCode::invalid_field, StatusCode::invalid_namespace_or_format, StatusCode::invalid_opcode,
               StatusCode::internal_error, static_cast<StatusCode>(0x7c0));
  const auto drive = open("test:", [&](PlayedController& controller) {
    controller.identity.nn = 4;
    controller.identify = [code](const Command& command, std::byte* page) {
      if (cns_of(command) == Cns::active_ns_list) return refused(code);
      return PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 4}}}(command, page);
    };
  });
  CHECK(active_of(*drive) == Nsids{1, 4});
}

TEST_CASE("a drive without an active namespace is told whether there is one to attach, one to make, or neither") {
  Nsids there;
  const auto drive = open("test:", [&](PlayedController& controller) {
    controller.identity.cntlid = 7;
    controller.identify = [&](const Command& command, std::byte* page) {
      if (cns_of(command) != Cns::allocated_ns_list) return PlayedNamespaces{}(command, page);
      std::ranges::copy(std::as_bytes(std::span(there)), page);
      return Status{};
    };
    controller.identity.oacs = oacs::kNamespaceManagement;
  });
  const auto said = [&] {
    const auto ns = drive->open_namespace();
    REQUIRE_FALSE(ns);
    return ns.error().message();
  };
  CHECK(said().find("create one (nvme create-ns), and attach it") != std::string::npos);
  there = {3, 5};
  CHECK(
      said().find("no active namespace; detached: 3, 5: attach one: nvme attach-ns --namespace-id=3 --controllers=7") !=
      std::string::npos);
  CHECK(said().find("create") == std::string::npos);
}

TEST_CASE("a drive that knows no namespace management is not told to make a namespace") {
  const auto drive = open("test:", [](PlayedController& controller) { controller.identify = PlayedNamespaces{}; });
  const auto ns = drive->open_namespace();
  REQUIRE_FALSE(ns);
  CHECK(ns.error().message().find("create") == std::string::npos);
}

TEST_CASE("a namespace up to NN that Identify refuses is not there, and costs the others nothing") {
  const auto drive = open("test:", [](PlayedController& controller) {
    controller.identity.nn = 4;
    controller.identify = PlayedNamespaces{.all = {{.nsid = 2}, {.nsid = 4}}, .lists = false, .refused = {1, 3}};
  });
  CHECK(active_of(*drive) == Nsids{2, 4});
  CHECK(drive->open_namespace()->nsid == 2);
}

TEST_CASE("where Identify refuses every namespace up to NN, its status is told") {
  const auto drive = open("test:", [](PlayedController& controller) {
    controller.identity.nn = 2;
    controller.identify = [](const Command&, std::byte*) { return refused(StatusCode::internal_error); };
  });
  const auto active = active_namespaces(drive->controller());
  REQUIRE_FALSE(active);
  CHECK(active.error().what.find("Internal Error") != std::string::npos);
}

TEST_CASE("entries of the list beyond NN, twice or out of order cost none but themselves") {
  const Nsids told = GENERATE(Nsids{1, 9, 3}, Nsids{3, 1, 3}, Nsids{1, 0xffff'ffff, 3}, Nsids{1, 3, 3, 200});
  const auto drive = open("test:", [&](PlayedController& controller) {
    controller.identity.nn = 3;
    controller.identify = [told](const Command& command, std::byte* page) {
      if (cns_of(command) == Cns::active_ns_list) {
        if (command.nsid == 0) std::memcpy(page, told.data(), told.size() * sizeof(std::uint32_t));
        return Status{};
      }
      return PlayedNamespaces{.all = {{.nsid = 1}, {.nsid = 3}}}(command, page);
    };
  });
  CHECK(active_of(*drive) == Nsids{1, 3});
  CHECK(drive->open_namespace(3)->nsid == 3);
}

TEST_CASE("a list that repeats itself for ever, or names nothing but what is not there, ends") {
  const std::uint32_t entry = GENERATE(2u, 7u);
  const auto drive = open("test:", [&](PlayedController& controller) {
    controller.identity.nn = 3;
    controller.identify = [entry](const Command& command, std::byte* page) {
      if (cns_of(command) != Cns::active_ns_list) return Status{};
      for (std::size_t i = 0; i < kNsListEntries; ++i) std::memcpy(page + i * sizeof entry, &entry, sizeof entry);
      return Status{};
    };
  });
  CHECK(active_of(*drive) == (entry == 2 ? Nsids{2} : Nsids{}));
  CHECK(played->asked <= 2);
}

}  // namespace pollux::nvme
