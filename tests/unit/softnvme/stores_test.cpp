// Where namespaces keep their blocks: memory, and a sparse file with its troubles.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "pollux/tools/softnvme/store/file_store.hpp"
#include "pollux/tools/softnvme/store/memory_store.hpp"
#include "raw_host.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// A folder of the test's own, removed with what is in it.
class Folder {
 public:
  Folder() {
    path_ = std::filesystem::temp_directory_path() / "pollux-store-XXXXXX";
    REQUIRE(mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::uint64_t allocated_bytes(const std::string& path) {
  struct stat info{};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

void check_reads_what_was_written(Store& store) {
  std::vector<std::byte> data(3 * kPage + 512);
  std::vector<std::byte> found(data.size());
  REQUIRE(store.read(kMiB, found));
  CHECK(all_zero(found));
  fill_pattern(data, 3);
  REQUIRE(store.write(kMiB, data));
  REQUIRE(store.read(kMiB, found));
  CHECK(found == data);
  REQUIRE(store.zero(kMiB + 512, 2 * kPage));
  std::fill_n(data.begin() + 512, 2 * kPage, std::byte{0});
  REQUIRE(store.read(kMiB, found));
  CHECK(found == data);
  CHECK(store.flush());
}

// While it lives no file may grow beyond a size, whatever the file system under it takes.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t size_bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit small{size_bytes, before_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  SmallFiles(const SmallFiles&) = delete;
  SmallFiles& operator=(const SmallFiles&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_CASE("memory and file read back what was written, and zeros where nothing was or where it was zeroed") {
  const Folder folder;
  auto memory = MemoryStore::create(4 * kMiB);
  REQUIRE(memory);
  check_reads_what_was_written(**memory);
  auto file = FileStore::open(folder.file("d"), 4 * kMiB, 0, 512);
  REQUIRE(file);
  check_reads_what_was_written(**file);
}

TEST_CASE("zeroing much memory, at any offset, zeroes it and nothing beside it") {
  auto memory = MemoryStore::create(4 * kMiB);
  REQUIRE(memory);
  std::vector<std::byte> data(4 * kMiB, std::byte{0x77});
  REQUIRE((*memory)->write(0, data));
  REQUIRE((*memory)->zero(512 * 3, 2 * kMiB));
  std::fill_n(data.begin() + 512 * 3, 2 * kMiB, std::byte{0});
  std::vector<std::byte> found(data.size());
  REQUIRE((*memory)->read(0, found));
  CHECK(found == data);
}

TEST_CASE("a file is created sparse, grows by what is written, and gives back what is zeroed") {
  const Folder folder;
  const std::string path = folder.file("d");
  auto file = FileStore::open(path, 1024 * kMiB, 0, 512);
  REQUIRE(file);
  CHECK(std::filesystem::file_size(path) == 1024 * kMiB);
  CHECK(allocated_bytes(path) == 0);
  std::vector<std::byte> data(kMiB, std::byte{1});
  REQUIRE((*file)->write(512 * kMiB, data));
  CHECK(allocated_bytes(path) >= kMiB);
  CHECK(allocated_bytes(path) < 4 * kMiB);
  REQUIRE((*file)->zero(512 * kMiB, kMiB));
  CHECK(allocated_bytes(path) < kMiB);
}

TEST_CASE("an existing file gives its size where none is asked for, and refuses another one") {
  const Folder folder;
  const std::string path = folder.file("d");
  {
    auto file = FileStore::open(path, 2 * kMiB, 0, 512);
    REQUIRE(file);
    std::vector<std::byte> data(512, std::byte{9});
    REQUIRE((*file)->write(0, data));
  }
  {
    auto again = FileStore::open(path, std::nullopt, 64 * kMiB, 512);
    REQUIRE(again);
    CHECK((*again)->size_bytes() == 2 * kMiB);
    std::vector<std::byte> found(512);
    REQUIRE((*again)->read(0, found));
    CHECK(found[511] == std::byte{9});
  }
  const auto other = FileStore::open(path, 4 * kMiB, 0, 512);
  REQUIRE_FALSE(other);
  CHECK(other.error().message() == "soft: file=" + path +
                                       " holds 2097152 bytes and size= asks for 4194304: leave size= out, give "
                                       "size=2097152, or give another file=");
  CHECK(std::filesystem::file_size(path) == 2 * kMiB);
}

TEST_CASE("a file that cannot serve is refused with a line that names it, and nothing is left behind") {
  const Folder folder;
  SECTION("no such folder") {
    const auto file = FileStore::open(folder.file("no/d"), kMiB, 0, 512);
    REQUIRE_FALSE(file);
    CHECK(file.error().os_error == ENOENT);
    CHECK(file.error().message().find(folder.file("no/d")) != std::string::npos);
  }
  SECTION("a folder, a device, a FIFO") {
    CHECK_FALSE(FileStore::open(folder.file(""), kMiB, 0, 512));
    const auto device = FileStore::open("/dev/null", kMiB, 0, 512);
    REQUIRE_FALSE(device);
    CHECK(device.error().message().find("not a regular file") != std::string::npos);
    REQUIRE(mkfifo(folder.file("fifo").c_str(), 0600) == 0);
    CHECK_FALSE(FileStore::open(folder.file("fifo"), kMiB, 0, 512));
  }
  SECTION("not whole blocks") {
    std::ofstream(folder.file("odd")) << std::string(1000, 'x');
    const auto file = FileStore::open(folder.file("odd"), std::nullopt, 0, 512);
    REQUIRE_FALSE(file);
    CHECK(file.error().message().find("not a multiple of block=512") != std::string::npos);
  }
  SECTION("in use by another") {
    const auto first = FileStore::open(folder.file("d"), kMiB, 0, 512);
    REQUIRE(first);
    const auto second = FileStore::open(folder.file("d"), kMiB, 0, 512);
    REQUIRE_FALSE(second);
    CHECK(second.error().message().find("in use") != std::string::npos);
  }
  SECTION("larger than files may be: the file that was made is taken away") {
    const SmallFiles limit(kMiB);
    const auto file = FileStore::open(folder.file("d"), 2 * kMiB, 0, 512);
    REQUIRE_FALSE(file);
    CHECK_FALSE(std::filesystem::exists(folder.file("d")));
  }
}

TEST_CASE("a full disk is Write Fault to the host and one line for a person, once") {
  RawHost host;
  const int full = open("/dev/full", O_RDWR | O_CLOEXEC);  // every write to it fails with ENOSPC
  REQUIRE(full >= 0);
  FileStore store(full, "/disk/file", 100 * 512);
  Config config;
  config.namespaces = {{1, 512, 100, &store}};
  std::uint32_t words[kDoorbellWords] = {};
  host.core = std::make_unique<Controller>(config, host.table, words);
  host.core->set_bus_master(true);
  host.use_doorbells(words);
  host.enable();
  RawHost::Queue& queue = host.create_pair(1);
  const std::uint64_t page = host.pages(1);
  CHECK(store.error().empty());
  CHECK(host.status(queue, io_command(nvme::IoOpcode::write, 0, 1, page)) == nvme::StatusCode::write_fault);
  const std::string told = store.error();
  CHECK(told ==
        "soft: writing 512 bytes at offset 0 in file=/disk/file failed (ENOSPC: No space left on device): free space "
        "there, or give file= a place with more");
  CHECK(host.status(queue, io_command(nvme::IoOpcode::write, 8, 1, page)) == nvme::StatusCode::write_fault);
  CHECK(store.error() == told);
}

TEST_CASE("a limit on file sizes is a failure of the file, told as such") {
  const Folder folder;
  auto file = FileStore::open(folder.file("d"), 4 * kMiB, 0, 512);
  REQUIRE(file);
  bool below = false, above = true;
  {
    const SmallFiles limit(kMiB);
    const std::vector<std::byte> data(512, std::byte{1});
    below = (*file)->write(0, data);
    above = (*file)->write(2 * kMiB, data);
  }
  CHECK(below);
  CHECK_FALSE(above);
  CHECK((*file)->error().find("EFBIG") != std::string::npos);
}

TEST_CASE("a file that was cut short is a failed read, not zeros") {
  const Folder folder;
  auto file = FileStore::open(folder.file("d"), 4 * kMiB, 0, 512);
  REQUIRE(file);
  std::filesystem::resize_file(folder.file("d"), kMiB);
  std::vector<std::byte> data(512);
  CHECK((*file)->read(0, data));
  CHECK_FALSE((*file)->read(2 * kMiB, data));
  CHECK((*file)->error().find("where the file now ends") != std::string::npos);
}

TEST_CASE("memory that cannot be had is an error") {
  const auto store = MemoryStore::create(1ull << 60);
  REQUIRE_FALSE(store);
  CHECK(store.error().message().find("null=1") != std::string::npos);
  CHECK(store.error().message().find("RLIMIT_AS") == std::string::npos);
}

TEST_CASE("memory beyond the limit on addresses is an error that names that limit") {
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlimit tight{pages * 4096 + 8 * kMiB, before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  const auto store = MemoryStore::create(64 * kMiB);
  setrlimit(RLIMIT_AS, &before);
  REQUIRE_FALSE(store);
  INFO(store.error().message());
  CHECK(store.error().message().find("bytes of addresses (RLIMIT_AS)") != std::string::npos);
  CHECK(store.error().message().find("ulimit -v") != std::string::npos);
}

}  // namespace
}  // namespace pollux::softnvme
