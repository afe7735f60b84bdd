// What bounds ordinary memory: the machine, or a control group above this process. Each machine here is a folder of
// files as the kernel writes them.
#include "pollux/dma/available.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace pollux::dma {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1 << 20;

class Machine {
 public:
  Machine() {
    std::string name = fs::temp_directory_path() / "pollux-available-XXXXXX";
    root = mkdtemp(name.data());
    put("/proc/meminfo", "MemTotal:        2048000 kB\nMemFree:  1 kB\nMemAvailable:    1048576 kB\n");
  }
  ~Machine() { fs::remove_all(root); }

  void put(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(root + path).parent_path());
    std::ofstream(root + path) << text;
  }
  // A group of version 2.
  void group(const std::string& path, const std::string& max, std::uint64_t current, std::uint64_t cache) const {
    const std::string folder = "/sys/fs/cgroup" + path;
    put(folder + "/memory.max", max + "\n");
    put(folder + "/memory.current", std::to_string(current) + "\n");
    put(folder + "/memory.stat", "anon 4096\nfile 99\ninactive_anon 7\ninactive_file " + std::to_string(cache / 2) +
                                     "\nactive_file " + std::to_string(cache - cache / 2) + "\n");
  }

  std::string root;
};

TEST_CASE_METHOD(Machine, "without control groups it is the machine's memory that bounds") {
  const Available found = available_memory(root);
  CHECK(found.bytes == 1024 * kMiB);
  CHECK(found.bound == "");
}

TEST_CASE_METHOD(Machine, "a control group's limit bounds, less what it uses and more what the kernel takes back") {
  put("/proc/self/cgroup", "0::/user.slice/job\n");
  group("/user.slice/job", std::to_string(64 * kMiB), 50 * kMiB, 10 * kMiB);
  group("/user.slice", "max", 900 * kMiB, 0);
  const Available found = available_memory(root);
  CHECK(found.bytes == 24 * kMiB);
  CHECK(found.bound == "the control group /user.slice/job may use 67108864 bytes (memory.max)");
}

TEST_CASE_METHOD(Machine, "the tightest of the groups above counts, and none where all have more than the machine") {
  put("/proc/self/cgroup", "0::/a/b/c\n");
  group("/a/b/c", std::to_string(64 * kMiB), 0, 0);
  group("/a/b", "max", 0, 0);
  group("/a", std::to_string(100 * kMiB), 90 * kMiB, 0);
  CHECK(available_memory(root).bytes == 10 * kMiB);
  CHECK(available_memory(root).bound == "the control group /a may use 104857600 bytes (memory.max)");
  group("/a", std::to_string(4096 * kMiB), 0, 0);
  group("/a/b/c", "max", 0, 0);
  CHECK(available_memory(root).bytes == 1024 * kMiB);
  CHECK(available_memory(root).bound == "");
}

TEST_CASE_METHOD(Machine, "a container sees its own group as the root") {
  put("/proc/self/cgroup", "0::/\n");
  group("", std::to_string(32 * kMiB), 2 * kMiB, 0);
  CHECK(available_memory(root).bytes == 30 * kMiB);
  CHECK(available_memory(root).bound == "the control group / may use 33554432 bytes (memory.max)");
}

TEST_CASE_METHOD(Machine, "a group that uses more than it may leaves nothing") {
  put("/proc/self/cgroup", "0::/g\n");
  group("/g", std::to_string(kMiB), 2 * kMiB, 0);
  CHECK(available_memory(root).bytes == 0);
}

TEST_CASE_METHOD(Machine, "groups of version 1 bound too, seen from within a container as well") {
  put("/proc/self/cgroup", "12:cpu,cpuacct:/x\n9:memory:/docker/0123\n1:name=systemd:/docker/0123\n");
  const std::string folder = "/sys/fs/cgroup/memory";  // whose root a container sees instead of /docker/0123
  put(folder + "/memory.limit_in_bytes", std::to_string(16 * kMiB));
  put(folder + "/memory.usage_in_bytes", std::to_string(12 * kMiB));
  put(folder + "/memory.stat", "total_inactive_file 1048576\ntotal_active_file 1048576\n");
  const Available found = available_memory(root);
  CHECK(found.bytes == 6 * kMiB);
  CHECK(found.bound == "the control group / may use 16777216 bytes (memory.limit_in_bytes)");
}

TEST_CASE_METHOD(Machine, "a kernel that tells nothing, or nonsense, bounds nothing") {
  put("/proc/meminfo", "MemTotal: 1 kB\n");
  for (const char* text : {"", "0::\n", "::::\n", "0::relative\n", "no colon"}) {
    put("/proc/self/cgroup", text);
    CHECK_FALSE(available_memory(root).bytes);
  }
}

TEST_CASE("this machine tells how much memory it has") { CHECK(available_memory().bytes.value_or(0) > 0); }

}  // namespace
}  // namespace pollux::dma
