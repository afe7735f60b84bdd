#include <catch2/catch.hpp>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"
#include "pollux/tools/pollux/list.hpp"

using namespace pollux;

namespace {

const std::string kBdf = "0000:02:00.0";

void add_drive(vfio::FakeMachine& machine) {
  machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 1);
  machine.add_disk(kBdf, "nvme0", "nvme0n1", "259:0");
  machine.put_file("/sys/class/nvme/nvme0/serial", "2K3020012345        \n");
  machine.put_file("/sys/class/nvme/nvme0/model", "ADATA SX8200\n");
  machine.put_file("/sys/class/nvme/nvme0/firmware_rev", "1.0.0\n");
  machine.put_file("/sys/class/block/nvme0n1/nsid", "1\n");
  machine.put_file("/sys/class/block/nvme0n1/size", "2048\n");
  machine.put_file("/sys/class/block/nvme0n1/queue/logical_block_size", "4096\n");
}

}  // namespace

TEST_CASE("a drive of the kernel's is listed with nvme-cli's names") {
  vfio::FakeMachine machine;
  add_drive(machine);
  const auto rows = cli::list_of(machine.sysfs());
  REQUIRE(rows.size() == 1);
  CHECK(rows[0]["DevicePath"] == "/dev/nvme0n1");
  CHECK(rows[0]["NameSpace"] == 1);
  CHECK(rows[0]["SerialNumber"] == "2K3020012345");
  CHECK(rows[0]["ModelNumber"] == "ADATA SX8200");
  CHECK(rows[0]["Firmware"] == "1.0.0");
  CHECK(rows[0]["PhysicalSize"] == 1048576);
  CHECK(rows[0]["MaximumLBA"] == 256);
  CHECK(rows[0]["SectorSize"] == 4096);
  CHECK(rows[0]["UsedBytes"].is_null());
  CHECK(rows[0]["Address"] == kBdf);
}

TEST_CASE("a namespace that the kernel gives no size has none, and not 0") {
  vfio::FakeMachine machine;
  add_drive(machine);
  machine.put_file("/sys/class/block/nvme0n1/size", "0\n");
  machine.put_file("/sys/class/block/nvme0n1/nuse", "128\n");
  const auto rows = cli::list_of(machine.sysfs());
  REQUIRE(rows.size() == 1);
  CHECK(rows[0]["UsedBytes"] == 128 * 4096);
  CHECK(rows[0]["PhysicalSize"].is_null());
  CHECK(rows[0]["MaximumLBA"].is_null());
}

TEST_CASE("namespaces are listed as people count") {
  vfio::FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 1);
  for (const int n : {1, 2, 9, 10, 11, 100})
    machine.add_disk(kBdf, "nvme0", fmt::format("nvme0n{}", n), fmt::format("259:{}", n));
  std::vector<std::string> paths;
  for (const auto& row : cli::list_of(machine.sysfs())) paths.push_back(row["DevicePath"]);
  CHECK(paths == std::vector<std::string>{"/dev/nvme0n1", "/dev/nvme0n2", "/dev/nvme0n9", "/dev/nvme0n10",
                                          "/dev/nvme0n11", "/dev/nvme0n100"});
}

TEST_CASE("a drive that vfio-pci has is listed by its address and its id") {
  vfio::FakeMachine machine;
  machine.add_function(kBdf, "1cc1:0021", "010802", "vfio-pci", 1);
  const auto rows = cli::list_of(machine.sysfs());
  REQUIRE(rows.size() == 1);
  CHECK(rows[0]["DevicePath"].is_null());
  CHECK(rows[0]["SerialNumber"].is_null());
  CHECK(rows[0]["Address"] == kBdf);
  CHECK(rows[0]["Id"] == "1cc1:0021");
  CHECK(rows[0]["Driver"] == "vfio-pci");
}

TEST_CASE("status tells hugepages, and of each drive what keeps pollux from it") {
  vfio::FakeMachine machine;
  add_drive(machine);
  machine.add_function("0000:02:00.1", "10de:0fb9", "040300", "snd_hda_intel", 1);
  machine.put_file("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "64\n");
  machine.put_file("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "60\n");
  machine.put_file("/proc/self/mountinfo", "36 35 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n");
  const auto status = cli::status_of(machine.sysfs());
  CHECK(status["hugepages"] == cli::Tree::parse(R"([{"node":"node0","hugesize":"2048kB","free":60,"total":64}])"));
  REQUIRE(status["functions"].size() == 1);
  const auto& row = status["functions"][0];
  CHECK(row["type"] == "NVMe");
  CHECK(row["controller"] == "nvme0");
  CHECK(row["viable"] == false);
  CHECK(row["blocked_by"] == cli::Tree::parse(R"(["0000:02:00.1 is bound to snd_hda_intel"])"));
  CHECK(row["in_use_by"].size() == 1);
}
