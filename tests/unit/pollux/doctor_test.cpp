#include <catch2/catch.hpp>
#include <cerrno>
#include <filesystem>
#include <map>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"
#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/tools/pollux/doctor/verdict.hpp"

using namespace pollux;
using namespace pollux::cli;

namespace {

const std::string kBdf = "0000:02:00.0";

// A machine on which nothing is in the way of a drive, for a test to break one thing of.
struct ReadyMachine {
  vfio::FakeMachine fake;
  Machine machine;
  std::map<std::string, int> closed;  // what may not be opened, and why
  Health drive;

  ReadyMachine() {
    fake.put_file("/sys/firmware/acpi/tables/DMAR", "");
    fake.put_file("/sys/class/iommu/dmar0", "");
    fake.put_file("/proc/cmdline", "root=/dev/sda1 intel_iommu=on quiet\n");
    fake.put_file("/proc/sys/kernel/osrelease", "6.1.0-test\n");
    fake.put_file("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    fake.add_driver("vfio-pci");
    fake.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 12);
    config(0x0103);
    link(kBdf, "8.0 GT/s PCIe", "4", "8.0 GT/s PCIe", "4");
    hugepages("64", "60");
    machine.sysfs = fake.sysfs();
    machine.user = "me";
    machine.memlock.limit_bytes = 64 << 20;
    machine.processors = {0, 1};
    machine.access = [this](const std::string& node) { return closed.contains(node) ? closed[node] : 0; };
    machine.health = [this](const vfio::PciFunction&) -> Result<Health> { return drive; };
    drive.log.composite_temperature = 273 + 40;
    drive.log.available_spare = 100;
    drive.warning_kelvin = 273 + 70;
  }

  void config(std::uint16_t command, std::uint16_t vendor = 0x1cc1) {
    const char bytes[] = {static_cast<char>(vendor),  static_cast<char>(vendor >> 8), 0x21, 0,
                          static_cast<char>(command), static_cast<char>(command >> 8)};
    fake.put_file(vfio::function_folder(kBdf) + "/config", std::string_view(bytes, sizeof(bytes)));
  }

  void link(const std::string& bdf, std::string_view speed, std::string_view width, std::string_view max_speed,
            std::string_view max_width) {
    const std::string folder = vfio::function_folder(bdf);
    fake.put_file(folder + "/current_link_speed", speed);
    fake.put_file(folder + "/current_link_width", width);
    fake.put_file(folder + "/max_link_speed", max_speed);
    fake.put_file(folder + "/max_link_width", max_width);
  }

  void hugepages(std::string_view total, std::string_view free) {
    const std::string folder = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB";
    fake.put_file(folder + "/nr_hugepages", total);
    fake.put_file(folder + "/free_hugepages", free);
  }

  Findings all() {
    Findings findings = examine_machine(machine);
    const auto function = machine.sysfs.function(kBdf);
    if (!function) return findings;
    for (auto& finding : examine_drive(machine, *function)) findings.push_back(std::move(finding));
    for (auto& finding : examine_health(machine, *function)) findings.push_back(std::move(finding));
    return findings;
  }

  // The one thing that is not as it should be.
  Finding fault() {
    Findings faults = all();
    std::erase_if(faults, [](const Finding& one) { return one.severity < Severity::warning; });
    REQUIRE(faults.size() == 1);
    return faults.front();
  }
};

void is(const Finding& finding, std::string_view check, Severity severity, std::string_view found,
        std::string_view remedy) {
  INFO(finding.check << ": " << finding.found << " -> " << finding.remedy);
  CHECK(finding.check == check);
  CHECK(finding.severity == severity);
  CHECK(finding.found.find(found) != std::string::npos);
  CHECK(finding.remedy.find(remedy) != std::string::npos);
}

}  // namespace

TEST_CASE("on a machine that is ready nothing is in the way") {
  ReadyMachine ready;
  for (const auto& finding : ready.all()) {
    INFO(finding.check << ": " << finding.found);
    CHECK(finding.severity == Severity::fine);
    CHECK(finding.remedy.empty());
  }
}

TEST_CASE("an IOMMU that the firmware keeps for itself is told from one that the kernel does not use") {
  ReadyMachine ready;
  std::filesystem::remove_all(ready.fake.place("/sys/class/iommu"));
  SECTION("the kernel was not asked to") {
    ready.fake.put_file("/proc/cmdline", "root=/dev/sda1 quiet\n");
    is(ready.fault(), "IOMMU in the kernel", Severity::blocked, "no IOMMU groups", "intel_iommu=on");
  }
  SECTION("it was asked to, or is on AMD, where it needs not be: the log says more") {
    if (GENERATE(true, false)) {
      std::filesystem::rename(ready.fake.place("/sys/firmware/acpi/tables/DMAR"),
                              ready.fake.place("/sys/firmware/acpi/tables/IVRS"));
      ready.fake.put_file("/proc/cmdline", "quiet\n");
    }
    is(ready.fault(), "IOMMU in the kernel", Severity::blocked, "no IOMMU groups", "dmesg");
  }
  SECTION("the kernel was asked not to") {
    ready.fake.put_file("/proc/cmdline", "quiet intel_iommu=off\n");
    is(ready.fault(), "IOMMU in the kernel", Severity::blocked, "\"intel_iommu=off\"", "update-grub");
  }
  SECTION("the firmware has none") {
    std::filesystem::remove_all(ready.fake.place("/sys/firmware"));
    const auto findings = ready.all();
    is(findings.at(0), "IOMMU in the firmware", Severity::blocked, "no ACPI table", "VT-d or AMD-Vi");
  }
}

TEST_CASE("noiommu, on a machine without an IOMMU, is a warning, and says what it costs") {
  ReadyMachine ready;
  std::filesystem::remove_all(ready.fake.place("/sys/class/iommu"));
  std::filesystem::remove_all(ready.fake.place("/sys/firmware"));
  ready.fake.put_file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
  is(ready.fault(), "IOMMU in the kernel", Severity::warning, "enable_unsafe_noiommu_mode", "all of memory");
}

TEST_CASE("kernel lockdown is told, and is not in the way") {
  ReadyMachine ready;
  ready.fake.put_file("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
  const auto findings = ready.all();
  is(findings.at(2), "kernel lockdown", Severity::note, "kprobes", "");
  std::filesystem::remove_all(ready.fake.place("/sys/kernel/security"));
  is(ready.all().at(2), "kernel lockdown", Severity::note, "securityfs is not mounted", "");
}

TEST_CASE("a module that is not loaded is told from one that there is none of") {
  ReadyMachine ready;
  std::filesystem::remove_all(ready.fake.place("/sys/bus/pci/drivers/vfio-pci"));
  SECTION("not loaded") {
    ready.fake.put_file("/lib/modules/6.1.0-test/modules.dep",
                        "kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/vfio.ko\n");
    is(ready.fault(), "vfio-pci", Severity::blocked, "not loaded", "modprobe vfio-pci");
  }
  SECTION("none") { is(ready.fault(), "vfio-pci", Severity::blocked, "6.1.0-test", "CONFIG_VFIO_PCI"); }
}

TEST_CASE("memlock is told with the number that is needed") {
  ReadyMachine ready;
  SECTION("too little") {
    ready.machine.memlock.limit_bytes = 64 << 10;
    is(ready.fault(), "memlock", Severity::blocked, "64 KiB may be locked",
       "echo 'me - memlock 1024' >> /etc/security/limits.conf");
  }
  SECTION("too little in a container, where logins have no say") {
    ready.fake.make_sysfs_read_only();
    ready.machine.memlock.limit_bytes = 64 << 10;
    is(ready.fault(), "memlock", Severity::blocked, "64 KiB may be locked", "--ulimit memlock=1048576:1048576");
  }
  SECTION("no limit") {
    ready.machine.memlock.limit_bytes = std::nullopt;
    CHECK(ready.all().at(4).found.find("1024 KiB") != std::string::npos);
  }
}

TEST_CASE("by iommufd the limit is the sum of all processes of a user, and doctor says whose, and how much is gone") {
  ReadyMachine ready;
  ready.machine.memlock.limit_bytes = 8 << 20;
  ready.machine.pinned_by_user_bytes = 7 << 20;
  const auto of_user = [&] {
    auto findings = ready.all();
    std::erase_if(findings, [](const Finding& one) { return one.check != "memlock of the user"; });
    return findings;
  };
  CHECK(of_user().empty());  // by its group each process counts alone
  ready.fake.put_file(vfio::function_folder(kBdf) + "/vfio-dev/vfio3/dev", "511:3\n");
  REQUIRE(of_user().size() == 1);
  is(of_user().front(), "memlock of the user", Severity::fine, "all processes of me together may lock 8192 KiB", "");
  ready.machine.pinned_by_user_bytes += 1;
  is(ready.fault(), "memlock of the user", Severity::blocked,
     "together may lock 8192 KiB by iommufd, and hold 7168 KiB", "me - memlock 8192");
  CHECK(ready.fault().remedy.find("group:0000:02:00.0") != std::string::npos);
  ready.closed["/dev/iommu"] = EACCES;
  CHECK(of_user().empty());
}

TEST_CASE("hugepages are looked at on each NUMA node") {
  ReadyMachine ready;
  ready.fake.put_file("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "8");
  ready.fake.put_file("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0");
  is(ready.fault(), "hugepages on node1", Severity::warning, "0 of 8 pages",
     "echo 72 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
}

TEST_CASE("a function that is no NVMe controller is said to be none") {
  ReadyMachine ready;
  ready.fake.put_file(vfio::function_folder(kBdf) + "/class", "0x020000\n");
  is(ready.fault(), "function", Severity::blocked, "020000", "pollux list");
}

TEST_CASE("the member of the group that is in the way is named, with the command that takes it out") {
  ReadyMachine ready;
  SECTION("a sound card") {
    ready.fake.add_function("0000:02:00.1", "10de:0fb9", "040300", "snd_hda_intel", 12);
    is(ready.fault(), "IOMMU group", Severity::blocked, "12: its member 0000:02:00.1 is bound to snd_hda_intel",
       "echo 0000:02:00.1 > /sys/bus/pci/devices/0000:02:00.1/driver/unbind    # if nobody needs it: else move");
  }
  SECTION("another drive") {
    ready.fake.add_function("0000:02:00.1", "1cc1:0021", "010802", "nvme", 12);
    is(ready.fault(), "IOMMU group", Severity::blocked, "0000:02:00.1 is bound to nvme", "pollux bind 0000:02:00.1");
  }
  SECTION("a drive that the kernel uses") {
    ready.fake.add_function("0000:02:00.1", "1cc1:0021", "010802", "nvme", 12);
    ready.fake.add_disk("0000:02:00.1", "nvme0", "nvme0n1", "259:0");
    ready.fake.put_file("/proc/self/mountinfo", "22 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n");
    is(ready.fault(), "IOMMU group", Severity::blocked, "0000:02:00.1 is bound to nvme",
       "move the drive to another slot: the kernel's drives live on 0000:02:00.1");
  }
  SECTION("a SATA controller") {
    ready.fake.add_function("0000:02:00.1", "8086:a352", "010601", "ahci", 12);
    is(ready.fault(), "IOMMU group", Severity::blocked, "0000:02:00.1 is bound to ahci",
       "move the drive to another slot: the kernel's drives live on 0000:02:00.1");
  }
  SECTION("a bridge is in nobody's way") {
    ready.fake.add_function("0000:02:00.1", "8086:1234", "060400", "pcieport", 12);
    CHECK(ready.all().size() > 0);
    for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  }
}

TEST_CASE("a drive behind VMD is told so, and the next step is neither to bind it nor to unbind the controller") {
  ReadyMachine ready;
  const std::string behind = "10000:01:00.0";
  ready.fake.add_function("0000:00:0e.0", "8086:467f", "010400", "vmd", 14);
  ready.fake.add_function(behind, "1cc1:0021", "010802", "nvme", 14);
  const auto verdict = judge(ready.machine, *ready.machine.sysfs.function(behind));
  CHECK(verdict.severity == Severity::blocked);
  CHECK(verdict.next.find("VMD switched off in the firmware's set-up") != std::string::npos);
  for (const auto& finding : verdict.sections[1].findings) {
    CHECK(finding.remedy.find("unbind") == std::string::npos);
    CHECK(finding.remedy.find("pollux bind") == std::string::npos);
  }
}

TEST_CASE("a drive without a group, or with one that translates nothing, is told apart") {
  ReadyMachine ready;
  SECTION("none") {
    std::filesystem::remove(ready.fake.place(vfio::function_folder(kBdf) + "/iommu_group"));
    is(ready.fault(), "IOMMU group", Severity::blocked, "none", "intel_iommu=on");
  }
  SECTION("noiommu") {
    ready.fake.put_file("/sys/kernel/iommu_groups/12/name", "vfio-noiommu\n");
    is(ready.fault(), "IOMMU group", Severity::warning, "without an IOMMU", "noiommu:0000:02:00.0");
  }
}

TEST_CASE("a drive that the kernel uses is told with what uses it") {
  ReadyMachine ready;
  std::filesystem::remove(ready.fake.place(vfio::function_folder(kBdf) + "/driver"));
  ready.fake.add_driver("nvme");
  ready.fake.put_link(vfio::function_folder(kBdf) + "/driver", "../../drivers/nvme");
  SECTION("mounted") {
    ready.fake.add_disk(kBdf, "nvme0", "nvme0n1", "259:0");
    ready.fake.put_file("/proc/self/mountinfo", "36 35 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n");
    const auto findings = ready.all();
    const auto used = std::ranges::find(findings, "used by the kernel", &Finding::check);
    REQUIRE(used != findings.end());
    is(*used, "used by the kernel", Severity::blocked, "mounted at /data", "umount");
  }
  SECTION("open raw in a program") {
    ready.fake.add_disk(kBdf, "nvme0", "nvme0n1", "259:0");
    ready.fake.add_process(4711, "qemu", "/dev/nvme0n1");
    const auto findings = ready.all();
    const auto used = std::ranges::find(findings, "used by the kernel", &Finding::check);
    REQUIRE(used != findings.end());
    is(*used, "used by the kernel", Severity::blocked, "nvme0n1 is open in qemu (pid 4711)", "end the program");
  }
  SECTION("not used") { is(ready.fault(), "driver", Severity::blocked, "nvme", "pollux bind 0000:02:00.0"); }
}

TEST_CASE("a drive whose namespace the kernel uses through another controller is told, with which") {
  ReadyMachine ready;
  const std::string other = "0000:03:00.0";
  ready.fake.add_function(other, "1cc1:0021", "010802", "nvme", 13);
  ready.fake.add_disk(other, "nvme1", "nvme1n1", "259:0");
  ready.fake.identify("nvme1n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  ready.drive.namespaces = {{"nqn.2026-11.example:one", "", "", 1}};
  SECTION("the drive, opened, names its namespaces") {
    ready.fake.put_file("/proc/self/mountinfo", "36 35 259:0 / /data rw - ext4 /dev/nvme1n1 rw\n");
    is(ready.fault(), "used by the kernel", Severity::blocked,
       "nvme1n1 (the same namespace, through 0000:03:00.0) is mounted at /data", "umount");
    const auto verdict = judge(ready.machine, *ready.machine.sysfs.function(kBdf));
    CHECK(verdict.severity == Severity::blocked);
    CHECK(verdict.next.find("umount") != std::string::npos);
  }
  SECTION("nobody uses it") {
    for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  }
  SECTION("a drive of the kernel's that nobody uses says who else has the namespace") {
    ready.fake.add_function(kBdf, "1cc1:0021", "010802", "nvme", 12);
    ready.fake.add_disk(kBdf, "nvme0", "nvme0n1", "259:8");
    ready.fake.identify("nvme0n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
    const auto findings = ready.all();
    const auto used = std::ranges::find(findings, "used by the kernel", &Finding::check);
    REQUIRE(used != findings.end());
    is(*used, "used by the kernel", Severity::fine, "no; 0000:03:00.0 has a namespace of it, too", "");
  }
}

TEST_CASE("a drive without a namespace that pollux drives is told in the words of opening one, and not as ready") {
  ReadyMachine ready;
  SECTION("none") {
    ready.drive.first_nsid = fail(kBdf + ": namespace 1 is of the zoned command set", "leave it to the kernel");
    is(ready.fault(), "namespace", Severity::blocked, "namespace 1 is of the zoned command set", "leave it to");
    const auto verdict = judge(ready.machine, *ready.machine.sysfs.function(kBdf));
    CHECK(verdict.severity == Severity::blocked);
    CHECK(verdict.next == "leave it to the kernel");
  }
  SECTION("none, and no advice is known") {
    ready.drive.first_nsid = fail("the drive answers with status 0x6");
    CHECK(judge(ready.machine, *ready.machine.sysfs.function(kBdf)).next == "take another drive");
  }
  SECTION("one") {
    ready.drive.first_nsid = 2;
    const auto findings = ready.all();
    const auto found = std::ranges::find(findings, "namespace", &Finding::check);
    REQUIRE(found != findings.end());
    is(*found, "namespace", Severity::fine, "2 is the first that pollux drives", "");
  }
}

TEST_CASE("whoever may not open the group is told whose it must be") {
  ReadyMachine ready;
  SECTION("a user") {
    ready.closed["/dev/vfio/12"] = EACCES;
    is(ready.fault(), "permission", Severity::blocked, "me may not open /dev/vfio/12", "chown me /dev/vfio/12");
  }
  SECTION("root, who needs not be given what is root's") {
    ready.machine.user = "root";
    ready.closed["/dev/vfio/12"] = EACCES;
    is(ready.fault(), "permission", Severity::blocked, "root may not open /dev/vfio/12", "--device=/dev/vfio/12");
  }
  SECTION("the device rules of a container forbid it") {
    ready.closed["/dev/vfio/12"] = EPERM;
    is(ready.fault(), "permission", Severity::blocked, "may not open /dev/vfio/12", "--device=/dev/vfio/12");
    CHECK(ready.fault().remedy.find("chown") == std::string::npos);
  }
  SECTION("the container's node, by its mode") {
    ready.closed["/dev/vfio/vfio"] = EACCES;
    is(ready.fault(), "permission", Severity::blocked, "me may not open /dev/vfio/vfio", "chmod 0666 /dev/vfio/vfio");
  }
  SECTION("the container's node, which a container was not given") {
    ready.closed["/dev/vfio/vfio"] = ENOENT;
    is(ready.fault(), "permission", Severity::blocked, "there is no /dev/vfio/vfio", "--device=/dev/vfio/vfio");
    CHECK(ready.fault().remedy.find("modprobe") == std::string::npos);
  }
  SECTION("a node that is there before its module") {
    ready.closed["/dev/vfio/vfio"] = ENODEV;
    is(ready.fault(), "permission", Severity::blocked, "has nothing behind it", "modprobe vfio-pci");
  }
}

TEST_CASE("the nodes that are looked at are those that opening would take") {
  ReadyMachine ready;
  const auto node = [&](const char* dev) {
    ready.fake.put_file(vfio::function_folder(kBdf) + "/vfio-dev/vfio3/dev", dev);
  };
  const auto fine = [&] {
    for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  };
  SECTION("the character device with /dev/iommu do without group and container") {
    node("511:3\n");
    ready.closed["/dev/vfio/12"] = EACCES;
    ready.closed["/dev/vfio/vfio"] = EACCES;
    fine();
    ready.closed["/dev/iommu"] = EACCES;
    CHECK(ready.fault().check == "permission");
  }
  SECTION("a kernel that has no group is told of what it has") {
    node("511:3\n");
    ready.closed["/dev/vfio/12"] = ENOENT;
    ready.closed["/dev/vfio/vfio"] = ENOENT;
    fine();
    ready.closed["/dev/vfio/devices/vfio3"] = EACCES;
    is(ready.fault(), "permission", Severity::blocked, "may not open /dev/vfio/devices/vfio3",
       "chown me /dev/vfio/devices/vfio3");
  }
  SECTION("a kernel whose VFIO devices have no node goes by groups, though it has /dev/iommu") {
    node("");
    ready.closed["/dev/vfio/vfio"] = ENOENT;
    is(ready.fault(), "permission", Severity::blocked, "there is no /dev/vfio/vfio", "--device=");
  }
  SECTION("a virtual function goes by its group") {
    node("511:3\n");
    ready.fake.put_link(vfio::function_folder(kBdf) + "/physfn", "../0000:01:00.0");
    fine();
    ready.closed["/dev/vfio/12"] = EACCES;
    CHECK(ready.fault().check == "permission");
  }
}

TEST_CASE("in a container what changes the machine is the host's to do, and not setup's") {
  ReadyMachine ready;
  ready.fake.make_sysfs_read_only();
  ready.fake.add_function(kBdf, "1cc1:0021", "010802", "nvme", 12);
  const auto verdict = judge(ready.machine, *ready.machine.sysfs.function(kBdf));
  CHECK(verdict.next == "on the host, as root: pollux bind " + kBdf);
  std::filesystem::remove_all(ready.fake.place("/sys/bus/pci/drivers/vfio-pci"));
  is(ready.all().at(3), "vfio-pci", Severity::blocked, "not loaded", "modprobe vfio-pci");
}

TEST_CASE("the process that has the drive open is named") {
  ReadyMachine ready;
  ready.fake.add_process(4711, "fio", "/dev/vfio/12");
  is(ready.fault(), "opened by", Severity::blocked, "fio (pid 4711)", "end fio (pid 4711)");
}

TEST_CASE("a function that does not answer is told from one whose Bus Master is off") {
  ReadyMachine ready;
  SECTION("gone") {
    ready.config(0xffff, 0xffff);
    is(ready.fault(), "bus master", Severity::blocked, "does not answer", "rescan");
  }
  SECTION("off") {
    const auto findings = ready.all();
    const auto found = std::ranges::find(findings, "bus master", &Finding::check);
    REQUIRE(found != findings.end());
    is(*found, "bus master", Severity::fine, "off while nobody has it open", "");
  }
  SECTION("on") {
    ready.config(0x0107);
    const auto findings = ready.all();
    CHECK(std::ranges::find(findings, "bus master", &Finding::check)->found == "on");
  }
}

TEST_CASE("a link below what drive and slot can is a warning, and says which of them it is") {
  ReadyMachine ready;
  // The function's folder is a link to below its port's, as the kernel has it.
  ready.fake.put_behind(kBdf, "pci0000:00/0000:00:1d.0");
  ready.link("0000:00:1d.0", "8.0 GT/s PCIe", "4", "16.0 GT/s PCIe", "4");
  SECTION("trained down") {
    ready.link(kBdf, "2.5 GT/s PCIe", "4", "8.0 GT/s PCIe", "4");
    is(ready.fault(), "link", Severity::warning, "2.5 GT/s x4; the drive can 8.0 GT/s x4, the slot 16.0 GT/s x4",
       "seat the drive anew");
  }
  SECTION("a narrow slot") {
    ready.link("0000:00:1d.0", "8.0 GT/s PCIe", "2", "8.0 GT/s PCIe", "2");
    ready.link(kBdf, "8.0 GT/s PCIe", "2", "8.0 GT/s PCIe", "4");
    is(ready.fault(), "link", Severity::warning, "the slot 8.0 GT/s x2", "the slot limits the drive");
  }
  SECTION("as fast as it gets") {
    for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  }
}

TEST_CASE("threads that may run on another node than the drive's are told") {
  ReadyMachine ready;
  ready.fake.put_file(vfio::function_folder(kBdf) + "/numa_node", "1\n");
  ready.fake.put_file("/sys/devices/system/node/node1/cpulist", "2-3,8\n");
  ready.machine.processors = {2, 3, 8};
  for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  ready.machine.processors = {1, 2};
  is(ready.fault(), "NUMA node", Severity::warning, "1, and this process may run on others", "numactl --cpunodebind=1");
}

TEST_CASE("temperature and health are the drive's own words") {
  ReadyMachine ready;
  SECTION("hot") {
    ready.drive.log.composite_temperature = 273 + 75;
    is(ready.fault(), "temperature", Severity::warning, "75 °C; the drive warns from 70 °C on", "cool it");
  }
  SECTION("read-only, and worn") {
    ready.drive.log.critical_warning = 0x08;
    ready.drive.log.percentage_used = 130;
    is(ready.fault(), "health", Severity::warning, "it is read-only, and that it has lived", "replace it");
  }
  SECTION("silent") {
    ready.drive.log.composite_temperature = 0;
    for (const auto& finding : ready.all()) CHECK(finding.severity == Severity::fine);
  }
  ready.machine.health = [](const vfio::PciFunction&) -> Result<Health> { return fail("EPERM", "remap interrupts"); };
  SECTION("a drive that cannot be opened is not ready, whatever was fine before") {
    is(ready.fault(), "opens", Severity::blocked, "EPERM", "remap interrupts");
  }
  SECTION("one of the kernel's may keep it to itself") {
    auto function = *ready.machine.sysfs.function(kBdf);
    function.driver = "nvme";
    is(examine_health(ready.machine, function).back(), "health", Severity::note, "EPERM", "");
  }
}

TEST_CASE("what is to be done next is one thing at a time, and all that setup mends at once") {
  ReadyMachine ready;
  const auto verdict = [&] { return judge(ready.machine, *ready.machine.sysfs.function(kBdf)); };
  CHECK(verdict().severity == Severity::fine);
  CHECK(verdict().next == "pollux-bench --name=first --filename=0000:02:00.0 --rw=randread --bs=4k --size=64M");
  ready.closed["/dev/vfio/12"] = EACCES;
  ready.machine.memlock.limit_bytes = 64 << 10;
  CHECK(verdict().severity == Severity::blocked);
  CHECK(verdict().next == "as root: pollux setup --user me 0000:02:00.0");
  ready.fake.add_process(4711, "fio", "/dev/vfio/12");
  CHECK(verdict().next == "end fio (pid 4711)");
}

TEST_CASE("without an address one drive that is ready is enough, and no other is proposed") {
  ReadyMachine ready;
  ready.fake.add_function("0000:03:00.0", "144d:a808", "010802", "nvme", 13);
  CHECK(judge(ready.machine).severity == Severity::fine);
  CHECK(judge(ready.machine).next.find(kBdf) != std::string::npos);
  ready.fake.put_link(vfio::function_folder(kBdf) + "/driver", "../../drivers/nvme");
  CHECK(judge(ready.machine).severity == Severity::blocked);
  CHECK(judge(ready.machine).next == "pollux doctor ADDRESS, of a drive that pollux may have");
}

TEST_CASE("without an address a drive that the machine lives on is left alone") {
  ReadyMachine ready;
  ready.fake.put_link(vfio::function_folder(kBdf) + "/driver", "../../drivers/nvme");
  ready.fake.add_disk(kBdf, "nvme0", "nvme0n1", "259:0");
  ready.fake.put_file("/proc/self/mountinfo", "36 35 259:0 / / rw - ext4 /dev/nvme0n1 rw\n");
  const auto sections = judge(ready.machine).sections;
  REQUIRE(sections.size() == 2);
  REQUIRE(sections[1].findings.size() == 1);
  is(sections[1].findings[0], "used by the kernel", Severity::note, "mounted at /: left alone", "");
}

TEST_CASE("a machine without a drive is a warning") {
  ReadyMachine ready;
  std::filesystem::remove_all(ready.fake.place(vfio::function_folder(kBdf)));
  CHECK(judge(ready.machine).severity == Severity::warning);
  CHECK(judge(ready.machine).next.find("soft:size=1GiB") != std::string::npos);
}
