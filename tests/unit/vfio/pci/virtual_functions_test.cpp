#include "pollux/vfio/pci/virtual_functions.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

const std::string kBdf = "0000:02:00.0";
const std::string kFirst = "0000:02:00.1";
const std::string kSecond = "0000:02:00.2";
const std::string kNumvfs = "devices/0000:02:00.0/sriov_numvfs";
const std::string kAutoprobe = "devices/0000:02:00.0/sriov_drivers_autoprobe";
using Names = std::vector<std::string>;

// A function on nvme that may have four virtual ones.
struct Machine : FakeMachine {
  Machine() {
    add_driver("vfio-pci");
    add_function(kBdf, "1cc1:0021", "010802", "nvme", 3);
    add_sriov(kBdf, 4);
  }
  Result<VirtualFunctions> set(unsigned count) { return set_virtual_functions(sysfs(), kBdf, count); }
  std::size_t count() { return virtual_functions(sysfs(), kBdf)->bdfs.size(); }
};

std::string refusal(const Result<VirtualFunctions>& result) {
  REQUIRE_FALSE(result);
  return result.error().message();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("virtual functions are created while probing is held, and returned by number") {
  Machine machine;
  const auto made = machine.set(2);
  REQUIRE(made);
  CHECK(made->total == 4);
  CHECK(made->bdfs == Names{kFirst, kSecond});
  CHECK(machine.writes() == Names{kAutoprobe + " < 0", kNumvfs + " < 2", kAutoprobe + " < 1"});
}

TEST_CASE("probing that was off before stays off") {
  Machine machine;
  machine.put_file(function_folder(kBdf) + "/sriov_drivers_autoprobe", "0\n");
  REQUIRE(machine.set(1));
  CHECK(machine.writes() == Names{kNumvfs + " < 1"});
}

TEST_CASE("a virtual function tells whose it is, another function tells nothing") {
  Machine machine;
  REQUIRE(machine.set(1));
  CHECK(machine.sysfs().function(kFirst)->physical_function == kBdf);
  CHECK(machine.sysfs().function(kBdf)->physical_function.empty());
}

TEST_CASE("another number goes by way of none, the same number writes nothing") {
  Machine machine;
  REQUIRE(machine.set(1));
  const auto before = machine.writes().size();
  REQUIRE(machine.set(1));
  CHECK(machine.writes().size() == before);
  const auto more = machine.set(2);
  REQUIRE(more);
  CHECK(more->bdfs == Names{kFirst, kSecond});
  CHECK(machine.writes()[before] == kNumvfs + " < 0");
  REQUIRE(machine.set(0));
  CHECK(machine.count() == 0);
  CHECK(machine.writes().back() == kNumvfs + " < 0");
}

TEST_CASE("what cannot have virtual functions is refused before anything is written") {
  Machine machine;
  SECTION("more than there may be") { CHECK(contains(refusal(machine.set(5)), "its total is 4")); }
  SECTION("no such function") {
    CHECK(contains(refusal(set_virtual_functions(machine.sysfs(), "0000:0f:00.0", 1)), "there is no PCI function"));
  }
  SECTION("no SR-IOV") {
    machine.add_function("0000:03:00.0", "1cc1:0021", "010802", "nvme", 4);
    CHECK(contains(refusal(set_virtual_functions(machine.sysfs(), "0000:03:00.0", 1)), "has no SR-IOV"));
  }
  SECTION("a virtual function") {
    machine.add_function("0000:03:00.1", "1cc1:0021", "010802", "", 4);
    machine.put_link(function_folder("0000:03:00.1") + "/physfn", "../0000:03:00.0");
    CHECK(
        contains(refusal(set_virtual_functions(machine.sysfs(), "0000:03:00.1", 1)), "ask for those of 0000:03:00.0"));
  }
  SECTION("no driver") {
    machine.add_function("0000:03:00.0", "1cc1:0021", "010802", "", 4);
    machine.add_sriov("0000:03:00.0", 4);
    CHECK(contains(refusal(set_virtual_functions(machine.sysfs(), "0000:03:00.0", 1)), "bound to no driver"));
  }
  SECTION("vfio-pci without its parameter") {
    machine.add_function("0000:03:00.0", "1cc1:0021", "010802", "vfio-pci", 4);
    machine.add_sriov("0000:03:00.0", 4);
    machine.put_file("/sys/module/vfio_pci/parameters/enable_sriov", "N\n");
    const auto message = refusal(set_virtual_functions(machine.sysfs(), "0000:03:00.0", 1));
    CHECK(contains(message, "enable_sriov is off"));
    CHECK(contains(message, "vfio_pci.enable_sriov=1"));
  }
  CHECK(machine.writes().empty());
}

TEST_CASE("a virtual function in use keeps all of them") {
  Machine machine;
  REQUIRE(machine.set(2));
  const auto before = machine.writes().size();
  SECTION("a process has its group") {
    machine.add_process(4711, "fio", "/dev/vfio/101");
    CHECK(contains(refusal(machine.set(0)), "end fio (pid 4711)"));
  }
  SECTION("it is mounted") {
    machine.add_disk(kSecond, "nvme1", "nvme1n1", "259:4");
    machine.put_file("/proc/self/mountinfo", "36 35 259:4 / /data rw - ext4 /dev/nvme1n1 rw\n");
    CHECK(contains(refusal(machine.set(1)), "nvme1n1 is mounted at /data"));
  }
  CHECK(machine.writes().size() == before);
  CHECK(machine.count() == 2);
}

TEST_CASE("what the kernel answers is explained, and probing is on again") {
  Machine machine;
  SECTION("the driver does not create them") {
    machine.fail_write(kNumvfs, "1", ENOENT);
    CHECK(contains(refusal(machine.set(1)), "its driver, nvme, creates no virtual functions"));
  }
  SECTION("no room for their BARs") {
    machine.fail_write(kNumvfs, "1", ENOMEM);
    CHECK(contains(refusal(machine.set(1)), "pci=realloc"));
  }
  SECTION("anything else") {
    machine.fail_write(kNumvfs, "1", EIO);
    const auto message = refusal(machine.set(1));
    CHECK(contains(message, "EIO"));
    CHECK(contains(message, "dmesg"));
  }
  CHECK(machine.writes().back() == kAutoprobe + " < 1");
}

TEST_CASE("without root the refusal says so, and nothing changes") {
  Machine machine;
  machine.fail_write(kAutoprobe, "0", EACCES);
  CHECK(contains(refusal(machine.set(1)), "needs root"));
  CHECK(machine.count() == 0);
}
