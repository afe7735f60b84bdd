// A child that was forked opens drives of its own, beside those of its parent. Not where threads are looked at: such a
// child starts one.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "pollux/driver/block/block.hpp"
#include "pollux/tools/softnvme/softnvme.hpp"
#include "pollux/vfio/process.hpp"

namespace pollux {
namespace {

std::unique_ptr<Drive> open_soft() {
  static const vfio::Scheme kSchemes[] = {softnvme::scheme()};
  auto drive = Drive::open("soft:size=1MiB", {.schemes = kSchemes});
  return drive ? std::move(*drive) : nullptr;
}

// Whether a block that is written to it is read back.
bool works(Drive& drive) {
  const auto ns = drive.open_namespace();
  if (!ns) return false;
  const auto channel = drive.open_channel(*ns);
  const auto buffer = drive.allocate(8192);
  if (!channel || !buffer) return false;
  buffer->slice().data[0] = std::byte{42};
  int answers = 0;
  const auto done = [](void* context, nvme::Status status) noexcept { *static_cast<int*>(context) += status.ok(); };
  if ((*channel)->write(0, buffer->slice(0, 512), done, &answers) != Submit::accepted) return false;
  while (answers == 0 && drive.poll()) (*channel)->poll();
  if ((*channel)->read(0, buffer->slice(4096, 512), done, &answers) != Submit::accepted) return false;
  while (answers == 1 && drive.poll()) (*channel)->poll();
  return answers == 2 && buffer->slice().data[4096] == std::byte{42};
}

template <typename Run>
int in_a_child(const Run& run) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // rather than hang
    _exit(run() ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST_CASE("a child opens, uses and closes a drive of its own, and a grandchild another") {
  auto ours = open_soft();
  REQUIRE(ours);
  const int code = in_a_child([&] {
    auto its_own = open_soft();
    if (!its_own || !works(*its_own) || ours->poll()) return false;
    const int grandchild = in_a_child([&] {
      auto another = open_soft();
      const bool right = another && works(*another) && !its_own->poll() && !ours->poll();
      its_own.reset();
      ours.reset();
      return right;
    });
    ours.reset();
    return grandchild == 0 && works(*its_own);
  });
  CHECK(code == 0);
  CHECK(works(*ours));
}

TEST_CASE("who opened something is known in every process that is forked from it, and from that") {
  const vfio::Opener here;
  const vfio::OwnWord word = *vfio::OwnWord::create(7);
  CHECK(here.is_this_process());
  const int code = in_a_child([&] {
    const vfio::Opener there;
    if (here.is_this_process() || !there.is_this_process() || *word != 0) return false;
    *word = 8;
    return in_a_child([&] { return !here.is_this_process() && !there.is_this_process() && *word == 0; }) == 0 &&
           *word == 8;
  });
  CHECK(code == 0);
  CHECK(here.is_this_process());
  CHECK(*word == 7);
  CHECK(vfio::Opener().is_this_process());
}

}  // namespace
}  // namespace pollux
