// The command line: flags in both spellings, several jobs, and what is wrong with it.
#include "pollux/bench/command_line.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace pollux;
using namespace pollux::bench;

namespace {

Result<CommandLine> parse(std::vector<const char*> arguments) { return parse_command_line(arguments); }

std::string error_of(std::vector<const char*> arguments) {
  const auto line = parse(std::move(arguments));
  return line ? "accepted" : line.error().message();
}

}  // namespace

TEST_CASE("a flag's value stands behind an equals sign or is the next argument") {
  const auto line = parse({"--rw=randread", "--bs", "8k", "--time_based", "--runtime", "2", "--thread=1"});
  REQUIRE(line);
  REQUIRE(line->list.jobs.size() == 1);
  const Job& job = line->list.jobs[0];
  CHECK(job.rw == Pattern::randread);
  CHECK(job.bs == 8192);
  CHECK(job.time_based);
  CHECK(job.runtime_ns == 2'000'000'000);
}

TEST_CASE("a second name begins a second job") {
  const auto line = parse({"--bs=8k", "--name=a", "--rw=read", "--name=b", "--rw=write"});
  REQUIRE(line);
  REQUIRE(line->list.jobs.size() == 2);
  CHECK(line->list.jobs[0].name == "a");
  CHECK(line->list.jobs[0].bs == 8192);
  CHECK(line->list.jobs[1].name == "b");
  CHECK(line->list.jobs[1].bs == 4096);
  CHECK(line->list.jobs[1].rw == Pattern::write);
}

TEST_CASE("a job file comes with the program's own options") {
  const auto line = parse({"jobs.fio", "--output-format=json", "--output", "report.json"});
  REQUIRE(line);
  CHECK(line->job_file == "jobs.fio");
  CHECK(line->format == Format::json);
  CHECK(line->output == "report.json");
}

TEST_CASE("a wrong flag is named with the nearest one") {
  CHECK(error_of({"--rww=read"}) == "there is no option --rww: nearest valid option: --rw");
  CHECK(error_of({"--outptu=x"}) == "there is no option --outptu: nearest valid option: --output");
  CHECK(error_of({"-bs=4k"}) == "there is no option -bs=4k: nearest valid option: --bs");
  CHECK(error_of({"--output-format=jsno"}) == "output-format=jsno is not normal or json: nearest valid value: json");
  CHECK(error_of({"--bs"}) == "--bs has no value: write --bs=SIZE");
  CHECK(error_of({"--bs=4q"}) == "bs=4q is not a number: nearest valid value: 4");
}

TEST_CASE("a job file and job options at once are refused, in either order, and so are two files and none") {
  CHECK(error_of({"a.fio", "--bs=4k"}).starts_with("job file a.fio and job options at once"));
  CHECK(error_of({"--bs=4k", "a.fio"}).starts_with("job file a.fio and job options at once"));
  CHECK(error_of({"a.fio", "b.fio"}).starts_with("two job files, a.fio and b.fio"));
  CHECK(error_of({}).starts_with("no job"));
  CHECK(error_of({"--output-format=json"}).starts_with("no job"));
}

TEST_CASE("the help names every option") {
  const std::string help = help_text();
  for (const char* flag : {"--rw=", "--bs=", "--verify=", "--output-format=", "--group_reporting"}) {
    INFO(flag);
    CHECK(help.find(flag) != std::string::npos);
  }
}
