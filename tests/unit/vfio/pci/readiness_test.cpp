#include "pollux/vfio/pci/readiness.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"
#include "pollux/vfio/pci/binding.hpp"
#include "pollux/vfio/pci/neighbours.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

const std::string kBdf = "0000:02:00.0";

bool says(const Error& error, std::string_view text) { return error.message().find(text) != std::string::npos; }

}  // namespace

TEST_CASE("a function on vfio-pci with a group is ready") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  const auto ready = ready_function(machine.sysfs(), kBdf);
  REQUIRE(ready);
  CHECK(ready->group == 3u);
}

TEST_CASE("a function that is not ready is answered with what is missing and the command that mends it") {
  FakeMachine machine;
  SECTION("not there") {
    CHECK(says(ready_function(machine.sysfs(), kBdf).error(), "there is no PCI function 0000:02:00.0"));
  }
  SECTION("another driver has it") {
    machine.add_driver("vfio-pci");
    machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 3);
    const auto error = ready_function(machine.sysfs(), kBdf).error();
    CHECK(says(error, "is bound to the driver nvme"));
    CHECK(says(error, "\"pollux bind 0000:02:00.0\""));
  }
  SECTION("no driver has it") {
    machine.add_driver("vfio-pci");
    machine.add_function(kBdf, "1cc1:0021", "010802", "", 3);
    const auto error = ready_function(machine.sysfs(), kBdf).error();
    CHECK(says(error, "is bound to no driver"));
    CHECK(says(error, "\"pollux bind 0000:02:00.0\""));
  }
  SECTION("vfio-pci is not loaded") {
    machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 3);
    CHECK(says(ready_function(machine.sysfs(), kBdf).error(), "\"modprobe vfio-pci\""));
  }
  SECTION("no IOMMU") {
    machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", -1);
    CHECK(says(ready_function(machine.sysfs(), kBdf).error(), "intel_iommu=on"));
  }
}

TEST_CASE("without an IOMMU a function is ready only for whoever asks for that, and only if VFIO was told to") {
  FakeMachine machine;
  machine.add_driver("vfio-pci");
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  const std::string parameter = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
  SECTION("VFIO made the group for it") {
    machine.put_file("/sys/kernel/iommu_groups/3/name", "vfio-noiommu\n");
    CHECK(says(ready_function(machine.sysfs(), kBdf).error(), "no IOMMU translates"));
    machine.put_file(parameter, "N\n");
    CHECK(says(ready_function(machine.sysfs(), kBdf, Translation::none).error(), parameter));
    machine.put_file(parameter, "Y\n");
    CHECK(ready_function(machine.sysfs(), kBdf, Translation::none));
  }
  SECTION("an IOMMU translates for it") {
    machine.put_file(parameter, "Y\n");
    CHECK(says(ready_function(machine.sysfs(), kBdf, Translation::none).error(), "needs no noiommu"));
  }
}

TEST_CASE("a function's character device is the one that sysfs names") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  CHECK(device_node(machine.sysfs(), kBdf).empty());
  machine.put_file("/sys/bus/pci/devices/" + kBdf + "/vfio-dev/vfio7/power/control", "auto\n");
  CHECK(device_node(machine.sysfs(), kBdf).empty());  // the device, in a kernel that makes no node of it
  machine.put_file("/sys/bus/pci/devices/" + kBdf + "/vfio-dev/vfio7/dev", "511:7\n");
  CHECK(device_node(machine.sysfs(), kBdf) == "/dev/vfio/devices/vfio7");
}

TEST_CASE("a process that has a member's character device open holds the group") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.put_file("/sys/bus/pci/devices/" + kBdf + "/vfio-dev/vfio7/dev", "511:7\n");
  machine.add_process(4711, "fio", "/dev/vfio/devices/vfio7");
  machine.add_process(4712, "bash", "/dev/vfio/devices/vfio77");
  CHECK(describe(group_holders(machine.sysfs(), 3)) == "fio (pid 4711)");
  const auto function = machine.sysfs().function(kBdf);
  REQUIRE(function);
  const auto error = explain_bind_iommufd(machine.sysfs(), *function, EPERM);
  CHECK(says(error, "in use"));
  CHECK(says(error, "end fio (pid 4711)"));
  CHECK_FALSE(says(error, "allow_unsafe_interrupts"));
}

TEST_CASE("iommufd that is missing, or may not be opened, is answered with what to do") {
  FakeMachine machine;
  CHECK(says(explain_iommufd_open(machine.sysfs(), ENOENT), "\"modprobe iommufd\""));
  CHECK(says(explain_iommufd_open(machine.sysfs(), EACCES), "chmod 0666 /dev/iommu"));
  CHECK(says(explain_no_device_node(kBdf), "CONFIG_VFIO_DEVICE_CDEV"));
  CHECK(says(explain_device_node_open(kBdf, "/dev/vfio/devices/vfio7", EACCES), "SUBSYSTEM==\"vfio-dev\""));
}

TEST_CASE("a group that is not viable is answered with the member and its driver") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_function("0000:00:01.0", "8086:1901", "060400", "pcieport", 3);
  machine.add_function("0000:03:00.0", "144d:a808", "010802", "nvme", 3);
  machine.add_function("0000:04:00.0", "8086:100e", "020000", "e1000", 3);
  const auto error = explain_not_viable(machine.sysfs(), 3, kBdf);
  CAPTURE(error.message());
  CHECK(says(error, "IOMMU group 3 of 0000:02:00.0 is not viable"));
  CHECK(says(error, "0000:03:00.0 is bound to nvme, 0000:04:00.0 is bound to e1000"));
  CHECK(says(error, "\"pollux bind 0000:03:00.0\""));
  CHECK(says(error, "unbind 0000:04:00.0 from its driver"));
  CHECK_FALSE(says(error, "pcieport"));
}

TEST_CASE("a busy group names the process that has it, where /proc shows it") {
  FakeMachine machine;
  machine.add_process(4711, "fio", "/dev/vfio/3");
  machine.add_process(4712, "bash", "/dev/vfio/33");
  const auto known = explain_group_open(machine.sysfs(), 3, kBdf, EBUSY);
  CHECK(says(known, "in use"));
  CHECK(says(known, "end fio (pid 4711)"));
  CHECK_FALSE(says(known, "bash"));
  CHECK(says(explain_group_open(machine.sysfs(), 4, kBdf, EBUSY), "fuser /dev/vfio/4"));
}

TEST_CASE("a program that has the group itself is not told to end itself, nor of a second drive where there is one") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_process(getpid(), "pollux-bench", "/dev/vfio/3");
  const auto function = machine.sysfs().function(kBdf);
  REQUIRE(function);
  const auto both = [&](std::string_view text) {
    for (const auto& error : {explain_group_open(machine.sysfs(), 3, kBdf, EBUSY),
                              explain_bind_iommufd(machine.sysfs(), *function, EBUSY)}) {
      CAPTURE(error.message());
      CHECK(says(error, text));
      CHECK_FALSE(says(error, "end "));
    }
  };
  both("this process has it open already");
  machine.add_function("0000:02:00.1", "1cc1:0021", "010802", "vfio-pci", 3);
  both("open the drives of a group in one address space");
}

TEST_CASE("a group is busy while a process has it open") {
  FakeMachine machine;
  machine.put_file("/dev/vfio/3", "");
  CHECK_FALSE(group_busy(machine.sysfs(), 3));
  machine.add_process(4711, "fio", "/dev/vfio/3");
  CHECK(group_busy(machine.sysfs(), 3));
}

TEST_CASE("a group that may not be opened says whose it has to be") {
  FakeMachine machine;
  const auto error = explain_group_open(machine.sysfs(), 3, kBdf, EACCES);
  CHECK(says(error, "no permission to open /dev/vfio/3"));
  CHECK(says(error, "chown $USER /dev/vfio/3"));
  CHECK(says(error, "pollux setup --user $USER 0000:02:00.0"));
}

TEST_CASE("a kernel without VFIO says which module to load") {
  FakeMachine machine;
  const int os_error = GENERATE(ENOENT, ENODEV, ENXIO);
  CHECK(says(explain_vfio_open(machine.sysfs(), os_error), "run \"modprobe vfio-pci\" as root"));
  machine.make_sysfs_read_only();
  CHECK(says(explain_vfio_open(machine.sysfs(), os_error), "run \"modprobe vfio-pci\" as root, on the host"));
}

TEST_CASE("a container is told by a sysfs that is read-only") {
  FakeMachine machine;
  CHECK_FALSE(in_container(machine.sysfs()));
  const std::string host = "22 1 0:20 / /sys rw,nosuid,nodev - sysfs sysfs rw\n";
  machine.put_file("/proc/self/mountinfo", host + "23 22 0:21 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n");
  CHECK_FALSE(in_container(machine.sysfs()));
  machine.put_file("/proc/self/mountinfo", host + "24 22 0:20 / /sys ro,nosuid - sysfs sysfs ro\n");
  CHECK(in_container(machine.sysfs()));
}

TEST_CASE("a node that a container was not given is no matter of modules") {
  FakeMachine machine;
  machine.put_file("/sys/class/misc/vfio/dev", "10:196\n");
  machine.put_file("/sys/class/misc/iommu/dev", "10:126\n");
  const std::string device = "/dev/vfio/devices/vfio7";
  for (const int os_error : {ENOENT, EPERM}) {
    for (const auto& [error, node] : {std::pair{explain_vfio_open(machine.sysfs(), os_error), "/dev/vfio/vfio"},
                                      std::pair{explain_iommufd_open(machine.sysfs(), os_error), "/dev/iommu"},
                                      std::pair{explain_group_open(machine.sysfs(), 3, kBdf, os_error), "/dev/vfio/3"},
                                      std::pair{explain_device_node_open(kBdf, device, os_error), device.c_str()}}) {
      CAPTURE(error.message());
      CHECK(says(error, fmt::format("--device={}", node)));
      CHECK_FALSE(says(error, "modprobe"));
      CHECK_FALSE(says(error, "chown"));
      CHECK_FALSE(says(error, "chmod"));
    }
  }
}

TEST_CASE("a node of VFIO's that a user may not open is the user's to get") {
  FakeMachine machine;
  CHECK(says(explain_vfio_open(machine.sysfs(), EACCES), "\"chmod 0666 /dev/vfio/vfio\""));
  CHECK(says(explain_group_open(machine.sysfs(), 3, kBdf, EACCES), "\"chown $USER /dev/vfio/3\""));
}

TEST_CASE("a kernel whose VFIO has no containers is to be used by iommufd") {
  FakeMachine machine;
  machine.add_driver("vfio-pci");
  const auto error = explain_vfio_open(machine.sysfs(), ENOENT);
  CHECK(says(error, "CONFIG_VFIO_CONTAINER"));
  CHECK(says(error, "iommufd:BDF"));
}

TEST_CASE("an IOMMU refused for want of interrupt remapping says how to go on") {
  CHECK(says(explain_set_iommu(3, kBdf, EPERM), "allow_unsafe_interrupts"));
}

TEST_CASE("a token that is missing, wrong or of no use is answered with the address to use") {
  FakeMachine machine;
  const std::string virtual_function = "0000:02:00.1";
  const std::string token = ",vf_token=00112233-4455-6677-8899-aabbccddeeff";
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_function(virtual_function, "1cc1:0021", "010802", "vfio-pci", 4);
  machine.put_link(function_folder(virtual_function) + "/physfn", "../" + kBdf);
  const auto explain = [&](const std::string& address, int os_error) {
    return explain_device_open(machine.sysfs(), 4, *Address::parse(address), os_error);
  };
  SECTION("a virtual function without one") {
    const auto error = explain(virtual_function, EACCES);
    CHECK(says(error, "a virtual function of 0000:02:00.0"));
    CHECK(says(error, "no token was given"));
    CHECK(says(error, "open 0000:02:00.0,vf_token=UUID first"));
    CHECK(says(error, "0000:02:00.1,vf_token=UUID"));
  }
  SECTION("a virtual function with another") {
    CHECK(says(explain(virtual_function + token, EACCES), "this is not the token of that"));
  }
  SECTION("a physical function whose virtual ones are open") {
    const auto error = explain(kBdf, EACCES);
    CHECK(says(error, "virtual functions of it are in use"));
    CHECK(says(error, "0000:02:00.0,vf_token=UUID"));
  }
  SECTION("a virtual function whose physical one is not on vfio-pci") {
    const auto error = explain(virtual_function + token, EINVAL);
    CHECK(says(error, "0000:02:00.0 is not on vfio-pci"));
    CHECK(says(error, "use the address 0000:02:00.1"));
  }
  SECTION("a function that has no virtual ones") {
    CHECK(says(explain(kBdf + token, EINVAL), "it has no virtual functions"));
  }
  SECTION("an EINVAL without a token is another matter") { CHECK_FALSE(says(explain(kBdf, EINVAL), "token")); }
}

TEST_CASE("others that the kernel's drives live on are never to be unbound") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  SECTION("a SATA controller") { machine.add_function("0000:00:17.0", "8086:a352", "010601", "ahci", 3); }
  SECTION("a drive in use, whatever else is in the group") {
    machine.add_function("0000:00:17.0", "144d:a808", "010802", "nvme", 3);
    machine.add_function("0000:04:00.0", "8086:100e", "020000", "e1000", 3);
    machine.add_disk("0000:00:17.0", "nvme0", "nvme0n1", "259:0");
    machine.put_file("/proc/self/mountinfo", "22 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n");
  }
  const auto error = explain_not_viable(machine.sysfs(), 3, kBdf);
  CAPTURE(error.message());
  CHECK(says(error, "0000:00:17.0 is bound to"));
  CHECK(says(error, "move the drive to a slot of its own (ACS): the kernel's drives live on 0000:00:17.0"));
  CHECK_FALSE(says(error, "unbind"));
  CHECK_FALSE(says(error, "pollux bind"));
}

TEST_CASE("a drive behind VMD is told where it stands, and its controller is left alone") {
  const std::string behind = "10000:01:00.0", vmd = "0000:00:0e.0";
  FakeMachine machine;
  const std::string driver = GENERATE("vfio-pci", "nvme");
  machine.add_driver("vfio-pci");
  machine.add_function(vmd, "8086:467f", "010400", "vmd", 3);
  machine.add_function(behind, "1cc1:0021", "010802", driver, 3);
  const bool named = GENERATE(true, false);
  if (named) machine.put_behind(behind, "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0");
  for (const auto& error :
       {ready_function(machine.sysfs(), behind).error(), explain_not_viable(machine.sysfs(), 3, behind)}) {
    CAPTURE(error.message());
    CHECK(says(error, "10000:01:00.0 stands behind a VMD controller"));
    CHECK(says(error, "controller, 0000:00:0e.0, and") == named);
    CHECK(says(error, "leave the controller to its driver"));
    CHECK(says(error, "firmware's set-up"));
    CHECK_FALSE(says(error, "unbind"));
    CHECK_FALSE(says(error, "pollux bind"));
  }
  const auto refused = pollux::vfio::bind(machine.sysfs(), std::vector{behind}, BindWay::driver_override);
  if (driver == "nvme") {
    REQUIRE_FALSE(refused);
    CHECK(says(refused.error(), "stands behind a VMD controller"));
  }
  CHECK(machine.writes().empty());
}

TEST_CASE("a function in a domain of its host's, below bridges, stands behind no VMD") {
  FakeMachine machine;
  machine.add_function("0000:00:1d.0", "8086:a330", "060400", "pcieport", 2);
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 3);
  machine.add_function("ffff:02:00.0", "1cc1:0021", "010802", "vfio-pci", 4);
  machine.put_behind(kBdf, "pci0000:00/0000:00:1d.0");
  CHECK_FALSE(vmd_above(machine.sysfs(), kBdf));
  CHECK_FALSE(vmd_above(machine.sysfs(), "ffff:02:00.0"));
  CHECK(ready_function(machine.sysfs(), kBdf));
}
