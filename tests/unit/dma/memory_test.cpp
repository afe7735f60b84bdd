// Memory on memfds: present, zeroed, aligned, freed by scope; in hugepages where there are some, and in ordinary pages
// where not. Which of the two a machine shows is printed, so that a log tells what was tested.
#include "pollux/dma/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "../../ticker.hpp"

namespace pollux::dma {
namespace {

std::uint64_t meminfo(const std::string& key) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::uint64_t value = 0;
  while (file >> word) {
    if (word == key + ":" && file >> value) return value;
  }
  return 0;
}

std::uintptr_t address_of(const Memory& memory) { return reinterpret_cast<std::uintptr_t>(memory.data()); }

bool is_mapped(void* address) {
  unsigned char resident;
  return mincore(address, 1, &resident) == 0;
}

bool is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }

TEST_CASE("whoever is given the file of memory cannot change its size") {
  auto memory = Memory::allocate(GENERATE(4096, 2 << 20));
  REQUIRE(memory);
  CHECK(ftruncate(memory->fd(), 0) == -1);
  CHECK(errno == EPERM);
  CHECK(ftruncate(memory->fd(), static_cast<off_t>(2 * memory->size_bytes())) == -1);
  memory->data()[memory->size_bytes() - 1] = std::byte{1};
}

TEST_CASE("memory is zeroed, whole pages, and present from the start") {
  auto memory = Memory::allocate(5000);
  REQUIRE(memory);
  CHECK(memory->size_bytes() == 8192);
  CHECK(memory->page_size_bytes() == k4KiB);
  CHECK_FALSE(memory->fell_back());
  CHECK(address_of(*memory) % k4KiB == 0);
  CHECK(std::all_of(memory->data(), memory->data() + 8192, [](std::byte b) { return b == std::byte{0}; }));

  auto larger = Memory::allocate(k2MiB / 2 - k4KiB);
  REQUIRE(larger);
  std::vector<unsigned char> resident(larger->size_bytes() / k4KiB);
  REQUIRE(mincore(larger->data(), larger->size_bytes(), resident.data()) == 0);
  CHECK(std::ranges::all_of(resident, [](unsigned char page) { return (page & 1) != 0; }));
}

TEST_CASE("memory is the file behind it, so that another process can map it") {
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  memory->data()[17] = std::byte{42};
  char seen = 0;
  REQUIRE(pread(memory->fd(), &seen, 1, 17) == 1);
  CHECK(seen == 42);
}

TEST_CASE("from 1 MiB on memory lies in hugepages where they are free, and else in ordinary pages, and says so") {
  const std::uint64_t free_before = meminfo("HugePages_Free");
  auto memory = Memory::allocate(k2MiB / 2);
  REQUIRE(memory);
  if (free_before > 0) {
    WARN("this machine has " << free_before << " free hugepages: hugepages are tested");
    CHECK(memory->page_size_bytes() == k2MiB);
    CHECK(memory->size_bytes() == k2MiB);
    CHECK_FALSE(memory->fell_back());
    CHECK(meminfo("HugePages_Free") == free_before - 1);
    *memory = Memory();
    CHECK(meminfo("HugePages_Free") == free_before);
  } else {
    WARN("this machine has no free hugepages: the fallback is tested");
    CHECK(memory->page_size_bytes() == k4KiB);
    CHECK(memory->size_bytes() == k2MiB / 2);
    CHECK(memory->fell_back());
  }
}

// Taking a GiB of ordinary pages for it would show nothing: where no such page is free, that is said, and tests/guest
// makes one.
TEST_CASE("memory of 1 GiB is one page where the system has one of that size free") {
  std::uint64_t free = 0;
  std::ifstream("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages") >> free;
  if (free == 0) {
    WARN("no 1 GiB page is free here");
    return;
  }
  WARN("1 GiB pages are free here");
  auto memory = Memory::allocate(k1GiB);
  REQUIRE(memory);
  CHECK(memory->page_size_bytes() == k1GiB);
  CHECK(memory->size_bytes() == k1GiB);
  CHECK(address_of(*memory) % k1GiB == 0);
  memory->data()[k1GiB - 1] = std::byte{1};
}

TEST_CASE("memory that reaches a hugepage's size is aligned to it, whatever pages it lies in") {
  auto memory = Memory::allocate(3 * k2MiB / 2 + k4KiB);
  REQUIRE(memory);
  CHECK(address_of(*memory) % k2MiB == 0);
  memory->data()[memory->size_bytes() - 1] = std::byte{1};
}

TEST_CASE("more than the free hugepages hold comes in ordinary pages, and takes no hugepage away") {
  const std::uint64_t free_before = meminfo("HugePages_Free");
  auto memory = Memory::allocate((free_before + 1) * k2MiB);
  REQUIRE(memory);
  CHECK(memory->fell_back());
  CHECK(meminfo("HugePages_Free") == free_before);
}

TEST_CASE("memory in one hugepage is that page, or an error that says what to run when none is left") {
  constexpr std::size_t kMostPages = 1024;
  std::vector<Memory> held;
  Error shortage;
  while (shortage.what.empty() && held.size() < kMostPages) {
    auto memory = Memory::allocate_hugepage(5000);
    if (memory) {
      CHECK(memory->size_bytes() == k2MiB);
      CHECK(memory->page_size_bytes() == k2MiB);
      CHECK(address_of(*memory) % k2MiB == 0);
      memory->data()[k2MiB - 1] = std::byte{1};
      held.push_back(std::move(*memory));
    } else {
      shortage = memory.error();
    }
  }
  WARN("this machine gave " << held.size() << " hugepages of 2 MiB");
  if (held.size() == kMostPages) return;
  INFO(shortage.message());
  CHECK(shortage.os_error != 0);
  CHECK(shortage.message().find("no hugepage of 2 MiB is free") == 0);
  CHECK(shortage.message().find("\"echo 64 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages\" as root") !=
        std::string::npos);
}

TEST_CASE("above 2 MiB one hugepage is one of 1 GiB") {
  auto memory = Memory::allocate_hugepage(k2MiB + 1);
  WARN("a page of 1 GiB is " << (memory ? "free here" : "not free here: the error is tested"));
  if (memory) {
    CHECK(memory->size_bytes() == k1GiB);
    CHECK(memory->page_size_bytes() == k1GiB);
  } else {
    INFO(memory.error().message());
    CHECK(memory.error().message().find("no hugepage of 1024 MiB is free") == 0);
    CHECK(memory.error().message().find("hugepages-1048576kB/nr_hugepages") != std::string::npos);
  }
}

TEST_CASE("no memory is larger than the hugepage it must lie in") {
  CHECK_FALSE(Memory::allocate_hugepage(0));
  const auto refused = Memory::allocate_hugepage(k1GiB + 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("no buffer may be larger than a hugepage") != std::string::npos);
}

// Lets no file grow beyond `size_bytes` while it lives: an allocation that asked the kernel for terabytes after all
// would fail, not fill the machine's memory.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t size_bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{size_bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST_CASE("a shortage is an error with the numbers in it, and takes nothing") {
  const FileSizeLimit limit(k1GiB);
  const auto too_much = Memory::allocate(1ull << 45);
  REQUIRE_FALSE(too_much);
  CHECK(too_much.error().os_error == ENOMEM);
  CHECK(too_much.error().message().find("35184372088832 bytes") != std::string::npos);
}

TEST_CASE("memory comes whole under a timer that interrupts every millisecond") {
  const test::Ticker ticker;
  const std::uint64_t free_pages = meminfo("HugePages_Free");
  while (test::Ticker::ticks < 30) {
    auto ordinary = Memory::allocate((free_pages + 1) * k2MiB + (256ull << 20));
    if (!ordinary) FAIL(ordinary.error().message());
    CHECK(ordinary->page_size_bytes() == k4KiB);
    *ordinary = Memory();
    if (free_pages == 0) continue;
    auto huge = Memory::allocate(free_pages * k2MiB);
    if (!huge) FAIL(huge.error().message());
    CHECK(huge->page_size_bytes() == k2MiB);
  }
}

TEST_CASE("beyond the limit on file sizes memory is an error, and not a signal that kills") {
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limit{1 << 20, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const auto refused = Memory::allocate(2 << 20);
  const auto hugepage = Memory::allocate_hugepage(4096);
  const bool small = Memory::allocate(1 << 16).has_value();
  setrlimit(RLIMIT_FSIZE, &before);
  for (const Error& error : {refused.error(), hugepage.error()}) {
    INFO(error.message());
    CHECK(error.message().find("files may have 1048576 bytes (RLIMIT_FSIZE)") != std::string::npos);
    CHECK(error.message().find("ulimit -f") != std::string::npos);
  }
  CHECK(small);
}

TEST_CASE("beyond the limit on addresses an error names that limit, and not hugepages") {
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlimit tight{pages * k4KiB + (8 << 20), before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  const auto refused = Memory::allocate(64 << 20);
  const bool small = Memory::allocate(1 << 16).has_value();
  setrlimit(RLIMIT_AS, &before);
  CHECK(small);
  REQUIRE_FALSE(refused);
  INFO(refused.error().message());
  CHECK(refused.error().os_error == ENOMEM);
  CHECK(refused.error().message().find(fmt::format("{} bytes of addresses (RLIMIT_AS)", tight.rlim_cur)) !=
        std::string::npos);
  CHECK(refused.error().message().find("ulimit -v") != std::string::npos);
  CHECK(refused.error().message().find("hugepages") == std::string::npos);
}

TEST_CASE("where no file descriptor is left, that is what an error says, and not a shortage of memory") {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const auto refused = Memory::allocate(4096);
  const auto hugepage = Memory::allocate_hugepage(4096);
  setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE_FALSE(refused);
  REQUIRE_FALSE(hugepage);
  for (const Error& error : {refused.error(), hugepage.error()}) {
    INFO(error.message());
    CHECK(error.os_error == EMFILE);
    CHECK(error.message().find("ulimit -n") != std::string::npos);
    CHECK(error.message().find("available") == std::string::npos);
    CHECK(error.message().find("hugepage") == std::string::npos);
  }
}

TEST_CASE("memory that has given up its file is there as before, and costs no descriptor") {
  auto memory = Memory::allocate(k4KiB);
  REQUIRE(memory);
  const int fd = memory->fd();
  memory->close_file();
  CHECK_FALSE(is_open(fd));
  CHECK(memory->fd() == -1);
  memory->data()[k4KiB - 1] = std::byte{1};
  memory->close_file();
}

TEST_CASE("sizes of 0 and beyond an address space are refused") {
  CHECK_FALSE(Memory::allocate(0));
  CHECK_FALSE(Memory::allocate(~0ull));
  CHECK_FALSE(Memory::allocate((1ull << 46) + 1));
}

TEST_CASE("memory goes by scope: unmapped, and its file closed") {
  std::byte* data;
  int fd;
  {
    auto memory = Memory::allocate(k4KiB);
    REQUIRE(memory);
    data = memory->data();
    fd = memory->fd();
    CHECK(is_mapped(data));
  }
  CHECK_FALSE(is_mapped(data));
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("a move hands memory over; what the target held goes at once") {
  auto first = Memory::allocate(k4KiB);
  auto second = Memory::allocate(k4KiB);
  REQUIRE((first && second));
  std::byte* kept = first->data();
  const int dropped_fd = second->fd();
  *second = std::move(*first);
  CHECK(second->data() == kept);
  CHECK_FALSE(is_open(dropped_fd));
  CHECK(first->data() == nullptr);
  CHECK(first->size_bytes() == 0);
  Memory third(std::move(*second));
  CHECK(third.data() == kept);
  CHECK(is_mapped(kept));
}

}  // namespace
}  // namespace pollux::dma
