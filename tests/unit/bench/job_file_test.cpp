// Job files: sections, defaults, comments, and errors that name the file and the line.
#include "pollux/bench/job_file.hpp"

#include <catch2/catch.hpp>

using namespace pollux;
using namespace pollux::bench;

namespace {

std::string error_of(std::string_view text) {
  const auto list = parse_job_file(text, "a.fio");
  return list ? "accepted" : list.error().message();
}

}  // namespace

TEST_CASE("a job takes what the global sections above it gave, and its own options over that") {
  const auto list = parse_job_file(
      "; a comment\n"
      "# another\n"
      "[global]\n"
      "bs=8k\n"
      "iodepth=4\n"
      "filename=soft:size=1MiB\n"
      "\n"
      "[first]\n"
      "rw=randread\n"
      "bs = 16k   # own\n"
      "[global]\n"
      "iodepth=8\n"
      "[second]\n"
      "\trw=write\r\n"
      "time_based\n"
      "runtime=1\n",
      "a.fio");
  REQUIRE(list);
  REQUIRE(list->jobs.size() == 2);
  const Job& first = list->jobs[0];
  CHECK(first.name == "first");
  CHECK(first.rw == Pattern::randread);
  CHECK(first.bs == 16384);
  CHECK(first.iodepth == 4);
  const Job& second = list->jobs[1];
  CHECK(second.name == "second");
  CHECK(second.rw == Pattern::write);
  CHECK(second.bs == 8192);
  CHECK(second.iodepth == 8);
  CHECK(second.time_based);
}

TEST_CASE("options are kept as written, the global ones apart") {
  const auto list = parse_job_file("[global]\nbs=8k\nthread\n[a]\nsize=1M\n", "a.fio");
  REQUIRE(list);
  using Given = std::vector<std::pair<std::string, std::string>>;
  CHECK(list->global == Given{{"bs", "8k"}});
  CHECK(list->jobs[0].given == Given{{"size", "1M"}});
}

TEST_CASE("a sign of a comment within a value is part of the value") {
  const auto list = parse_job_file("[a]\nfilename=soft:file=/tmp/a;b#c ; here it begins\n", "a.fio");
  REQUIRE(list);
  CHECK(list->jobs[0].filename == "soft:file=/tmp/a;b#c");
}

TEST_CASE("fio's other names of an option are that option, also in what is reported as given") {
  const auto list =
      parse_job_file("[global]\nblocksize=8k\n[a]\nreadwrite=randread\ntimeout=7\nfileoffset=1M\n", "a.fio");
  REQUIRE(list);
  using Given = std::vector<std::pair<std::string, std::string>>;
  CHECK(list->global == Given{{"bs", "8k"}});
  CHECK(list->jobs[0].given == Given{{"rw", "randread"}, {"runtime", "7"}, {"offset", "1M"}});
  CHECK(list->jobs[0].bs == 8192);
  CHECK(list->jobs[0].rw == Pattern::randread);
  CHECK(list->jobs[0].runtime_ns == 7'000'000'000);
  CHECK(list->jobs[0].offset.value == 1 << 20);
  CHECK(error_of("[a]\nblocksize=4q\n").starts_with("a.fio:2: blocksize=4q is not a number"));
}

TEST_CASE("an unknown key is named with file, line and the nearest one") {
  CHECK(error_of("[a]\nrw=read\nblockalign=4k\n") ==
        "a.fio:3: there is no option blockalign: fio has it, pollux-bench does not");
  CHECK(error_of("[global]\n\n# x\niodeph=4\n[a]\n") ==
        "a.fio:4: there is no option iodeph: nearest valid option: iodepth");
}

TEST_CASE("a wrong value is named with file and line") {
  CHECK(error_of("[a]\nbs=4q\n") == "a.fio:2: bs=4q is not a number such as 4k: nearest valid value: 4");
  CHECK(error_of("[a]\nrw\n").starts_with("a.fio:2: rw= is not one of read, write"));
}

TEST_CASE("options outside a section, broken sections and empty files are refused") {
  CHECK(error_of("bs=4k\n[a]\n").starts_with("a.fio:1: \"bs=4k\" stands outside a section"));
  CHECK(error_of("[a\nbs=4k\n").starts_with("a.fio:1: \"[a\" is not a section's name"));
  CHECK(error_of("[]\n").starts_with("a.fio:1: "));
  CHECK(error_of("[global]\nbs=4k\n").starts_with("a.fio: there is no job in this file"));
  CHECK(error_of("").starts_with("a.fio: there is no job in this file"));
}

TEST_CASE("a section that writes names its device, and one alone") {
  CHECK(error_of("[a]\nbs=4k\n[b]\nrw=randrw\n[c]\n")
            .starts_with("a.fio:3: job \"b\": rw=randrw writes, and no filename says where"));
  CHECK(error_of("[a]\nfilename=soft:size=1MiB\nrw=write\nfilename=soft:size=2MiB\n")
            .starts_with("a.fio:4: filename is given twice, soft:size=1MiB and soft:size=2MiB"));
  CHECK(error_of("[global]\nfilename=soft:size=1MiB\n[a]\nfilename=soft:size=2MiB\nrw=write\n") == "accepted");
}

TEST_CASE("what a job lacks is told with the line of its section") {
  CHECK(error_of("[a]\nbs=4k\n[b]\ntime_based\n[c]\n").starts_with("a.fio:3: job \"b\": time_based=1 wants a runtime"));
  CHECK(error_of("[a]\nbs=4k\n[b]\ntime_based\n").starts_with("a.fio:3: job \"b\": time_based=1 wants a runtime"));
}

TEST_CASE("a job file that is not there is named") {
  const auto list = read_job_file("/nonexistent/jobs.fio");
  REQUIRE_FALSE(list);
  CHECK(list.error().message().starts_with("cannot open job file /nonexistent/jobs.fio (ENOENT"));
}
