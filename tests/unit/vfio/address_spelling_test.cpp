#include "pollux/vfio/address_spelling.hpp"

#include <catch2/catch.hpp>

#include "pollux/vfio/address.hpp"

using namespace pollux;
using vfio::Address;

namespace {

struct Taken {
  std::string given, scheme, target;
  std::optional<std::uint32_t> nsid = {};
};

std::string refusal(const std::string& text) {
  const auto parsed = Address::parse(text);
  INFO(text);
  REQUIRE_FALSE(parsed);
  return parsed.error().message();
}

}  // namespace

TEST_CASE("an address is taken as other programs spell it") {
  const auto one = GENERATE(values<Taken>({
      {"0000\\:02\\:00.0", "pci", "0000:02:00.0"},
      {"02\\:00.0,ns=2", "pci", "0000:02:00.0", 2},
      {"vfio-user\\:/run/nvme.sock", "vfio-user", "/run/nvme.sock"},
      {"soft\\:size=1GiB,block=4096", "soft", "size=1GiB,block=4096"},
      {"trtype=PCIe traddr=0000.02.00.0", "pci", "0000:02:00.0"},
      {"trtype=PCIe traddr=0000.02.00.0 ns=1", "pci", "0000:02:00.0", 1},
      {"trtype:PCIe traddr:0000:02:00.0", "pci", "0000:02:00.0"},
      {"trtype:pcie  traddr:02:00.0", "pci", "0000:02:00.0"},
      {"traddr=10000.ff.1f.7", "pci", "10000:ff:1f.7"},
      {"trtype:VFIOUSER traddr:/run/muser ns:3", "vfio-user", "/run/muser", 3},
      {"0000.02.00.0", "pci", "0000:02:00.0"},
      {"0000.02.00.0,ns=7", "pci", "0000:02:00.0", 7},
      {" 0000:02:00.0\n", "pci", "0000:02:00.0"},
      {"PCI:0000:0A:00.0", "pci", "0000:0a:00.0"},
      {"IOMMUFD:0000:02:00.0,NS=2", "iommufd", "0000:02:00.0", 2},
      {"Soft:size=1GiB", "soft", "size=1GiB"},
      {"VFIO-user:/run/A.sock", "vfio-user", "/run/A.sock"},
  }));
  INFO(one.given);
  const auto parsed = Address::parse(one.given);
  REQUIRE(parsed);
  CHECK(parsed->scheme == one.scheme);
  CHECK(parsed->target == one.target);
  CHECK(parsed->nsid == one.nsid);
  CHECK(parsed->text == one.given);
}

TEST_CASE("a backslash in a path stays where the scheme's colon has none") {
  const auto parsed = Address::parse("vfio-user:/run/a\\:b");
  REQUIRE(parsed);
  CHECK(parsed->target == "/run/a\\:b");
}

TEST_CASE("an upper-case token is the token") {
  const auto parsed = Address::parse("02:00.1,VF_TOKEN=01234567-89AB-CDEF-0123-456789ABCDEF");
  REQUIRE(parsed);
  CHECK(parsed->vf_token == "01234567-89AB-CDEF-0123-456789ABCDEF");
}

TEST_CASE("a function that is spelled in no form we take is shown as it should be") {
  const std::string text =
      GENERATE("pci@0000:02:00.0", "/sys/bus/pci/devices/0000:02:00.0", "0000:02:00:0", "0000.02.00.0/x");
  CHECK(refusal(text).contains("is 0000:02:00.0 meant?"));
}

TEST_CASE("SPDK's older spellings are shown as they should be") {
  CHECK(refusal("0000.0a.00.0/1").contains("is 0000:0a:00.0,ns=1 meant?"));
  CHECK(refusal("0000:0a:00.0/12").contains("is 0000:0a:00.0,ns=12 meant?"));
  CHECK(refusal("trtype=PCIe traddr=00.04.0").contains("is 0000:00:04.0 meant?"));
  CHECK(refusal("traddr=00.04.0 ns=2").contains("is 0000:00:04.0,ns=2 meant?"));
}

TEST_CASE("the kernel's name of a drive is told from an address") {
  const std::string text =
      GENERATE("nvme0", "nvme0n1", "/dev/nvme0n1p1", "/dev/ng0n1", "ng0n1", "/dev/nvme0n1:/dev/nvme1n1",
               "/dev/nvme0n1,ns=1", "/dev/disk/by-id/nvme-Some_Drive_123");
  CHECK(refusal(text).contains("\"pollux list\""));
}

TEST_CASE("a transport that pollux does not have is named") {
  CHECK(refusal("trtype=TCP adrfam=IPv4 traddr=10.0.0.1 ns=1").contains("\"adrfam=IPv4\""));
  CHECK(refusal("trtype=RDMA traddr=10.0.0.1").contains("\"rdma\" is no transport of pollux's"));
  CHECK(refusal("trtype=PCIe ns=1").contains("it has no traddr"));
  CHECK(refusal("trtype=PCIe traddr=0000.02.20.0").contains("device 20 is above 1f"));
}

TEST_CASE("what only looks like a function is none") {
  for (const char* text : {"10.0.0.1", "1.2.3.4", "face", "0000.02.00", "1cc1:0021"}) {
    INFO(text);
    CHECK_FALSE(refusal(text).contains("meant?"));
  }
}

TEST_CASE("one text that names two devices is refused, and is never the last of them") {
  const std::string text = GENERATE("trtype=VFIOUSER traddr=/a.sock ns=1:trtype=VFIOUSER traddr=/b.sock ns=1",
                                    "trtype=PCIe traddr=0000.02.00.0 ns=1:trtype=PCIe traddr=0000.03.00.0 ns=1",
                                    "trtype=PCIe traddr=0000.02.00.0:trtype=PCIe traddr=0000.03.00.0",
                                    "traddr=/a.sock:TRADDR=/b.sock trtype=VFIOUSER", "traddr=02:00.0 traddr=03:00.0");
  CHECK(refusal(text).contains("it names two devices"));
}

TEST_CASE("a part of an address that is given twice is refused") {
  const auto [text, part] =
      GENERATE(table<std::string, std::string>({{"trtype=PCIe traddr=02:00.0 ns=7 ns=1", "ns"},
                                                {"trtype=PCIe trtype=VFIOUSER traddr=/a.sock", "trtype"},
                                                {"trtype=VFIOUSER traddr=/a.sock,ns=7 ns=1", "ns"},
                                                {"vfio-user:/a.sock,ns=7,ns=1", "ns"},
                                                {"vfio-user:/a.sock,ns=7,quirks=bogus_nid,NS=7", "ns"},
                                                {"vfio-user:/a.sock,quirks=bogus_nid,quirks=identify_cns", "quirks"},
                                                {"soft:ns=1,ns=1", "ns"},
                                                {"02:00.1,vf_token=01234567-89ab-cdef-0123-456789abcdef,VF_TOKEN="
                                                 "01234567-89ab-cdef-0123-456789abcdef",
                                                 "vf_token"}}));
  CHECK(refusal(text).contains(": " + part + " is given twice: "));
}
