#include "pollux/vfio/pci/sysfs.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

using namespace pollux;
using namespace pollux::vfio;

TEST_CASE("a function's facts are what sysfs says") {
  FakeMachine machine;
  machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "nvme", 15);
  machine.add_disk("0000:02:00.0", "nvme0", "nvme0n1", "259:0");
  machine.put_file("/sys/bus/pci/devices/0000:02:00.0/numa_node", "1\n");
  machine.put_file("/sys/bus/pci/devices/0000:02:00.0/current_link_speed", "8.0 GT/s PCIe\n");
  machine.put_file("/sys/bus/pci/devices/0000:02:00.0/current_link_width", "4\n");
  const auto function = machine.sysfs().function("0000:02:00.0");
  REQUIRE(function);
  CHECK(function->vendor == 0x1cc1);
  CHECK(function->device == 0x0021);
  CHECK(function->class_code == 0x010802);
  CHECK(function->is_nvm());
  CHECK(function->driver == "nvme");
  CHECK(function->group == 15u);
  CHECK(function->numa_node == 1);
  CHECK(function->block_devices == std::vector<std::string>{"nvme0n1"});
  CHECK(function->link == "8.0 GT/s PCIe x4");
}

TEST_CASE("what sysfs does not tell is empty, not invented") {
  FakeMachine machine;
  machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "", -1);
  const auto function = machine.sysfs().function("0000:02:00.0");
  REQUIRE(function);
  CHECK(function->driver.empty());
  CHECK_FALSE(function->group);
  CHECK(function->numa_node == -1);
  CHECK(function->block_devices.empty());
  CHECK(function->link.empty());
}

TEST_CASE("a function that is not there is an error that names it") {
  FakeMachine machine;
  const auto function = machine.sysfs().function("0000:09:00.0");
  REQUIRE_FALSE(function);
  CHECK(function.error().message().find("there is no PCI function 0000:09:00.0") != std::string::npos);
}

TEST_CASE("NVMe functions are those of class 0108, by address") {
  FakeMachine machine;
  machine.add_function("0000:03:00.0", "144d:a808", "010802", "nvme", 2);
  machine.add_function("0000:00:1f.2", "8086:2922", "010601", "ahci", 1);
  machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "", 3);
  const auto found = machine.sysfs().nvm_functions();
  REQUIRE(found.size() == 2);
  CHECK(found[0].bdf == "0000:02:00.0");
  CHECK(found[1].bdf == "0000:03:00.0");
}

TEST_CASE("the members of a group are all its functions, of every class") {
  FakeMachine machine;
  machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "nvme", 7);
  machine.add_function("0000:02:00.1", "8086:1234", "020000", "e1000e", 7);
  machine.add_function("0000:03:00.0", "144d:a808", "010802", "nvme", 8);
  const auto members = machine.sysfs().group_members(7);
  REQUIRE(members.size() == 2);
  CHECK(members[1].driver == "e1000e");
}

TEST_CASE("a namespace behind nvme-multipath is shown as the block device that it serves") {
  FakeMachine machine;
  machine.add_function("0000:02:00.0", "1cc1:0021", "010802", "nvme", 7);
  const std::string controller = "/sys/bus/pci/devices/0000:02:00.0/nvme/nvme3";
  for (const char* entry : {"nvme3c3n1", "nvme3n2", "ng3n1", "hwmon1", "nvme3n2p1", "nvme", "nvme3n"})
    machine.put_file(controller + "/" + entry + "/dev", "");
  const auto function = machine.sysfs().function("0000:02:00.0");
  REQUIRE(function);
  CHECK(function->block_devices == std::vector<std::string>{"nvme3n1", "nvme3n2"});
}

TEST_CASE("a refused write says that root is needed, or that sysfs is read-only") {
  FakeMachine machine;
  machine.fail_write("drivers_probe", "a", EACCES);
  machine.fail_write("drivers_probe", "b", EROFS);
  const auto sysfs = machine.sysfs();
  CHECK(sysfs.write("/sys/bus/pci/drivers_probe", "a").error().advice.find("root") != std::string::npos);
  CHECK(sysfs.write("/sys/bus/pci/drivers_probe", "b").error().advice.find("read-only") != std::string::npos);
}

TEST_CASE("an attribute is written in place, in one piece") {
  FakeMachine machine;
  machine.put_file("/sys/bus/pci/drivers_probe", "");
  const Sysfs plain(machine.place(""));
  REQUIRE(plain.write("/sys/bus/pci/drivers_probe", "0000:02:00.0"));
  CHECK(plain.line("/sys/bus/pci/drivers_probe") == "0000:02:00.0");
  CHECK(plain.write("/sys/bus/pci/no_such_attribute", "x").error().os_error == ENOENT);
}

TEST_CASE("names count by value, and nothing comes before itself") {
  const std::vector<std::string> order = {"nvme",     "nvme0",   "nvme0n1",  "nvme0n2",
                                          "nvme0n10", "nvme2n1", "nvme10n1", "sda"};
  for (std::size_t i = 0; i < order.size(); i++)
    for (std::size_t j = 0; j < order.size(); j++) CHECK(counts_before(order[i], order[j]) == (i < j));
  CHECK_FALSE(counts_before("node00", "node0"));
  CHECK_FALSE(counts_before("node0", "node00"));
}

TEST_CASE("a path that leads to a device node gives its number and kind, over links; any other gives none") {
  FakeMachine machine;
  machine.put_link("/dev/disk/by-id/mine", "/dev/null");
  machine.put_file("/dev/plain", "");
  const auto node = machine.sysfs().node_at("/dev/disk/by-id/mine");
  REQUIRE(node);
  CHECK(node->number == "1:3");
  CHECK_FALSE(node->block);
  CHECK_FALSE(machine.sysfs().node_at("/dev/plain"));
  CHECK_FALSE(machine.sysfs().node_at("/dev/absent"));
}
