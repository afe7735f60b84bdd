// pollux-bench on a controller that one command in a hundred has trouble with: no byte is wrong, no request is lost.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "pollux/tests/sanitizer.hpp"
#include "pollux/tests/unit/bench/program.hpp"

using namespace pollux;
using namespace pollux::bench;
using Json = nlohmann::json;

namespace {

ProgramResult faulty_mix(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {POLLUX_BENCH,      "--filename=soft:size=4MiB,faults=1%",
                                        "--rw=randrw",     "--rwmixread=70",
                                        "--bs=4k",         "--iodepth=32",
                                        "--numjobs=2",     "--group_reporting",
                                        "--verify=crc32c", "--time_based",
                                        "--runtime=2s",    "--io_timeout=100ms",
                                        "--norandommap",   "--output-format=json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

}  // namespace

TEST_CASE("a verified mix under faults of every kind has no mismatch, no lost request and no violation") {
  const bool reissue_writes = kHasSanitizer ? true : GENERATE(false, true);  // 8 s each; the way with more in it
  const auto result =
      faulty_mix({"--continue_on_error=io", std::string("--reissue_writes=") + (reissue_writes ? "1" : "0")});
  INFO(result.err << result.out);
  REQUIRE(result.exit_code == 0);
  const Json report = Json::parse(result.out);
  const Json& job = report["jobs"][0];
  CHECK(job["error"] == 0);
  CHECK(job["total_err"] > 0);
  CHECK(job["first_error"] == 5);
  CHECK(job["pollux requests"]["submitted"] > 0);
  CHECK(job["pollux requests"]["submitted"] == job["pollux requests"]["answered"]);
  CHECK(job["pollux verify"]["mismatches"] == 0);
  CHECK(job["pollux verify"]["checked_in_mix"] > 0);
  CHECK(job["pollux verify"]["written_blocks"] > 0);
  CHECK(job["pollux verify"]["checked_at_end"] == job["pollux verify"]["written_blocks"]);
  const Json& drive = report["pollux"]["drives"][0];
  CHECK(drive["violations"] == 0);
  CHECK(drive["faults met"].size() == 7);
  std::uint64_t met = 0;  // of each kind on a quick machine; test-softnvme sees to that
  for (const auto& [kind, times] : drive["faults met"].items()) met += times.get<std::uint64_t>();
  CHECK(met > 0);
}

TEST_CASE("without continue_on_error the first error ends the jobs, and the program says which") {
  const auto result = faulty_mix({});
  INFO(result.err << result.out);
  CHECK(result.exit_code == 1);
  CHECK(result.err.find(" of 4096 bytes at offset ") != std::string::npos);
  CHECK(Json::parse(result.out)["jobs"][0]["error"] == 5);
}
