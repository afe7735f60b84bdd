#include "pollux/vfio/address.hpp"

#include <catch2/catch.hpp>

using namespace pollux;
using vfio::Address;

namespace {

std::string refusal(const std::string& text) {
  const auto parsed = Address::parse(text);
  REQUIRE_FALSE(parsed);
  return parsed.error().message();
}

}  // namespace

TEST_CASE("a PCI address is brought to its full form") {
  const auto [given, full] = GENERATE(table<std::string, std::string>({{"0000:02:00.0", "0000:02:00.0"},
                                                                       {"02:00.0", "0000:02:00.0"},
                                                                       {"2:1f.7", "0000:02:1f.7"},
                                                                       {"10000:FF:1F.7", "10000:ff:1f.7"},
                                                                       {"pci:02:00.0", "0000:02:00.0"}}));
  const auto parsed = Address::parse(given);
  REQUIRE(parsed);
  CHECK(parsed->scheme == "pci");
  CHECK(parsed->target == full);
  CHECK(parsed->text == given);
  CHECK_FALSE(parsed->nsid);
}

TEST_CASE("what stands behind a scheme is left to the backend") {
  const auto path = Address::parse("vfio-user:/run/a:b,c.sock");
  REQUIRE(path);
  CHECK(path->scheme == "vfio-user");
  CHECK(path->target == "/run/a:b,c.sock");

  const auto options = Address::parse("soft:size=1GiB,block=4096");
  REQUIRE(options);
  CHECK(options->scheme == "soft");
  CHECK(options->target == "size=1GiB,block=4096");

  const auto bare = Address::parse("soft:");
  REQUIRE(bare);
  CHECK(bare->target.empty());
}

TEST_CASE("a PCI function may be asked for by one door of the kernel, and with a token") {
  const std::string scheme = GENERATE("group", "iommufd", "noiommu");
  const auto parsed = Address::parse(scheme + ":02:00.1,vf_token=01234567-89ab-CDEF-0123-456789abcdef,ns=2");
  REQUIRE(parsed);
  CHECK(parsed->scheme == scheme);
  CHECK(parsed->is_pci());
  CHECK(parsed->target == "0000:02:00.1");
  CHECK(parsed->vf_token == "01234567-89ab-CDEF-0123-456789abcdef");
  CHECK(parsed->nsid == 2u);
  CHECK_FALSE(Address::parse("soft:")->is_pci());
}

TEST_CASE("a token that is no UUID is refused") {
  const std::string token = GENERATE("", "1", "0123456789abcdef0123456789abcdef",
                                     "0123456x-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef0");
  const auto parsed = Address::parse("02:00.1,vf_token=" + token);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message().find("is not a UUID") != std::string::npos);
}

TEST_CASE("ns=N as the last part names the namespace and leaves the target") {
  const auto pci = Address::parse("02:00.0,ns=2");
  REQUIRE(pci);
  CHECK(pci->target == "0000:02:00.0");
  CHECK(pci->nsid == 2u);

  const auto soft = Address::parse("soft:size=1GiB,ns=4294967294");
  REQUIRE(soft);
  CHECK(soft->target == "size=1GiB");
  CHECK(soft->nsid == 4294967294u);

  const auto alone = Address::parse("soft:ns=3");
  REQUIRE(alone);
  CHECK(alone->target.empty());
  CHECK(alone->nsid == 3u);
}

TEST_CASE("quirks= as a last part, beside ns= in either order, is for the driver") {
  for (const char* text :
       {"02:00.0,quirks=bogus_nid+identify_cns,ns=2", "02:00.0,ns=2,quirks=BOGUS_NID+identify_cns"}) {
    const auto pci = Address::parse(text);
    REQUIRE(pci);
    CHECK(pci->target == "0000:02:00.0");
    CHECK(pci->nsid == 2u);
    CHECK(pci->quirks == "bogus_nid+identify_cns");
  }
  const auto token = Address::parse("02:00.1,vf_token=01234567-89ab-cdef-0123-456789abcdef,quirks=bogus_nid");
  REQUIRE(token);
  CHECK(token->vf_token == "01234567-89ab-cdef-0123-456789abcdef");
  CHECK(token->quirks == "bogus_nid");
  const auto soft = Address::parse("soft:size=1GiB,quirks=bogus_nid");
  REQUIRE(soft);
  CHECK(soft->target == "size=1GiB");
  const auto alone = Address::parse("soft:quirks=bogus_nid");
  REQUIRE(alone);
  CHECK(alone->target.empty());
  CHECK(Address::parse("soft:quirks=a,size=1GiB")->quirks.empty());
  for (const std::string bad : {"", "a b", "a;b", "a:b"})
    CHECK(refusal("02:00.0,quirks=" + bad).find("\"quirks=" + bad + "\" is not NAME+NAME") != std::string::npos);
  CHECK_FALSE(Address::parse("02:00.0,quirks=a,quirks=b"));
  CHECK_FALSE(Address::parse("02:00.0,ns=1,ns=2"));
}

TEST_CASE("ns= before the last part is the backend's to read") {
  const auto soft = Address::parse("soft:ns=3,size=1GiB");
  REQUIRE(soft);
  CHECK(soft->target == "ns=3,size=1GiB");
  CHECK_FALSE(soft->nsid);
}

TEST_CASE("a namespace id outside of 1 to FFFFFFFEh is refused") {
  const std::string value = GENERATE("0", "4294967295", "4294967296", "", "x", "1x", "-1");
  CHECK(refusal("02:00.0,ns=" + value).find("\"ns=" + value + "\"") != std::string::npos);
}

TEST_CASE("numbers that PCI cannot hold are refused by name") {
  CHECK(refusal("02:20.0").find("device 20 is above 1f") != std::string::npos);
  CHECK(refusal("02:00.8").find("function 8 is above 7") != std::string::npos);
  CHECK(refusal("100:00.0").find("bus 100 is above ff") != std::string::npos);
}

TEST_CASE("a text that is no address is named, with an example of each form") {
  const std::string text = GENERATE("", "nonsense", "02:00", "02:.0", "0000:02:00.", "02:zz.0", "a:b:c:d.0", "So ft:x",
                                    "02 :00.0", "02:00.0,size=1", "pci:", ":x");
  const std::string message = refusal(text);
  CAPTURE(message);
  CHECK(message.find("\"" + text + "\"") != std::string::npos);
  for (const char* example : {"0000:02:00.0", "vfio-user:/run/nvme.sock", "soft:size=1GiB", ",ns=N"})
    CHECK(message.find(example) != std::string::npos);
}

TEST_CASE("an address of absurd length is refused and not repeated in full") {
  CHECK(refusal("soft:" + std::string(100'000, 'x')).size() < 1000);
}
