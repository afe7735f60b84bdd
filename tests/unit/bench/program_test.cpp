// pollux-bench as a user sees it, on the software controller: exit codes, what is printed where, Ctrl-C, and trouble
// that takes a device to show.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <tuple>

#include "pollux/tests/sanitizer.hpp"
#include "pollux/tests/unit/bench/program.hpp"
#include "pollux/tests/unit/softnvme/server_program.hpp"

using namespace pollux::bench;

namespace {

ProgramResult bench(std::vector<std::string> arguments, const ProgramOptions& options = {}) {
  arguments.insert(arguments.begin(), POLLUX_BENCH);
  return run_program(arguments, options);
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::size_t lines(const std::string& text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')); }

const std::string kEndless[] = {"--filename=soft:size=64MiB", "--rw=randrw", "--iodepth=8", "--time_based",
                                "--runtime=1h"};

ProgramResult endless(const ProgramOptions& options, std::vector<std::string> more = {}) {
  more.insert(more.begin(), std::begin(kEndless), std::end(kEndless));
  return bench(more, options);
}

struct TemporaryFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("pollux-bench-" + std::to_string(getpid()));
  ~TemporaryFile() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("a verified 70/30 mix ends well, with no mismatch and no violation") {
  const auto result =
      bench({"--filename=soft:size=16MiB", "--rw=randrw", "--rwmixread=70", "--iodepth=32", "--numjobs=2",
             "--verify=crc32c", "--group_reporting", "--norandommap", "--number_ios=4000"});
  INFO(result.out << result.err);
  CHECK(result.exit_code == 0);
  CHECK(has(result.out, "mismatches: 0\n"));
  CHECK(has(result.out, "violations: 0 ("));
  CHECK(has(result.out, " read: IOPS="));
  CHECK(has(result.out, "write: IOPS="));
}

TEST_CASE("blocks of 4 KiB and requests beyond the controller's limit are verified too") {
  const auto result = bench(
      {"--filename=soft:size=64MiB,block=4096,mdts=3", "--rw=randrw", "--bs=256k", "--iodepth=4", "--verify=crc32c"});
  INFO(result.out << result.err);
  CHECK(result.exit_code == 0);
  CHECK(has(result.out, "mismatches: 0\n"));
  CHECK(has(result.out, "violations: 0 ("));
}

TEST_CASE(
    "a verified mix ends well whichever way its jobs wait, and a way that the processor lacks is refused by name") {
  for (const std::string way : {"poll", "adaptive", "interrupt", "monitor"}) {
    const auto result = bench({"--filename=soft:size=4MiB", "--rw=randrw", "--iodepth=4", "--numjobs=2",
                               "--verify=crc32c", "--number_ios=500", "--wait=" + way});
    INFO(result.out << result.err);
    if (way == "monitor" && result.exit_code == 1) {
      CHECK(has(result.err, "neither WAITPKG (umwait) nor MONITORX (mwaitx)"));
      CHECK(lines(result.err) == 1);
      continue;
    }
    CHECK(result.exit_code == 0);
    CHECK(has(result.out, "mismatches: 0\n"));
    CHECK(has(result.out, "violations: 0 ("));
  }
}

TEST_CASE("a job file runs all its sections at once, on one drive or several") {
  const TemporaryFile file;
  std::ofstream(file.path)
      << "[global]\nsize=4M\n[a]\nfilename=soft:size=8MiB\n[b]\nrw=randwrite\nfilename=soft:size=8MiB\n"
         "[c]\nfilename=soft:size=16MiB\n";
  const auto result = bench({file.path, "--output-format=json"});
  INFO(result.out << result.err);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json["jobs"].size() == 3);
  CHECK(json["pollux"]["drives"].size() == 2);
  for (const auto& job : json["jobs"]) {
    CHECK(job["read"]["io_bytes"].get<int>() + job["write"]["io_bytes"].get<int>() == 4 << 20);
  }
}

TEST_CASE("time_based runs for its runtime, after its ramp") {
  const auto result = bench({"--filename=soft:size=1MiB", "--size=64k", "--rw=read", "--time_based", "--runtime=600ms",
                             "--ramp_time=200ms", "--output-format=json"});
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json["jobs"][0]["read"]["runtime"].get<int>() >= 600);
  CHECK(json["jobs"][0]["read"]["runtime"].get<int>() < 5000);
  CHECK(json["jobs"][0]["read"]["io_bytes"] > 64 << 10);  // it began again
}

TEST_CASE("a wrong option is one line and exit code 1, and nothing runs") {
  for (const auto& [flag, text] : {std::pair{"--rw=randraed", "rw=randraed is not one of"},
                                   {"--iodpeth=4", "--iodepth"},
                                   {"--filename=sfot:size=1M", "sfot"},
                                   {"--filename=soft:sieze=1M", "sieze"}}) {
    const auto result = bench({flag});
    INFO(result.err);
    CHECK(result.exit_code == 1);
    CHECK(result.out.empty());
    CHECK(lines(result.err) == 1);
    CHECK(has(result.err, text));
  }
}

TEST_CASE("without a filename a job reads, and the software controller is announced; nothing is ever written") {
  const auto reads = bench({"--name=a", "--number_ios=10"});
  INFO(reads.err);
  CHECK(reads.exit_code == 0);
  CHECK(reads.err == "pollux-bench: note: no filename: reading soft:size=1GiB, the software controller\n");
  const auto named = bench({"--name=a", "--filename=soft:size=1MiB", "--number_ios=10"});
  CHECK(named.exit_code == 0);
  CHECK(named.err.empty());
  const auto writes = bench({"--name=a", "--rw=randwrite", "--number_ios=10"});
  CHECK(writes.exit_code == 1);
  CHECK(lines(writes.err) == 1);
  CHECK(has(writes.err, "no filename says where"));
}

TEST_CASE("defaults for all jobs reach all of them") {
  const auto result = bench({"--name=global", "--filename=soft:size=4MiB", "--rw=randwrite", "--size=1M", "--name=a",
                             "--name=b", "--output-format=json"});
  INFO(result.out << result.err);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json["pollux"]["drives"].size() == 1);
  REQUIRE(json["jobs"].size() == 2);
  for (const auto& job : json["jobs"]) CHECK(job["write"]["io_bytes"] == 1 << 20);
}

TEST_CASE("more jobs than queue pairs: the answer says how many are wanted and granted") {
  const auto result = bench({"--filename=soft:size=1MiB,queues=2", "--numjobs=4"});
  CHECK(result.exit_code == 1);
  CHECK(lines(result.err) == 1);
  CHECK(has(result.err, "4 jobs want a queue pair each, the controller grants 2: nearest valid value: numjobs=2"));
}

TEST_CASE("a controller that grants no queue pair is told as that") {
  const auto result = bench({"--filename=soft:size=1MiB,queues=0"});
  INFO(result.err);
  CHECK(result.exit_code == 1);
  CHECK(lines(result.err) == 1);
  CHECK(has(result.err, "the controller grants no I/O queue: Internal Error (SCT 0h, SC 06h"));
}

TEST_CASE("a namespace that is not there is named") {
  const auto result = bench({"--filename=soft:size=1MiB,ns=7"});
  INFO(result.err);
  CHECK(result.exit_code == 1);
  CHECK(lines(result.err) == 1);
  CHECK(has(result.err, "7"));
}

TEST_CASE("one function that two jobs name by two doors is refused before anything is opened") {
  const auto result =
      bench({"--rw=read", "--name=a", "--filename=group:0000:02:00.0", "--name=b", "--filename=iommufd:0000:02:00.0"});
  INFO(result.err);
  CHECK(result.exit_code == 1);
  CHECK(lines(result.err) == 1);
  CHECK(has(result.err, "group:0000:02:00.0 and iommufd:0000:02:00.0 are one function, opened in two ways"));
}

TEST_CASE("two spellings of one path are one drive, and one file in two soft drives is refused") {
  pollux::softnvme::Folder folder;
  pollux::softnvme::ServerProgram server(folder, {"size=4MiB"});
  const auto verified = [&](const std::string& a, const std::string& b, const std::string& offset) {
    return bench({"--rw=randwrite", "--verify=crc32c", "--size=1M", "--name=a", "--filename=" + a, "--name=b",
                  "--filename=" + b, "--offset=" + offset, "--output-format=json"});
  };
  const std::string plain = "vfio-user:" + folder.socket;
  const std::string other = "vfio-user:" + folder.path + "/." + folder.socket.substr(folder.path.size());
  const auto parts = verified(plain, other, "0");
  INFO(parts.out << parts.err);
  CHECK(parts.exit_code == 0);
  CHECK(nlohmann::json::parse(parts.out)["pollux"]["drives"].size() == 1);
  const auto overlap = verified(plain, other, "512k");
  CHECK(overlap.exit_code == 1);
  CHECK(has(overlap.err, "verify=crc32c wants its blocks for itself"));

  const std::string file = "soft:size=2M,file=" + folder.path;
  const auto one_file = verified(file + "/drive", file + "/./drive", "0");
  INFO(one_file.err);
  CHECK(one_file.exit_code == 0);
  const auto two_ways = verified(file + "/drive", file + "/./drive,vwc=0", "0");
  CHECK(two_ways.exit_code == 1);
  CHECK(lines(two_ways.err) == 1);
  CHECK(has(two_ways.err, "are one file, opened in two ways: name it in one way"));
}

TEST_CASE("what is wrong with one job of a drive's is told under that job's name, and no other's") {
  const std::string good = "--filename=soft:size=1MiB,ns=1";
  const std::vector<std::string> wrong[] = {{"--filename=soft:size=1MiB,ns=7"},
                                            {good, "--reconnect=1s"},
                                            {good, "--iodepth=4095", "--bs=32k", "--size=1M", "--wait=monitor"},
                                            {good, "--bs=2M"}};
  for (const auto& options : wrong) {
    std::vector<std::string> arguments = {"--name=first", good, "--name=second"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto result = bench(arguments);
    INFO(result.err);
    if (options.back() == "--wait=monitor" && result.exit_code == 0) continue;  // a processor that has it
    CHECK(result.exit_code == 1);
    CHECK(lines(result.err) == 1);
    CHECK(has(result.err, "job \"second\": "));
    CHECK_FALSE(has(result.err, "first"));
    if (options.size() == 1) CHECK_FALSE(has(result.err, "ns=1"));
  }
}

TEST_CASE("an output file that cannot be written is named before anything runs") {
  const auto result = bench({"--filename=soft:size=1MiB", "--output=/nonexistent/report"});
  CHECK(result.exit_code == 1);
  CHECK(has(result.err, "cannot write output=/nonexistent/report (ENOENT"));
}

TEST_CASE("an output file holds the report alone, and is left as it was when nothing ran") {
  const TemporaryFile file;
  const std::string output = "--output=" + file.path.string();
  CHECK(bench({"--filename=soft:sieze=1M", output}).exit_code == 1);
  CHECK_FALSE(std::filesystem::exists(file.path));
  std::ofstream(file.path) << "something longer than nothing\n";
  CHECK(bench({"--filename=soft:sieze=1M", output}).exit_code == 1);
  CHECK(std::filesystem::file_size(file.path) == 30);
  const auto result = bench({"--filename=soft:size=1MiB", output, "--output-format=json"});
  CHECK(result.exit_code == 0);
  CHECK(result.out.empty());
  std::ifstream report(file.path);
  CHECK(nlohmann::json::parse(report)["jobs"].size() == 1);
}

TEST_CASE("a second Ctrl-C ends the program at once") {
  // The first one's report waits for a reader that never comes: standard output is a full pipe.
  const auto result = endless({.signal = SIGINT, .signals = 2, .unread_output = true});
  CHECK(result.ended_by == SIGINT);
}

TEST_CASE("Ctrl-C ends the jobs, the report is printed, and the exit code is fio's") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto result = endless({.signal = signal});
    INFO(result.out << result.err);
    CHECK(result.exit_code == 128);
    CHECK(has(result.out, " read: IOPS="));
    CHECK(has(result.out, "violations: 0 ("));
    CHECK(has(result.out, "interrupted"));
  }
}

TEST_CASE("Ctrl-C leaves JSON that is whole, and a last pass that is said to be cut short") {
  const auto result = endless({.signal = SIGINT}, {"--verify=crc32c", "--output-format=json"});
  CHECK(result.exit_code == 128);
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json["pollux"]["interrupted"] == true);
  CHECK(json["jobs"][0]["pollux verify"]["last_pass_skipped"] == true);
  CHECK(json["jobs"][0]["pollux verify"]["mismatches"] == 0);
  CHECK(json["jobs"][0]["read"]["total_ios"] > 0);
}

TEST_CASE("a piped run has no live line, a terminal shows one and takes it away") {
  const std::vector<std::string> arguments = {"--filename=soft:size=1MiB", "--time_based", "--runtime=1500ms"};
  const auto piped = bench(arguments);
  CHECK(piped.exit_code == 0);
  CHECK(piped.err.find('\r') == std::string::npos);
  CHECK(piped.err.find('%') == std::string::npos);
  CHECK(piped.out.find('\r') == std::string::npos);
  const auto terminal = bench(arguments, {.terminal = true});
  CHECK(terminal.exit_code == 0);
  CHECK(has(terminal.err, "%  read "));
  CHECK(has(terminal.err, " left"));
  CHECK(terminal.err.ends_with("\r\033[K"));
  CHECK(terminal.out.find('\r') == std::string::npos);
}

TEST_CASE("a full disk behind file= ends the job with the write that failed, and the path") {
  const TemporaryFile file;
  constexpr std::uint64_t kLimit = 16 << 20;
  std::ofstream(file.path).close();
  std::filesystem::resize_file(file.path, 64 << 20);
  const auto result = bench({"--filename=soft:size=64MiB,file=" + file.path.string(), "--rw=write", "--bs=64k"},
                            {.file_limit_bytes = kLimit});
  INFO(result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(has(result.err, "write of 65536 bytes at offset 16777216 failed: Write Fault"));
  CHECK(has(result.err, file.path.string()));
  CHECK(has(result.out, "error=5"));
}

TEST_CASE("a limit on file sizes is told in a line, and no signal ends the program") {
  const TemporaryFile file;
  const auto result =
      bench({"--filename=soft:size=64MiB,file=" + file.path.string(), "--rw=write"}, {.file_limit_bytes = 10 << 10});
  INFO(result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(has(result.err, file.path.string()));
  CHECK(has(result.err, "EFBIG"));
}

TEST_CASE("a thread that cannot be started is an error of one line that names the limit, and nothing hangs") {
  if (pollux::kHasSanitizer) return;  // whose shadow has more addresses than any limit
  const auto [stack_kib, jobs, whose] =
      GENERATE(std::tuple(1 << 20, 1, "soft: the controller's thread"), std::tuple(1 << 18, 4, "a job's thread"));
  const auto result = run_program(
      {"/bin/sh", "-c",
       fmt::format("ulimit -s {} && ulimit -v 900000 && exec {} --filename=soft:null=1,size=1MiB --rw=read --size=64k "
                   "--numjobs={}",
                   stack_kib, POLLUX_BENCH, jobs)});
  INFO(result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(has(result.err, whose));
  CHECK(has(result.err, "RLIMIT_AS"));
  CHECK(std::ranges::count(result.err, '\n') == 1);
}

TEST_CASE("help and version are answers, not errors") {
  CHECK(bench({"--help"}).exit_code == 0);
  CHECK(has(bench({"--version"}).out, "pollux-bench "));
}

TEST_CASE("a verified mix goes on where a server that was killed comes back, and finds what it wrote") {
  pollux::softnvme::Folder folder;
  const std::vector<std::string> serving = {"file=" + folder.path + "/drive,size=16MiB"};
  std::optional<pollux::softnvme::ServerProgram> server(std::in_place, folder, serving);
  auto run = std::async(std::launch::async, [&] {
    return bench({"--filename=vfio-user:" + folder.socket, "--rw=randrw", "--iodepth=16", "--verify=crc32c",
                  "--time_based", "--runtime=1500ms", "--reconnect=10s", "--reissue_writes"});
  });
  CHECK(server->says("connected"));
  pollux::steady_clock().pause_ns(300 * pollux::kNsPerMs);  // some way into the mix
  CHECK(server->end(SIGKILL) == -1);
  server.emplace(folder, serving);
  const auto result = run.get();
  INFO(result.out << result.err);
  CHECK(result.exit_code == 0);
  CHECK(has(result.out, "mismatches: 0\n"));
  CHECK(server->says(" left: "));
  CHECK(server->says("; no violation"));
}

TEST_CASE("without reconnect the death of the server ends the run, and the cause is said") {
  pollux::softnvme::Folder folder;
  pollux::softnvme::ServerProgram server(folder, {"size=16MiB"});
  auto run = std::async(std::launch::async, [&] {
    return bench(
        {"--filename=vfio-user:" + folder.socket, "--rw=randread", "--iodepth=8", "--time_based", "--runtime=1h"});
  });
  CHECK(server.says("connected"));
  pollux::steady_clock().pause_ns(200 * pollux::kNsPerMs);
  CHECK(server.end(SIGKILL) == -1);
  const auto result = run.get();
  INFO(result.out << result.err);
  CHECK(result.exit_code == 1);
  CHECK(has(result.err, "the other side has closed the connection"));
}

TEST_CASE("reconnect is refused for a device that never comes back") {
  const auto result = bench({"--filename=soft:size=1MiB", "--reconnect=1s", "--number_ios=1"});
  CHECK(result.exit_code == 1);
  CHECK(result.out.empty());
  CHECK(lines(result.err) == 1);
  CHECK(has(result.err, "name a vfio-user: device"));
}
