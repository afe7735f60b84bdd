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

TEST_CASE("each name begins a job, and options before the first are defaults for all of them") {
  const auto line = parse({"--bs=8k", "--filename=soft:size=1MiB", "--name=a", "--rw=read", "--name=b", "--rw=write"});
  REQUIRE(line);
  REQUIRE(line->list.jobs.size() == 2);
  CHECK(line->list.jobs[0].name == "a");
  CHECK(line->list.jobs[0].bs == 8192);
  CHECK(line->list.jobs[1].name == "b");
  CHECK(line->list.jobs[1].bs == 8192);
  CHECK(line->list.jobs[1].rw == Pattern::write);
  CHECK(line->list.jobs[1].filename == "soft:size=1MiB");
}

TEST_CASE("global is no job: what follows it are defaults for the jobs behind it, and for no other") {
  const auto line = parse({"--name=first", "--name=global", "--filename=soft:size=1MiB", "--rw=randwrite", "--bs=8k",
                           "--name=a", "--name", "global", "--bs=16k", "--name=b", "--rw=read"});
  REQUIRE(line);
  REQUIRE(line->list.jobs.size() == 3);
  CHECK(line->list.jobs[0].rw == Pattern::read);
  CHECK_FALSE(line->list.jobs[0].names_device);
  CHECK(line->list.jobs[1].name == "a");
  CHECK(line->list.jobs[1].rw == Pattern::randwrite);
  CHECK(line->list.jobs[1].filename == "soft:size=1MiB");
  CHECK(line->list.jobs[1].bs == 8192);
  CHECK(line->list.jobs[2].filename == "soft:size=1MiB");
  CHECK(line->list.jobs[2].bs == 16384);
  CHECK(line->list.jobs[2].rw == Pattern::read);
  CHECK(error_of({"--name=global", "--rw=read"}) ==
        "no job: --name=global gives defaults to others: begin one with --name=NAME");
}

TEST_CASE("options without a name are one job's own") {
  const auto line = parse({"--bs=8k", "--rw=read"});
  REQUIRE(line);
  REQUIRE(line->list.jobs.size() == 1);
  CHECK(line->list.global.empty());
  CHECK(line->list.jobs[0].given.size() == 2);
}

TEST_CASE("a job that writes names its device, and one alone") {
  CHECK(error_of({"--name=a", "--rw=randwrite"}) ==
        "job \"a\": rw=randwrite writes, and no filename says where: name the device; filename=soft:size=1GiB is the "
        "software controller");
  CHECK(error_of({"--name=a", "--filename=soft:size=1MiB", "--rw=write", "--name=b", "--rw=rw"})
            .starts_with("job \"b\": rw=rw writes, and no filename says where"));
  CHECK(error_of({"--filename=soft:size=1MiB", "--filename=soft:size=2MiB", "--rw=write"}) ==
        "filename is given twice, soft:size=1MiB and soft:size=2MiB: a job has one device: begin a job for each");
  CHECK(error_of({"--name=global", "--filename=a:b", "--filename=c:d", "--name=a"}).starts_with("filename is given"));
  CHECK(parse({"--filename=soft:size=1MiB", "--name=a", "--filename=soft:size=2MiB"}));  // a default, and one's own
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
  CHECK(error_of({"-bs=4k"}) == "there is no option -bs=4k: write --bs=4k");
  CHECK(error_of({"-h"}) == "there is no option -h: \"pollux-bench --help\" lists those that there are");
  CHECK(error_of({"--minimal"}) == "there is no option --minimal: fio has it, pollux-bench does not");
  CHECK(error_of({"--output-format=terse"}) == "output-format=terse is not normal or json");
  CHECK(error_of({"--output-format=jsno"}) == "output-format=jsno is not normal or json: nearest valid value: json");
  CHECK(error_of({"--bs"}) == "--bs has no value: write --bs=SIZE");
  CHECK(error_of({"--bs=4q"}) == "bs=4q is not a number such as 4k: nearest valid value: 4");
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
