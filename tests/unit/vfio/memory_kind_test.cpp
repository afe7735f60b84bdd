// Which memory the kernel pins for a device, by what /proc/self/maps tells of it; what it does not pin is told with the
// reason and the way out.
#include "pollux/vfio/memory_kind.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "pollux/vfio/file_descriptor.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

constexpr std::size_t kPage = 4096, kBytes = 4 * kPage;

struct Mapped {
  Mapped(int protection, int flags, int fd = -1) : address(mmap(nullptr, kBytes, protection, flags, fd, 0)) {
    REQUIRE(address != MAP_FAILED);
  }
  ~Mapped() { munmap(address, kBytes); }
  std::byte* page(std::size_t number) const { return static_cast<std::byte*>(address) + number * kPage; }
  void* address;
};

struct File {
  explicit File(std::string folder) : path(std::move(folder) + "/pollux-memory-XXXXXX"), fd(mkstemp(path.data())) {
    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, kBytes) == 0);
  }
  ~File() {
    close(fd);
    unlink(path.c_str());
  }
  std::string path;
  int fd;
};

std::string refusal(void* address, bool device_may_write = true, std::size_t bytes = kBytes) {
  const auto why = why_not_pinned({.address = address,
                                   .iova = 0,
                                   .size_bytes = bytes,
                                   .device_may_read = true,
                                   .device_may_write = device_may_write});
  return why ? why->message() : "";
}

bool says(const std::string& message, std::string_view words) {
  CAPTURE(message);
  CHECK(message.find(words) != std::string::npos);
  return message.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("anonymous memory, private and shared, is pinned") {
  CHECK(refusal(Mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS).address) == "");
  CHECK(refusal(Mapped(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS).address) == "");
  int on_the_stack = 0;
  CHECK(refusal(&on_the_stack, true, sizeof on_the_stack) == "");
}

TEST_CASE("memory that may only be read is pinned only for devices that read it") {
  const Mapped memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  REQUIRE(mprotect(memory.page(2), kPage, PROT_READ) == 0);
  CHECK(says(refusal(memory.address), "may only be read by this process"));
  CHECK(says(refusal(memory.address), "register it as const memory"));
  CHECK(refusal(memory.address, true, 2 * kPage) == "");
  CHECK(refusal(memory.address, false) == "");
  REQUIRE(mprotect(memory.page(3), kPage, PROT_NONE) == 0);
  CHECK(says(refusal(memory.address, false), "may not be read by this process"));
}

TEST_CASE("memory that is not there, or not all of it, is told so") {
  const Mapped memory(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  REQUIRE(munmap(memory.page(2), kPage) == 0);
  CHECK(says(refusal(memory.address), "is not there"));
  CHECK(refusal(memory.address, true, 2 * kPage) == "");
  CHECK(refusal(memory.page(3), true, kPage) == "");
  CHECK(says(refusal(nullptr, true, kPage), "is not there"));
  CHECK(says(refusal(reinterpret_cast<void*>(~std::uintptr_t{0} - kPage + 1), true, kPage), "is not there"));
}

TEST_CASE("a shared mapping of a file that has a disk behind it is not pinned for writing, and what is, is told") {
  const File file(std::filesystem::current_path());
  struct statfs found{};
  REQUIRE(statfs(file.path.c_str(), &found) == 0);
  const bool in_memory = found.f_type == TMPFS_MAGIC || found.f_type == RAMFS_MAGIC;
  WARN(file.path << (in_memory ? " lies in memory: such files are tested" : " lies on a disk: the refusal is tested"));
  const Mapped shared(PROT_READ | PROT_WRITE, MAP_SHARED, file.fd);
  if (in_memory) {
    CHECK(refusal(shared.address) == "");
  } else {
    CHECK(says(refusal(shared.address), "is a shared mapping of " + file.path));
    CHECK(says(refusal(shared.address), "a memfd, tmpfs, hugepages"));
  }
  CHECK(refusal(shared.address, false) == "");
  CHECK(refusal(Mapped(PROT_READ | PROT_WRITE, MAP_PRIVATE, file.fd).address) == "");
}

TEST_CASE("files in memory are pinned: tmpfs, and memfds, which no path leads to") {
  const File file("/dev/shm");
  CHECK(refusal(Mapped(PROT_READ | PROT_WRITE, MAP_SHARED, file.fd).address) == "");
  const FileDescriptor memfd(memfd_create("pollux", MFD_CLOEXEC));
  REQUIRE(ftruncate(memfd.get(), kBytes) == 0);
  CHECK(refusal(Mapped(PROT_READ | PROT_WRITE, MAP_SHARED, memfd.get()).address) == "");
}
