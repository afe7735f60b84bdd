#include "pollux/vfio/pci/in_use.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"
#include "pollux/vfio/clock.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

const std::string kBdf = "0000:02:00.0";

// A drive nvme0n1 with the partitions nvme0n1p1 and nvme0n1p2.
struct Machine : FakeMachine {
  Machine() {
    add_function(kBdf, "1cc1:0021", "010802", "nvme", 3);
    add_disk(kBdf, "nvme0", "nvme0n1", "259:0");
    add_partition("nvme0n1", "nvme0n1p1", "259:1");
    add_partition("nvme0n1", "nvme0n1p2", "259:2");
  }

  void stack(const std::string& below, const std::string& holder, const std::string& number,
             const std::string& volume) {
    put_file("/sys/class/block/" + below + "/holders/" + holder, "");
    put_file("/sys/class/block/" + holder + "/dev", number + "\n");
    if (!volume.empty()) put_file("/sys/class/block/" + holder + "/dm/name", volume + "\n");
  }

  void loop_over(const std::string& loop, const std::string& number, const std::string& node) {
    put_file("/sys/class/block/" + loop + "/dev", number + "\n");
    put_file("/sys/class/block/" + loop + "/loop/backing_file", node + "\n");
  }

  void export_node(const std::string& subsystem, unsigned nsid, const std::string& node, bool enabled = true) {
    const auto folder = fmt::format("/sys/kernel/config/nvmet/subsystems/{}/namespaces/{}", subsystem, nsid);
    put_file(folder + "/device_path", node + "\n");
    put_file(folder + "/enable", enabled ? "1\n" : "0\n");
  }

  std::vector<std::string> uses() {
    const auto function = sysfs().function(kBdf);
    REQUIRE(function);
    return uses_of(sysfs(), *function);
  }
};

using Uses = std::vector<std::string>;

}  // namespace

TEST_CASE("a drive that nobody uses has no uses, whatever else is mounted") {
  Machine machine;
  machine.put_file("/proc/self/mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n");
  machine.put_file("/proc/swaps", "Filename\tType\n/dev/sda2   partition 1 0 -2\n");
  CHECK(machine.uses().empty());
}

TEST_CASE("a mounted partition is told with its mount point") {
  Machine machine;
  machine.put_file("/proc/self/mountinfo", "36 35 259:2 / /mnt/my\\040data rw,noatime master:1 - ext4 /dev/root rw\n");
  CHECK(machine.uses() == Uses{"nvme0n1p2 is mounted at /mnt/my data"});
}

TEST_CASE("a file system with a device number of its own is found by its source") {
  Machine machine;
  machine.put_file("/proc/self/mountinfo", "36 35 0:41 / /data rw - btrfs /dev/nvme0n1p1 rw,subvol=/\n");
  CHECK(machine.uses() == Uses{"nvme0n1p1 is mounted at /data"});
}

TEST_CASE("the mount of a drive with a longer name is not taken for ours") {
  Machine machine;
  machine.put_file("/proc/self/mountinfo", "36 35 259:11 / /data rw - ext4 /dev/nvme0n1p11 rw\n");
  CHECK(machine.uses().empty());
}

TEST_CASE("swap on the drive is told") {
  Machine machine;
  machine.put_file("/proc/swaps", "Filename\tType\tSize\n/dev/nvme0n1p2                  partition\t100\n");
  CHECK(machine.uses() == Uses{"nvme0n1p2 is swap"});
}

TEST_CASE("a volume on a partition is told, mounted or not, as far up as it is stacked") {
  Machine machine;
  machine.stack("nvme0n1p1", "dm-0", "253:0", "vg-root");
  machine.stack("nvme0n1p2", "md0", "9:0", "");
  machine.stack("md0", "dm-1", "253:1", "vg-swap");
  machine.put_file("/proc/self/mountinfo", "22 1 253:0 / / rw - xfs /dev/mapper/vg-root rw\n");
  machine.put_file("/proc/swaps", "Filename\tType\n/dev/mapper/vg-swap partition 1 0 -2\n");
  CHECK(machine.uses() == Uses{"dm-0 (vg-root) on nvme0n1p1 is mounted at /", "md0 on nvme0n1p2 is active",
                               "dm-1 (vg-swap) on md0 on nvme0n1p2 is swap"});
}

TEST_CASE("a loop device, which claims nothing, is told, mounted or not, with what is on it") {
  Machine machine;
  SECTION("over the namespace") {
    machine.loop_over("loop0", "7:0", "/dev/nvme0n1");
    CHECK(machine.uses() == Uses{"loop0 on nvme0n1 is active"});
    machine.put_file("/proc/self/mountinfo", "36 35 7:0 / /data rw - ext4 /dev/loop0 rw\n");
    CHECK(machine.uses() == Uses{"loop0 on nvme0n1 is mounted at /data"});
  }
  SECTION("over a partition, and a partition of its own") {
    machine.loop_over("loop0", "7:0", "/dev/nvme0n1p2");
    machine.add_partition("loop0", "loop0p1", "259:9");
    machine.put_file("/proc/self/mountinfo", "36 35 259:9 / /data rw - ext4 /dev/loop0p1 rw\n");
    CHECK(machine.uses() == Uses{"loop0 on nvme0n1p2 is active", "loop0p1 on nvme0n1p2 is mounted at /data"});
  }
  SECTION("between volumes") {
    machine.stack("nvme0n1p1", "dm-0", "253:0", "vg-one");
    machine.loop_over("loop0", "7:0", "/dev/mapper/vg-one");
    machine.stack("loop0", "dm-1", "253:1", "vg-two");
    CHECK(machine.uses() == Uses{"dm-0 (vg-one) on nvme0n1p1 is active",
                                 "loop0 on dm-0 (vg-one) on nvme0n1p1 is active",
                                 "dm-1 (vg-two) on loop0 on dm-0 (vg-one) on nvme0n1p1 is active"});
  }
  SECTION("over a file, or over another drive") {
    machine.loop_over("loop0", "7:0", "/home/me/nvme0n1");
    machine.loop_over("loop1", "7:1", "/dev/nvme0n11");
    CHECK(machine.uses().empty());
  }
}

TEST_CASE("what the kernel's NVMe target exports is told, as long as it is enabled") {
  Machine machine;
  machine.loop_over("loop0", "7:0", "/dev/nvme0n1p2");
  machine.export_node("nqn.2026-11.example:t", 2, "/dev/nvme0n1p1");
  machine.export_node("nqn.2026-11.example:t", 3, "/dev/loop0");
  machine.export_node("nqn.2026-11.example:t", 4, "/dev/nvme0n1", false);
  machine.export_node("nqn.2026-11.example:u", 1, "/dev/sda");
  CHECK(machine.uses() == Uses{"nvme0n1p1 is exported by nvmet as namespace 2 of nqn.2026-11.example:t",
                               "loop0 on nvme0n1p2 is exported by nvmet as namespace 3 of nqn.2026-11.example:t"});
}

TEST_CASE("a program that has a namespace or a partition open raw is told, with its pid") {
  Machine machine;
  machine.add_process(4712, "bash", "/dev/pts/0");
  SECTION("the block device, in two programs") {
    machine.add_process(4711, "dd", "/dev/nvme0n1");
    machine.add_process(4713, "qemu", "/dev/nvme0n1");
    CHECK(machine.uses() == Uses{"nvme0n1 is open in dd (pid 4711), qemu (pid 4713)"});
  }
  SECTION("a partition") {
    machine.add_process(4711, "dd", "/dev/nvme0n1p2");
    CHECK(machine.uses() == Uses{"nvme0n1p2 is open in dd (pid 4711)"});
  }
  SECTION("the character device, by its number, wherever its node is") {
    machine.put_file("/sys/class/nvme-generic/ng0n1/dev", "1:3\n");  // which is /dev/null's
    machine.add_process(4711, "fio", "/dev/null");
    CHECK(machine.uses() == Uses{"ng0n1 is open in fio (pid 4711)"});
  }
  SECTION("a character device of the block device's number is another") {
    machine.put_file("/sys/class/block/nvme0n1/dev", "1:3\n");
    machine.add_process(4711, "fio", "/dev/null");
    CHECK(machine.uses().empty());
  }
  SECTION("the controller's node counts not, nor does another drive's") {
    machine.add_process(4711, "nvme", "/dev/nvme0");
    machine.add_process(4713, "dd", "/dev/nvme0n11");
    CHECK(machine.uses().empty());
  }
}

TEST_CASE("a claim waits for a program that only looks at the drive, and refuses it to one that stays") {
  Machine machine;
  const auto function = machine.sysfs().function(kBdf);
  REQUIRE(function);
  machine.add_process(4711, "udevd", "/dev/nvme0n1");
  SECTION("gone in a moment") {
    std::jthread looking([&] {
      steady_clock().pause_ns(100 * kNsPerMs);
      std::filesystem::remove(machine.place("/proc/4711/fd/3"));
    });
    CHECK(claim(machine.sysfs(), *function));
  }
  SECTION("there to stay") {
    const auto refused = claim(machine.sysfs(), *function);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("0000:02:00.0 is in use: nvme0n1 is open in udevd (pid 4711)") !=
          std::string::npos);
  }
}

TEST_CASE("volumes that hold each other end the search all the same") {
  Machine machine;
  machine.stack("nvme0n1p1", "dm-0", "253:0", "a");
  machine.stack("dm-0", "dm-1", "253:1", "b");
  machine.stack("dm-1", "dm-0", "253:0", "a");
  CHECK(machine.uses().size() == 2);
}

TEST_CASE("a claim opens every block device of a free drive, and refuses one in use with the reason") {
  Machine machine;
  const auto function = machine.sysfs().function(kBdf);
  REQUIRE(function);
  const auto claims = claim(machine.sysfs(), *function);
  REQUIRE(claims);
  CHECK(claims->size() == 1);

  machine.put_file("/proc/self/mountinfo", "36 35 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n");
  const auto refused = claim(machine.sysfs(), *function);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("0000:02:00.0 is in use: nvme0n1 is mounted at /data") != std::string::npos);
}

namespace {

const std::string kOther = "0000:03:00.0";

// The other controller of a subsystem: it has the same namespace as nvme1n1, with a partition of its own.
struct Shared : Machine {
  explicit Shared(const std::string& wwid = "eui.0025385791b02f3e") {
    add_function(kOther, "1cc1:0021", "010802", "nvme", 4);
    add_disk(kOther, "nvme1", "nvme1n1", "259:4");
    add_partition("nvme1n1", "nvme1n1p2", "259:6");
    identify("nvme0n1", "nqn.2026-11.example:one", 1, wwid);
    identify("nvme1n1", "nqn.2026-11.example:one", 1, wwid);
  }

  void mount_other() { put_file("/proc/self/mountinfo", "36 35 259:6 / /data rw - ext4 /dev/nvme1n1p2 rw\n"); }
};

const Uses kMountedByOther = {"nvme1n1p2 (the same namespace, through 0000:03:00.0) is mounted at /data"};

}  // namespace

TEST_CASE("what is mounted through another controller of the namespace is told, and through which") {
  SECTION("by wwid") {
    Shared machine;
    CHECK(machine.uses().empty());
    machine.mount_other();
    CHECK(machine.uses() == kMountedByOther);
  }
  SECTION("by subsystem and NSID, on a kernel that shows no wwid") {
    Shared machine("");
    machine.mount_other();
    CHECK(machine.uses() == kMountedByOther);
  }
  SECTION("swap and volumes, too") {
    Shared machine;
    machine.stack("nvme1n1", "dm-0", "253:0", "vg-root");
    machine.put_file("/proc/swaps", "Filename\tType\n/dev/nvme1n1p2 partition 1 0 -2\n");
    CHECK(machine.uses() == Uses{"nvme1n1p2 (the same namespace, through 0000:03:00.0) is swap",
                                 "dm-0 (vg-root) on nvme1n1 (the same namespace, through 0000:03:00.0) is active"});
  }
}

TEST_CASE("another namespace of the subsystem, or the same NSID elsewhere, is not ours") {
  Shared machine;
  machine.mount_other();
  SECTION("another NSID") { machine.identify("nvme1n1", "nqn.2026-11.example:one", 2, "eui.0025385791b02f3f"); }
  SECTION("a private namespace of the same NSID") {
    machine.identify("nvme1n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3f");
  }
  SECTION("another subsystem") { machine.identify("nvme1n1", "nqn.2026-11.example:two", 1, "eui.0025385791b02f3f"); }
  CHECK(machine.uses().empty());
}

TEST_CASE("with multipath the one block device names all controllers that have it") {
  FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 3);
  machine.add_function(kOther, "1cc1:0021", "010802", "nvme", 4);
  machine.add_disk(kBdf, "nvme0", "nvme5c0n1", "259:1");
  machine.add_disk(kOther, "nvme1", "nvme5c1n1", "259:1");
  machine.identify("nvme5n1", "nqn.2026-11.example:one", 1, "eui.0025385791b02f3e");
  machine.put_file("/proc/self/mountinfo", "36 35 259:1 / /data rw - ext4 /dev/nvme5n1 rw\n");
  const auto function = machine.sysfs().function(kBdf);
  REQUIRE(function);
  CHECK(uses_of(machine.sysfs(), *function) ==
        Uses{"nvme5n1 (through 0000:02:00.0 and 0000:03:00.0) is mounted at /data"});
}

TEST_CASE("a claim takes the namespace through every controller, and what is claimed already only once") {
  Shared machine;
  const auto first = machine.sysfs().function(kBdf);
  const auto second = machine.sysfs().function(kOther);
  REQUIRE(first);
  REQUIRE(second);
  const auto claims = claim(machine.sysfs(), *first);
  REQUIRE(claims);
  CHECK(claims->contains("nvme0n1"));
  CHECK(claims->contains("nvme1n1"));
  const auto more = claim(machine.sysfs(), *second, *claims);
  REQUIRE(more);
  CHECK(more->empty());
}

TEST_CASE("a namespace that its controller names itself is found among the kernel's") {
  Shared machine;
  machine.put_file("/sys/class/nvme/nvme1/serial", "2K3020012345        \n");
  machine.put_file("/sys/class/nvme/nvme1/model", "ADATA SX8200\n");
  machine.mount_other();
  const auto uses = [&](const NamespaceName& name) { return uses_of(machine.sysfs(), std::span(&name, 1)); };
  CHECK(uses({"nqn.2026-11.example:one", "", "", 1}) == kMountedByOther);
  CHECK(uses({"", "2K3020012345        ", "ADATA SX8200   ", 1}) == kMountedByOther);
  CHECK(uses({"nqn.2026-11.example:one", "", "", 2}).empty());
  CHECK(uses({"nqn.2026-11.example:two", "other", "ADATA SX8200", 1}).empty());
  CHECK(uses({"", "", "", 1}).empty());
}
