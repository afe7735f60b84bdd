#include "pollux/vfio/abi/map_error.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

using namespace pollux;
using namespace pollux::vfio;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

DmaMapping mapping(Iova iova, std::uint64_t size_bytes) {
  return {.address = reinterpret_cast<void*>(0x7f00'0000'0000), .iova = iova, .size_bytes = size_bytes};
}

MapState state() {
  return {.page_sizes = 0x40201000, .ranges = {{0, 0xfedf'ffff}}, .mappings_left = 0, .memlock = {8 * kMiB, kMiB}};
}

bool says(const Error& error, std::string_view text) { return error.message().find(text) != std::string::npos; }

}  // namespace

TEST_CASE("too little locked memory is answered with how much is needed, the limit, and how to raise it") {
  const auto error = explain_map_error(mapping(0, 64 * kMiB), ENOMEM, state());
  CAPTURE(error.message());
  CHECK(says(error, "66560 KiB of locked memory are needed"));  // 64 MiB, and the one that is locked already
  CHECK(says(error, "is 8192 KiB"));
  CHECK(says(error, "ulimit -l 66560"));
  CHECK(says(error, "LimitMEMLOCK=66560K"));
  CHECK(error.os_error == ENOMEM);
}

// Source: the kernel's drivers/iommu/iommufd/pages.c, do_update_pinned() and incr_user_locked_vm().
TEST_CASE("where locked memory is counted by user, whose sum it is is told, and how much of it this process has") {
  auto by_user = state();
  by_user.memlock.of_user = true;
  by_user.memlock.locked_bytes = 7 * kMiB + kMiB / 2;
  by_user.memlock.pinned_bytes = kMiB / 2;
  for (const std::uint64_t bytes : {64 * kMiB, kMiB}) {  // beyond the limit by itself, and beside what others have
    const auto error = explain_map_error(mapping(0, bytes), ENOMEM, by_user);
    const std::uint64_t sum_kib = bytes / 1024 + 7680;
    CAPTURE(error.message());
    CHECK(says(error, fmt::format("all processes of user {} together would lock {} KiB, 512 KiB of which this one has",
                                  getuid(), sum_kib)));
    CHECK(says(error, "and may have 8192 KiB"));
    CHECK(says(error, "group:BDF"));
    CHECK(says(error, fmt::format("LimitMEMLOCK={}K", sum_kib)));
    CHECK_FALSE(says(error, "control group"));
  }
  by_user.memlock.limit_bytes.reset();
  CHECK_FALSE(says(explain_map_error(mapping(0, kMiB), ENOMEM, by_user), "user"));
}

TEST_CASE("ENOMEM within the limit is not blamed on the limit") {
  auto unlimited = state();
  unlimited.memlock.limit_bytes.reset();
  CHECK_FALSE(says(explain_map_error(mapping(0, 64 * kMiB), ENOMEM, unlimited), "ulimit"));
  CHECK_FALSE(says(explain_map_error(mapping(0, kMiB), ENOMEM, state()), "ulimit"));
}

TEST_CASE("spent mappings are told apart from memory, with how many are left") {
  const auto error = explain_map_error(mapping(0, kMiB), ENOSPC, state());
  CHECK(says(error, "no DMA mapping is left in this container (0 left)"));
  CHECK(says(error, "dma_entry_limit"));
}

TEST_CASE("a wrong argument is named: size, alignment or range") {
  CHECK(says(explain_map_error(mapping(0, 0), EINVAL, state()), "the size is 0"));
  CHECK(says(explain_map_error(mapping(0x10, 4096), EINVAL, state()), "multiples of 4096"));
  CHECK(says(explain_map_error(mapping(0xfee0'0000, 4096), EINVAL, state()), "ranges are 0x0-0xfedfffff"));
  CHECK(says(explain_map_error(mapping(0xffff'ffff'ffff'f000, 8192), EINVAL, state()), "ranges are"));
}

TEST_CASE("memory that the kernel cannot pin is told with what is wrong about it") {
  static const std::byte constant[4096] = {};  // in memory that may only be read
  auto memory = mapping(0, sizeof constant);
  memory.address = const_cast<std::byte*>(constant);
  CHECK(says(explain_map_error(memory, EFAULT, state()), "may only be read by this process"));
  memory.address = nullptr;
  CHECK(says(explain_map_error(memory, EFAULT, state()), "is not there (EFAULT: Bad address): map it first"));
}

TEST_CASE("an overlap says so") { CHECK(says(explain_map_error(mapping(0, 4096), EEXIST, state()), "mapped already")); }

TEST_CASE("every refusal names IOVA and size") {
  for (const int os_error : {ENOMEM, ENOSPC, EINVAL, EEXIST, E2BIG, EFAULT, EIO}) {
    const auto error = explain_map_error(mapping(0x20'0000, 4096), os_error, state());
    CHECK(says(error, "cannot map 4 KiB at IOVA 0x200000"));
    CHECK(error.os_error == os_error);
  }
}

TEST_CASE("what a user's processes have pinned together is the sum over those of the real user id") {
  FakeMachine machine;
  const auto process = [&](int pid, int real, int effective, int pinned_kib) {
    machine.put_file(fmt::format("/proc/{}/status", pid),
                     fmt::format("Name:\tfio\nUid:\t{}\t{}\t{}\t{}\nVmLck:\t 512 kB\nVmPin:\t{:>8} kB\n", real,
                                 effective, effective, effective, pinned_kib));
  };
  process(4711, 1000, 1000, 100);
  process(4712, 1000, 0, 20);
  process(4713, 0, 1000, 3);
  process(4714, 1001, 1001, 4);
  machine.put_file("/proc/2/status", "Name:\tkthreadd\nUid:\t1000\t0\t0\t0\n");  // has no memory
  CHECK(pinned_by_user(machine.sysfs(), 1000) == 120 << 10);
  CHECK(pinned_by_user(machine.sysfs(), 1002) == 0);
}
