// Job options: what values mean, and that a wrong one is named together with what is valid, and with
// what was meant where that is certain enough.
#include "pollux/bench/options.hpp"

#include <catch2/catch.hpp>

#include "pollux/bench/values.hpp"

using namespace pollux;
using namespace pollux::bench;

namespace {

std::string error_of(std::string_view name, std::string_view value) {
  Job job;
  const auto set = set_job_option(job, name, value);
  return set ? "accepted" : set.error().message();
}

}  // namespace

TEST_CASE("a size takes suffixes that are powers of 1024") {
  CHECK(parse_size("4096") == 4096);
  CHECK(parse_size("4k") == 4096);
  CHECK(parse_size("4K") == 4096);
  CHECK(parse_size("4KiB") == 4096);
  CHECK(parse_size("4kB") == 4096);
  CHECK(parse_size("3M") == 3ull << 20);
  CHECK(parse_size("2GiB") == 2ull << 30);
  CHECK(parse_size("1T") == 1ull << 40);
}

TEST_CASE("what is no size is refused, and so is one beyond 64 bits") {
  for (const char* text :
       {"", "k", "4kk", "4 k", "-4k", "4x", "4ki", "1.5M", "99999999999999999999", "99999999999999999T"}) {
    INFO(text);
    CHECK_FALSE(parse_size(text));
  }
}

TEST_CASE("a time is seconds unless a suffix says otherwise") {
  CHECK(parse_time_ns("10") == 10'000'000'000);
  CHECK(parse_time_ns("10s") == 10'000'000'000);
  CHECK(parse_time_ns("250ms") == 250'000'000);
  CHECK(parse_time_ns("250us") == 250'000);
  CHECK(parse_time_ns("2m") == 120'000'000'000);
  CHECK(parse_time_ns("1h") == 3'600'000'000'000);
  CHECK_FALSE(parse_time_ns("10min"));
  CHECK_FALSE(parse_time_ns("s"));
}

TEST_CASE("a share of the namespace is a percentage up to 100") {
  const auto half = parse_extent("50%");
  REQUIRE(half);
  CHECK(half->percent);
  CHECK(half->value == 50);
  CHECK_FALSE(parse_extent("101%"));
  CHECK_FALSE(parse_extent("50k%"));
}

TEST_CASE("every option of the table sets its field") {
  Job job;
  const std::pair<const char*, const char*> settings[] = {
      {"name", "n"},
      {"filename", "0000:02:00.0"},
      {"rw", "randrw"},
      {"bs", "8k"},
      {"iodepth", "32"},
      {"numjobs", "4"},
      {"size", "1M"},
      {"offset", "25%"},
      {"runtime", "3s"},
      {"time_based", ""},
      {"ramp_time", "1"},
      {"rwmixread", "70"},
      {"number_ios", "99"},
      {"randseed", "5"},
      {"norandommap", "1"},
      {"thread", "0"},
      {"group_reporting", ""},
      {"verify", "crc32c"},
      {"wait", "adaptive"},
      {"reconnect", "5s"},
      {"reissue_writes", ""},
      {"io_timeout", "250ms"},
      {"continue_on_error", "write"},
  };
  for (const auto& [name, value] : settings) {
    INFO(name);
    REQUIRE(set_job_option(job, name, value));
  }
  CHECK(std::size(settings) == job_options().size());
  CHECK(job.name == "n");
  CHECK(job.filename == "0000:02:00.0");
  CHECK(job.rw == Pattern::randrw);
  CHECK(job.bs == 8192);
  CHECK(job.iodepth == 32);
  CHECK(job.numjobs == 4);
  CHECK(job.size.value == 1 << 20);
  CHECK((job.offset.percent && job.offset.value == 25));
  CHECK(job.runtime_ns == 3'000'000'000);
  CHECK(job.time_based);
  CHECK(job.ramp_time_ns == 1'000'000'000);
  CHECK(job.rwmixread == 70);
  CHECK(job.number_ios == 99);
  CHECK(job.randseed == 5);
  CHECK(job.norandommap);
  CHECK_FALSE(job.thread);
  CHECK(job.group_reporting);
  CHECK(job.verify);
  CHECK(job.wait == Wait::adaptive);
  CHECK(job.reconnect_ns == 5'000'000'000);
  CHECK(job.reissue_writes);
  CHECK(job.io_timeout_ns == 250'000'000);
  CHECK(job.continue_on_write_error);
  CHECK_FALSE(job.continue_on_read_error);
}

TEST_CASE("continue_on_error takes fio's words") {
  for (const auto& [word, read, write] : {std::tuple{"none", false, false},
                                          {"read", true, false},
                                          {"write", false, true},
                                          {"io", true, true},
                                          {"verify", false, false},
                                          {"all", true, true}}) {
    Job job;
    REQUIRE(set_job_option(job, "continue_on_error", word));
    CHECK(job.continue_on_read_error == read);
    CHECK(job.continue_on_write_error == write);
  }
}

TEST_CASE("a filename is one address, never split at colons") {
  Job job;
  REQUIRE(set_job_option(job, "filename", "vfio-user:/run/a:b.sock,ns=2"));
  CHECK(job.filename == "vfio-user:/run/a:b.sock,ns=2");
}

TEST_CASE("an unknown option is named with the nearest one") {
  CHECK(error_of("iodpeth", "4") == "there is no option iodpeth: nearest valid option: iodepth");
  CHECK(error_of("run_time", "4") == "there is no option run_time: nearest valid option: runtime");
  CHECK(error_of("frobnicate", "4") ==
        "there is no option frobnicate: \"pollux-bench --help\" lists those that there are");
}

TEST_CASE("an option of fio's that pollux-bench has not is told as that, and never as a slip of the pen for another") {
  for (const char* name : {"rwmixwrite", "offset_increment", "io_size", "bssplit", "iodepth_batch", "blockalign",
                           "rate", "fixedbufs", "hugepage-size", "zoneskip", "alloc-size"}) {
    CHECK(error_of(name, "4") == std::string("there is no option ") + name + ": fio has it, pollux-bench does not");
  }
  for (const char* name : {"mix", "rate rate_cycle", "", " "}) CHECK_FALSE(error_of(name, "4").contains("fio has it"));
}

TEST_CASE("a wrong value is named with its option and the nearest valid value") {
  struct Case {
    const char* name;
    const char* value;
    const char* nearest;
  };
  const Case cases[] = {
      {"rw", "randraed", "randread"}, {"rw", "writ", "write"},    {"bs", "4kk", "4k"},
      {"bs", "100", "512"},           {"bs", "1G", "32M"},        {"iodepth", "0", "1"},
      {"iodepth", "5000", "4095"},    {"numjobs", "0", "1"},      {"rwmixread", "120", "100"},
      {"size", "12Q", "12"},          {"size", "150%", "100%"},   {"runtime", "10min", "10m"},
      {"verify", "crc32", "crc32c"},  {"number_ios", "0", "1"},   {"wait", "intterupt", "interrupt"},
      {"io_timeout", "0", "1ms"},     {"io_timeout", "2d", "1d"}, {"continue_on_error", "raed", "read"},
  };
  for (const Case& c : cases) {
    const std::string message = error_of(c.name, c.value);
    INFO(message);
    CHECK(message.starts_with(std::string(c.name) + "=" + c.value + " is not "));
    CHECK(message.ends_with(std::string("nearest valid value: ") + c.nearest));
  }
}

TEST_CASE("a wrong value that resembles none is answered with what is valid, not with what it did not mean") {
  const char* const kPatterns = " is not one of read, write, randread, randwrite, rw, randrw, readwrite";
  const char* const kExtent = " is not a size such as 1G, or a share of the namespace such as 25%";
  const char* const kTime = " is not a time (us, ms, s, m, h, d; plain: seconds)";
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"rw", "trim", kPatterns},
      {"rw", "trimwrite", kPatterns},
      {"rw", "rand", kPatterns},
      {"rw", "write:112k", kPatterns},
      {"offset", "-4k", kExtent},
      {"size", "1.5M", kExtent},
      {"bs", "frog", " is not a number such as 4k"},
      {"bs", "4k,8k", " is not a number such as 4k"},
      {"runtime", "soon", kTime},
      {"io_timeout", "soon", kTime},
      {"time_based", "yes", " is not 0 or 1"},
      {"norandommap", "no", " is not 0 or 1"},
      {"verify", "md5", " is not one of crc32c, 0"},
      {"wait", "spin", " is not one of poll, adaptive, interrupt, monitor"},
  };
  for (const auto& [name, value, valid] : cases)
    CHECK(error_of(name, value) == std::string(name) + "=" + value + valid);
}

TEST_CASE("verify=0 verifies nothing, as in fio") {
  Job job;
  REQUIRE(set_job_option(job, "verify", "crc32c"));
  REQUIRE(set_job_option(job, "verify", "0"));
  CHECK_FALSE(job.verify);
}

TEST_CASE("options that make no sense together are refused") {
  Job job;
  job.time_based = true;
  CHECK(check_job(job).error().message() ==
        "job \"pollux-bench\": time_based=1 wants a runtime: nearest valid: runtime=10s with it");
  job.time_based = false;
  job.verify = true;
  job.rw = Pattern::randread;
  const std::string message = check_job(job).error().message();
  CHECK(message.find("verify=crc32c with rw=randread") != std::string::npos);
  CHECK(message.ends_with("leave verify out, or have the job write as well, with rw=randrw"));
}
