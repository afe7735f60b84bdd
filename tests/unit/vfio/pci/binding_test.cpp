#include "pollux/vfio/pci/binding.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"
#include "pollux/vfio/pci/virtual_functions.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

const std::string kFirst = "0000:02:00.0";
const std::string kSecond = "0000:03:00.0";
using Writes = std::vector<std::string>;

// Two drives of one model on nvme, each in a group of its own; vfio-pci is loaded.
struct Machine : FakeMachine {
  Machine() {
    add_driver("vfio-pci");
    add_function(kFirst, "1cc1:0021", "010802", "nvme", 3);
    add_function(kSecond, "1cc1:0021", "010802", "nvme", 4);
    add_disk(kFirst, "nvme0", "nvme0n1", "259:0");
    add_disk(kSecond, "nvme1", "nvme1n1", "259:4");
  }

  Result<BindReport> give(const std::vector<std::string>& bdfs, BindWay way = BindWay::driver_override) {
    return pollux::vfio::bind(sysfs(), bdfs, way);
  }
  Result<BindReport> take_back(const std::vector<std::string>& bdfs) { return unbind(sysfs(), bdfs); }
  std::string driver(const std::string& bdf) { return sysfs().driver_of(bdf); }
};

std::string refusal(const Result<BindReport>& result) {
  REQUIRE_FALSE(result);
  return result.error().message();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("binding by override unbinds, sets it, probes and clears it") {
  Machine machine;
  const auto report = machine.give({kFirst});
  REQUIRE(report);
  CHECK(report->changed == std::vector<std::string>{kFirst});
  CHECK(report->notices.empty());
  CHECK(machine.writes() == Writes{"drivers/nvme/unbind < 0000:02:00.0",
                                   "devices/0000:02:00.0/driver_override < vfio-pci", "drivers_probe < 0000:02:00.0",
                                   "devices/0000:02:00.0/driver_override < "});
  CHECK(machine.driver(kFirst) == "vfio-pci");
  CHECK(machine.driver(kSecond) == "nvme");
}

TEST_CASE("binding by new_id unbinds, adds the id and removes it again") {
  Machine machine;
  REQUIRE(machine.give({kFirst}, BindWay::new_id));
  CHECK(machine.writes() == Writes{"drivers/nvme/unbind < 0000:02:00.0", "drivers/vfio-pci/new_id < 1cc1 0021",
                                   "drivers/vfio-pci/remove_id < 1cc1 0021"});
  CHECK(machine.driver(kFirst) == "vfio-pci");
  CHECK(machine.dynamic_ids().empty());
}

TEST_CASE("binding by new_id leaves a drive of the same model that had no driver alone") {
  Machine machine;
  machine.add_function("0000:04:00.0", "1cc1:0021", "010802", "", 5);
  REQUIRE(machine.give({kFirst}, BindWay::new_id));
  CHECK(machine.driver("0000:04:00.0").empty());
}

TEST_CASE("binding by new_id works where the id is there already, and leaves it") {
  Machine machine;
  machine.dynamic_ids().insert("1cc1 0021");
  REQUIRE(machine.give({kFirst}, BindWay::new_id));
  CHECK(machine.driver(kFirst) == "vfio-pci");
  CHECK(machine.dynamic_ids().contains("1cc1 0021"));
}

TEST_CASE("binding by new_id refuses a drive that an override keeps for another driver, and names that") {
  Machine machine;
  const std::string attribute = function_folder(kSecond) + "/driver_override";
  SECTION("another driver") {
    REQUIRE(machine.sysfs().write(attribute, "pci-stub"));
    const std::string message = refusal(machine.give({kFirst, kSecond}, BindWay::new_id));
    CHECK(contains(message, "0000:03:00.0 is kept for the driver \"pci-stub\" by its driver_override"));
    CHECK(contains(message, "leave --new-id out"));
    CHECK(machine.writes().size() == 1);  // our own
    CHECK(machine.driver(kFirst) == "nvme");
    const auto report = machine.give({kFirst, kSecond});  // an override of our own takes the place of that
    REQUIRE(report);
    CHECK(machine.driver(kSecond) == "vfio-pci");
    REQUIRE(report->notices.size() == 1);
    CHECK(contains(report->notices[0], "0000:03:00.0 was kept for the driver \"pci-stub\" by its driver_override"));
    CHECK(contains(report->notices[0], "echo pci-stub > " + attribute));
  }
  SECTION("none, or vfio-pci itself") {
    REQUIRE(machine.sysfs().write(attribute, GENERATE("\n", "vfio-pci")));
    CHECK(machine.give({kFirst, kSecond}, BindWay::new_id));
  }
}

TEST_CASE("a drive that is bound already is left as it is, one named twice is bound once") {
  Machine machine;
  REQUIRE(machine.give({kFirst, kFirst}));
  const auto before = machine.writes().size();
  CHECK(before == 4);
  const auto again = machine.give({kFirst});
  REQUIRE(again);
  CHECK(again->changed.empty());
  CHECK(machine.writes().size() == before);
}

TEST_CASE("a drive without a driver is bound as well") {
  Machine machine;
  machine.add_function("0000:04:00.0", "1cc1:0021", "010802", "", 5);
  REQUIRE(machine.give({"0000:04:00.0"}));
  CHECK(machine.driver("0000:04:00.0") == "vfio-pci");
}

TEST_CASE("what may not be bound is refused before anything is written, and nothing else is bound with it") {
  Machine machine;
  std::string named = kSecond, reason;
  SECTION("in use") {
    machine.put_file("/proc/self/mountinfo", "36 35 259:4 / /data rw - ext4 /dev/nvme1n1 rw\n");
    reason = "nvme1n1 is mounted at /data";
  }
  SECTION("open raw in a program") {
    machine.add_process(4711, "qemu", "/dev/nvme1n1");
    reason = "0000:03:00.0 is in use: nvme1n1 is open in qemu (pid 4711)";
  }
  SECTION("not there") {
    named = "0000:0f:00.0";
    reason = "there is no PCI function 0000:0f:00.0";
  }
  SECTION("not NVMe") {
    machine.add_function(named = "0000:05:00.0", "8086:100e", "020000", "e1000", 9);
    reason = "is not an NVMe function: its class is 020000";
  }
  SECTION("no IOMMU") {
    machine.add_function(named = "0000:05:00.0", "1cc1:0021", "010802", "nvme", -1);
    reason = "no IOMMU translates for 0000:05:00.0";
  }
  const std::string message = refusal(machine.give({kFirst, named}));
  CAPTURE(message);
  CHECK(contains(message, reason));
  CHECK(machine.writes().empty());
  CHECK(machine.driver(kFirst) == "nvme");
}

TEST_CASE("a function with virtual functions stays with its driver until they are removed") {
  Machine machine;
  machine.add_sriov(kFirst, 2);
  REQUIRE(set_virtual_functions(machine.sysfs(), kFirst, 1));
  CHECK(contains(refusal(machine.give({kFirst})), "\"pollux vfs 0000:02:00.0 0\""));
  CHECK(machine.driver(kFirst) == "nvme");
  REQUIRE(set_virtual_functions(machine.sysfs(), kFirst, 0));
  REQUIRE(machine.give({kFirst}));
  REQUIRE(set_virtual_functions(machine.sysfs(), kFirst, 1));
  CHECK(machine.give({kFirst}));  // it is there already
  CHECK(contains(refusal(machine.take_back({kFirst})), "has virtual functions (0000:02:00.1)"));
  CHECK(machine.driver(kFirst) == "vfio-pci");
}

TEST_CASE("without vfio-pci nothing is unbound, and the command that loads it is named") {
  FakeMachine machine;
  machine.add_function(kFirst, "1cc1:0021", "010802", "nvme", 3);
  const auto result = pollux::vfio::bind(machine.sysfs(), std::vector{kFirst}, BindWay::driver_override);
  CHECK(contains(refusal(result), "modprobe vfio-pci"));
  CHECK(machine.writes().empty());
}

TEST_CASE("after a step fails every drive is back with the driver that it had") {
  Machine machine;
  const BindWay way = GENERATE(BindWay::driver_override, BindWay::new_id);
  SECTION("vfio-pci does not take the second") { machine.refuse("vfio-pci", kSecond); }
  SECTION("the second cannot be unbound") { machine.fail_write("drivers/nvme/unbind", kSecond, EACCES); }
  SECTION("the override cannot be set, and the id does not help") {
    machine.fail_write("devices/" + kSecond + "/driver_override", "vfio-pci", EIO);
    machine.refuse("vfio-pci", kSecond);
  }
  refusal(machine.give({kFirst, kSecond}, way));
  CHECK(machine.driver(kFirst) == "nvme");
  CHECK(machine.driver(kSecond) == "nvme");
  CHECK(machine.override_of(kFirst).empty());
  CHECK(machine.override_of(kSecond).empty());
  CHECK(machine.dynamic_ids().empty());
}

TEST_CASE("after a step fails an override for another driver is there again") {
  Machine machine;
  REQUIRE(machine.sysfs().write(function_folder(kFirst) + "/driver_override", "pci-stub"));
  machine.refuse("vfio-pci", kSecond);
  refusal(machine.give({kFirst, kSecond}));
  CHECK(machine.driver(kFirst) == "nvme");
  CHECK(machine.override_of(kFirst) == "pci-stub");
  CHECK(machine.override_of(kSecond).empty());
}

TEST_CASE("a drive that cannot even be given back is named in the error") {
  Machine machine;
  machine.refuse("vfio-pci", kFirst);
  machine.refuse("nvme", kFirst);
  const std::string message = refusal(machine.give({kFirst}));
  CHECK(contains(message, "vfio-pci does not take 0000:02:00.0"));
  CHECK(contains(message, "giving 0000:02:00.0 back to \"nvme\" failed"));
}

TEST_CASE("without root the refusal says so") {
  Machine machine;
  machine.fail_write("drivers/nvme/unbind", kFirst, EACCES);
  CHECK(contains(refusal(machine.give({kFirst})), "needs root"));
}

TEST_CASE("binding one member of a group tells which other member keeps it from being viable") {
  Machine machine;
  machine.add_function("0000:02:00.1", "8086:100e", "020000", "e1000", 3);
  const auto report = machine.give({kFirst});
  REQUIRE(report);
  REQUIRE(report->notices.size() == 1);
  CHECK(contains(report->notices[0], "0000:02:00.1 is bound to e1000"));
}

TEST_CASE("unbinding clears the override and gives the drive to nvme") {
  Machine machine;
  machine.add_function(kFirst, "1cc1:0021", "010802", "vfio-pci", 3);
  REQUIRE(machine.take_back({kFirst}));
  CHECK(machine.writes() == Writes{"drivers/vfio-pci/unbind < 0000:02:00.0", "devices/0000:02:00.0/driver_override < ",
                                   "drivers/nvme/bind < 0000:02:00.0"});
  CHECK(machine.driver(kFirst) == "nvme");
}

TEST_CASE("unbinding refuses a drive that a process has open, and names the process") {
  Machine machine;
  machine.add_function(kFirst, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_process(4711, "fio", "/dev/vfio/3");
  CHECK(contains(refusal(machine.take_back({kFirst})), "fio (pid 4711)"));
  CHECK(machine.writes().empty());
}

TEST_CASE("unbinding refuses a drive of a third driver") {
  Machine machine;
  machine.add_function(kFirst, "1cc1:0021", "010802", "uio_pci_generic", 3);
  CHECK(contains(refusal(machine.take_back({kFirst})), "bound to uio_pci_generic and not to vfio-pci"));
  CHECK(machine.writes().empty());
}

TEST_CASE("when nvme does not take one drive, none changes hands") {
  Machine machine;
  machine.add_function(kFirst, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_function(kSecond, "1cc1:0021", "010802", "vfio-pci", 4);
  machine.refuse("nvme", kSecond);
  refusal(machine.take_back({kFirst, kSecond}));
  CHECK(machine.driver(kFirst) == "vfio-pci");
  CHECK(machine.driver(kSecond) == "vfio-pci");
}

TEST_CASE("whether drives can be bound is answered without a write") {
  Machine machine;
  CHECK(bindable(machine.sysfs(), std::vector{kFirst, kSecond}));
  machine.put_file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/nvme1n1 partition 1 0 -2\n");
  const auto refused = bindable(machine.sysfs(), std::vector{kFirst, kSecond});
  REQUIRE_FALSE(refused);
  CHECK(contains(refused.error().message(), "swap"));
  CHECK(machine.writes().empty());
}

TEST_CASE("nvme that takes a drive while it is being bound loses it again") {
  Machine machine;
  machine.take_when_free("nvme", kFirst);
  REQUIRE(machine.give({kFirst}));
  CHECK(machine.driver(kFirst) == "vfio-pci");
}

TEST_CASE("a drive whose namespace is mounted through another controller is not bound") {
  Machine machine;
  machine.identify("nvme0n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  machine.identify("nvme1n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  machine.put_file("/proc/self/mountinfo", "36 35 259:4 / /data rw - ext4 /dev/nvme1n1 rw\n");
  const std::string message = refusal(machine.give({kFirst}));
  CHECK(contains(message, "0000:02:00.0 is in use: nvme1n1 (the same namespace, through 0000:03:00.0) is mounted at"));
  CHECK(machine.writes().empty());
}

TEST_CASE("a namespace that the kernel keeps through another controller is told when the drive is bound") {
  Machine machine;
  machine.identify("nvme0n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  machine.identify("nvme1n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  SECTION("one of them is bound") {
    const auto report = machine.give({kFirst});
    REQUIRE(report);
    REQUIRE(report->notices.size() == 1);
    CHECK(contains(report->notices[0], "nvme1n1 through 0000:03:00.0"));
  }
  SECTION("both are") {
    const auto report = machine.give({kFirst, kSecond});
    REQUIRE(report);
    CHECK(report->changed.size() == 2);
    CHECK(report->notices.empty());
  }
}
