// One namespace that is reached in two ways is one place, and two namespaces are two.
#include "pollux/bench/same_namespace.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

using namespace pollux;
using namespace pollux::bench;

namespace {

struct Facts {
  std::uint64_t controller = 1;
  std::uint32_t nsid = 1;
  std::string nqn = "nqn.2019-08.org.qemu:shared", serial = "S1", model = "QEMU NVMe Ctrl";
  unsigned char uuid = 0, nguid = 0, eui64 = 0;  // its last byte; 0: it has none
};

ReachedNamespace reached(const Facts& facts) {
  Namespace ns;
  ns.controller = facts.controller;
  ns.nsid = facts.nsid;
  ns.uuid[15] = facts.uuid;
  ns.nguid[15] = facts.nguid;
  ns.eui64[7] = facts.eui64;
  nvme::IdentifyController identity{};
  std::memset(identity.sn, ' ', sizeof identity.sn);
  std::memset(identity.mn, ' ', sizeof identity.mn);
  std::ranges::copy(facts.serial, identity.sn);
  std::ranges::copy(facts.model, identity.mn);
  std::ranges::copy(facts.nqn, identity.subnqn);
  return {ns, identity};
}

bool same(const Facts& a, const Facts& b) {
  CHECK(is_same(reached(a), reached(b)) == is_same(reached(b), reached(a)));
  return is_same(reached(a), reached(b));
}

std::string canonical(const std::string& text) { return path_of(with_canonical_path(*vfio::Address::parse(text))); }

}  // namespace

TEST_CASE("through one controller, namespaces are told by their ids alone") {
  CHECK(same({}, {}));
  CHECK_FALSE(same({.nsid = 1, .uuid = 5}, {.nsid = 2, .uuid = 5}));
}

TEST_CASE("through two controllers, one identifier that both have decides") {
  CHECK(same({.nqn = "", .uuid = 5}, {.controller = 2, .nqn = "", .uuid = 5}));
  CHECK(same({.nqn = "", .nguid = 5}, {.controller = 2, .nsid = 3, .nqn = "", .nguid = 5}));
  CHECK(same({.nqn = "", .eui64 = 5}, {.controller = 2, .nqn = "", .eui64 = 5}));
  CHECK_FALSE(same({.uuid = 5}, {.controller = 2, .uuid = 6}));
  CHECK_FALSE(same({.nguid = 5}, {.controller = 2, .nguid = 6}));
  CHECK_FALSE(same({.eui64 = 5}, {.controller = 2, .eui64 = 6}));
}

TEST_CASE("without an identifier, the namespace id in one subsystem decides") {
  CHECK(same({}, {.controller = 2}));
  CHECK(same({.nguid = 5}, {.controller = 2, .eui64 = 5}));
  CHECK_FALSE(same({.nsid = 1}, {.controller = 2, .nsid = 2}));
  CHECK_FALSE(same({}, {.controller = 2, .nqn = "nqn.2019-08.org.qemu:other"}));
  CHECK_FALSE(same({}, {.controller = 2, .serial = "S2"}));  // an NQN that every drive of a kind has
  CHECK_FALSE(same({.nqn = ""}, {.controller = 2, .nqn = ""}));
}

TEST_CASE("a path has one form, however it is spelled") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("pollux-spelled-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder / "cntrl");
  std::filesystem::create_directory_symlink(folder, folder.string() + "-link");
  const std::string plain = folder.string();
  for (const char* scheme : {"vfio-user:", "soft:size=1M,file="}) {
    CHECK(canonical(scheme + plain + "/a") == canonical(scheme + plain + "/./b/../a"));
    CHECK(canonical(scheme + plain + "/a") == canonical(scheme + plain + "-link/a"));
    CHECK(canonical(scheme + plain + "/a") != canonical(scheme + plain + "/b"));
  }
  CHECK(canonical("soft:file=" + plain + "/a,size=1M") == canonical("soft:size=1M,file=" + plain + "/a"));
  CHECK(with_canonical_path(*vfio::Address::parse("soft:file=" + plain + "/./a,size=1M")).target ==
        "file=" + canonical("vfio-user:" + plain + "/a") + ",size=1M");
  CHECK(canonical("soft:size=1M").empty());
  CHECK(canonical("02:00.0").empty());
  std::filesystem::remove(plain + "-link");
  std::filesystem::remove_all(folder);
}
