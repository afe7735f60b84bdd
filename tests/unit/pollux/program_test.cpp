// The program as a whole, where that is more than its parts: what it ends with.
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

namespace {

struct Ended {
  int code;
  std::string err;
};

// `output`: where what it prints goes; its errors are returned, and with /dev/stdout all of it. `before`: what the
// shell does first.
Ended pollux(const std::string& words, const std::string& output = "/dev/full", const std::string& before = {}) {
  FILE* const pipe = popen((before + POLLUX_CLI " " + words + " 2>&1 >" + output + " </dev/null").c_str(), "r");
  REQUIRE(pipe != nullptr);
  Ended ended{};
  std::array<char, 256> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) ended.err += part.data();
  const int status = pclose(pipe);
  REQUIRE(WIFEXITED(status));
  ended.code = WEXITSTATUS(status);
  return ended;
}

}  // namespace

TEST_CASE("output that cannot be written is an error of one line, however much it is") {
  const auto words = GENERATE("list", "info soft:size=1MiB", "info soft:size=1MiB -o json");
  const Ended ended = pollux(words);
  INFO(ended.err);
  CHECK(ended.code == 1);
  CHECK(ended.err.find("the output cannot be written (ENOSPC") != std::string::npos);
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
}

TEST_CASE("info tells of a controller that grants no I/O queue, as of any other") {
  const Ended ended = pollux("info soft:size=1MiB,queues=0", "/dev/stdout");
  INFO(ended.err);
  CHECK(ended.code == 0);
  CHECK(ended.err.find("io queue pairs granted  0") != std::string::npos);
  CHECK(ended.err.find("nsid 1  command set NVM  blocks 2048") != std::string::npos);
}

TEST_CASE(
    "info shows which quirks apply, why, and what is done about them; a name that is none is answered with those that "
    "are") {
  const Ended plain = pollux("info soft:size=1MiB", "/dev/stdout");
  CHECK(plain.code == 0);
  CHECK(plain.err.find("quirks") == std::string::npos);
  const Ended asked = pollux("info soft:size=1MiB,quirks=bogus_nid+disable_write_zeroes", "/dev/stdout");
  INFO(asked.err);
  CHECK(asked.code == 0);
  CHECK(asked.err.find("name bogus_nid  because the address says so  effect NGUID, EUI64 and UUID") !=
        std::string::npos);
  CHECK(asked.err.find("name disable_write_zeroes") != std::string::npos);
  const Ended wrong = pollux("info soft:size=1MiB,quirks=slow", "/dev/stdout");
  CHECK(wrong.code == 1);
  CHECK(wrong.err.find("there is no quirk \"slow\": known are bogus_nid, no_ns_desc_list") != std::string::npos);
  CHECK(std::count(wrong.err.begin(), wrong.err.end(), '\n') == 1);
}

TEST_CASE("an address of another program's is answered with ours") {
  const auto words = GENERATE("info nvme://0000:02:00.0", "info pci-0000:02:00.0-nvme-1", "doctor 0000:02:00:0");
  const Ended ended = pollux(words);
  INFO(ended.err);
  CHECK(ended.code == 1);
  CHECK(ended.err.find("is 0000:02:00.0 meant?") != std::string::npos);
}

TEST_CASE("a limit on file sizes is told in a line, and no signal ends the program") {
  const std::string path = std::filesystem::temp_directory_path() / "pollux-program-test-limit";
  const Ended ended = pollux("info soft:size=64MiB,file=" + path, "/dev/stdout", "ulimit -f 10; ");
  INFO(ended.err);
  CHECK(ended.code == 1);
  CHECK(ended.err.find("EFBIG") != std::string::npos);
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
  std::filesystem::remove(path);
}
