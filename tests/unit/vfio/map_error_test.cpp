#include "pollux/vfio/map_error.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>

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
TEST_CASE("where locked memory is counted by user, whose sum it is is told, whatever this process has of it") {
  auto by_user = state();
  by_user.memlock.of_user = true;
  by_user.memlock.locked_bytes = by_user.memlock.pinned_bytes;
  for (const std::uint64_t bytes : {64 * kMiB, kMiB}) {  // beyond the limit by itself, and beside what others have
    const auto error = explain_map_error(mapping(0, bytes), ENOMEM, by_user);
    CAPTURE(error.message());
    CHECK(says(error, fmt::format("{} KiB of locked memory are needed here", bytes / 1024)));
    CHECK(says(error, fmt::format("all processes of user {} together may have 8192 KiB", getuid())));
    CHECK(says(error, fmt::format("LimitMEMLOCK={}K", bytes / 1024)));
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
