#include "pollux/tools/pollux/targets.hpp"

#include <catch2/catch.hpp>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

using namespace pollux;
using Bdfs = std::vector<std::string>;

namespace {

struct ThreeDrives {
  vfio::FakeMachine machine;

  ThreeDrives() {
    machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "nvme", 1);
    machine.add_function("0000:03:00.0", "1cc1:8201", "010802", "nvme", 2);
    machine.add_function("0000:04:00.0", "144d:a808", "010802", "nvme", 3);
    machine.add_function("0000:05:00.0", "1cc1:0021", "020000", "e1000e", 4);
  }

  Result<Bdfs> meant(const Bdfs& words) { return cli::targets(machine.sysfs(), words); }
};

}  // namespace

TEST_CASE("an address means its function, and an id every NVMe function that has it") {
  ThreeDrives three;
  CHECK(three.meant({"0000:03:00.0"}) == Bdfs{"0000:03:00.0"});
  CHECK(three.meant({"03:00.0"}) == Bdfs{"0000:03:00.0"});
  CHECK(three.meant({"1cc1:0021"}) == Bdfs{"0000:02:00.0"});
  CHECK(three.meant({"1cc1:*"}) == Bdfs{"0000:02:00.0", "0000:03:00.0"});
  CHECK(three.meant({"*:a808"}) == Bdfs{"0000:04:00.0"});
  CHECK(three.meant({"*:*"})->size() == 3);
}

TEST_CASE("a function that several words mean is taken once") {
  ThreeDrives three;
  CHECK(three.meant({"0000:03:00.0", "1cc1:*", "03:00.0"}) == Bdfs{"0000:03:00.0", "0000:02:00.0"});
}

TEST_CASE("a word that means nothing is an error, and so are the others with it") {
  ThreeDrives three;
  const auto wrong = GENERATE("8086:*", "1cc1:00211", "1cc1:", ":", "nvme0", "soft:size=1GiB", "0000:02:00.0,ns=1");
  const auto found = three.meant({"0000:02:00.0", wrong});
  REQUIRE_FALSE(found);
  CHECK(found.error().message().find(wrong) != std::string::npos);
}

TEST_CASE("a function is meant as other programs spell it, or its right spelling is shown") {
  ThreeDrives three;
  CHECK(three.meant({"0000\\:02\\:00.0", "trtype=PCIe traddr=0000.03.00.0"}) == Bdfs{"0000:02:00.0", "0000:03:00.0"});
  const auto wrong = GENERATE("nvme://0000:02:00.0/1", "0000:02:00.0,ns=1", "pci-0000:02:00.0-nvme-1");
  const auto found = three.meant({wrong});
  REQUIRE_FALSE(found);
  CHECK(found.error().message().contains("is 0000:02:00.0 meant?"));
}
