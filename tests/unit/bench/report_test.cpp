// Reports and the live line: figures that a person can check by hand.
#include "pollux/bench/report.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "pollux/bench/live_line.hpp"
#include "pollux/bench/sampler.hpp"

using namespace pollux::bench;

namespace {

// A thousand reads of 4 KiB in half a second: completed after 1 to 1000 microseconds, submitted in 50 ns.
struct Fixture {
  JobList list;
  Report report;

  Fixture() {
    Job job;
    job.name = "reads";
    job.rw = Pattern::randread;
    job.iodepth = 8;
    job.given = {{"rw", "randread"}, {"iodepth", "8"}};
    list.jobs.push_back(job);
    report.list = &list;
    report.unix_time_ms = 1'700'000'000'123;
    ReportEntry& entry = report.entries.emplace_back();
    entry.job = &list.jobs[0];
    entry.jobs = 1;
    entry.runtime_ns = entry.runtime_sum_ns = 500'000'000;
    entry.longest_ns = 1'200'000'000;
    entry.cpu.user_us = 250'000;
    entry.cpu.wall_us = 1'000'000;
    DirectionStatistics& reads = entry.statistics.of(Direction::read);
    for (std::uint64_t i = 1; i <= 1000; ++i) {
      ++reads.ios;
      reads.bytes += 4096;
      reads.slat.add(50);
      reads.clat.add(i * 1000);
      reads.lat.add(i * 1000 + 50);
      reads.slat_histogram.add(50);
      reads.clat_histogram.add(i * 1000);
    }
    entry.statistics.depth = {0, 0, 250, 750, 0, 0, 0};
    report.drives.push_back({.address = "soft:", .violations = 0, .met_faults = {}, .texts = {}});
  }
};

}  // namespace

TEST_CASE("figures are four digits and a unit") {
  CHECK(count_text(0) == "0");
  CHECK(count_text(999) == "999");
  CHECK(count_text(1234) == "1.234k");
  CHECK(count_text(1'234'567) == "1.235M");
  CHECK(bandwidth_text(1536) == "1.500KiB/s");
  CHECK(bandwidth_text(123.4 * 1024 * 1024) == "123.4MiB/s");
  CHECK(latency_text(812) == "812ns");
  CHECK(latency_text(12'345) == "12.35us");
  CHECK(latency_text(2.5e9) == "2.500s");
}

TEST_CASE("the text has IOPS, bandwidth, both latencies and the violations") {
  const Fixture fixture;
  const std::string text = text_report(fixture.report);
  INFO(text);
  CHECK(text.find("reads: (jobs=1) rw=randread, bs=4096, iodepth=8, soft:size=1GiB: error=0\n") == 0);
  CHECK(text.find(" read: IOPS=2.000k, BW=7.812MiB/s, 1000 requests, 3.906MiB in 500 ms\n") != std::string::npos);
  CHECK(text.find("    mean      p50      p90      p99    p99.9   p99.99      max\n") != std::string::npos);
  CHECK(text.find("    slat     50ns     50ns     50ns     50ns     50ns     50ns     50ns\n") != std::string::npos);
  CHECK(text.find("    clat  500.5us ") != std::string::npos);
  CHECK(text.find("1.000ms\n") != std::string::npos);
  CHECK(text.find("write:") == std::string::npos);
  CHECK(text.find("cpu: user 25.0%, system 0.0%") != std::string::npos);
  CHECK(text.find("violations: 0 (soft:)\n") != std::string::npos);
  CHECK(text.find("verify") == std::string::npos);
  CHECK_FALSE(fixture.report.failed());
}

TEST_CASE("verification and an early end are part of the text") {
  Fixture fixture;
  fixture.report.entries[0].verify = {.asked = true,
                                      .written_blocks = 10,
                                      .checked_in_mix = 7,
                                      .checked_at_end = 4,
                                      .mismatches = 0,
                                      .last_pass_skipped = true};
  fixture.report.interrupted = true;
  const std::string text = text_report(fixture.report);
  CHECK(
      text.find(
          "verify: 7 reads checked in the mix, 4 of 10 written blocks in the last pass (cut short), mismatches: 0\n") !=
      std::string::npos);
  CHECK(text.ends_with("interrupted: this is what was measured until then\n"));
}

TEST_CASE("errors that a job outlived, its requests, and the faults that were met are told, and fail no run") {
  Fixture fixture;
  CHECK(text_report(fixture.report).find("errors:") == std::string::npos);
  ReportEntry& entry = fixture.report.entries[0];
  entry.submitted = entry.answered = 1002;
  entry.io_errors = 2;
  entry.first_io_error = 5;
  entry.continues_on_error = true;
  fixture.report.drives[0].met_faults = {{"hang", 3}, {"drop", 0}};
  const std::string text = text_report(fixture.report);
  INFO(text);
  CHECK(text.find("  requests: 1002 submitted, 1002 answered; errors: 2, first_error=5\n") != std::string::npos);
  CHECK(text.ends_with("faults met: 3 hang, 0 drop (soft:)\n"));
  CHECK_FALSE(fixture.report.failed());
  const auto json = nlohmann::json::parse(json_report(fixture.report));
  CHECK(json["jobs"][0]["total_err"] == 2);
  CHECK(json["jobs"][0]["first_error"] == 5);
  CHECK(json["jobs"][0]["pollux requests"] == nlohmann::json{{"submitted", 1002}, {"answered", 1002}});
  CHECK(json["pollux"]["drives"][0]["faults met"] == nlohmann::json{{"hang", 3}, {"drop", 0}});
}

TEST_CASE("an error, a violation or trouble with a drive is a failure") {
  Fixture error, violation, trouble;
  error.report.entries[0].error = 5;
  violation.report.drives[0].violations = 1;
  trouble.report.drives[0].texts.push_back("disk full");
  CHECK(error.report.failed());
  CHECK(violation.report.failed());
  CHECK(trouble.report.failed());
}

TEST_CASE("the JSON has the same figures under fio's keys") {
  const Fixture fixture;
  const auto json = nlohmann::json::parse(json_report(fixture.report));
  CHECK(json["timestamp"] == 1'700'000'000);
  CHECK(json["timestamp_ms"] == 1'700'000'000'123);
  CHECK_FALSE(json.contains("global options"));
  const auto& job = json["jobs"][0];
  CHECK(job["jobname"] == "reads");
  CHECK(job["elapsed"] == 2);
  CHECK(job["job options"] == nlohmann::json{{"rw", "randread"}, {"iodepth", "8"}});
  CHECK(job["usr_cpu"] == 25.0);
  CHECK(job["iodepth_level"]["4"] == 25.0);
  CHECK(job["iodepth_level"]["8"] == 75.0);
  const auto& read = job["read"];
  CHECK(read["io_bytes"] == 4'096'000);
  CHECK(read["io_kbytes"] == 4'000);
  CHECK(read["bw_bytes"] == 8'192'000);
  CHECK(read["bw"] == 8'000);
  CHECK(read["iops"] == 2000.0);
  CHECK(read["runtime"] == 500);
  CHECK(read["clat_ns"]["min"] == 1000);
  CHECK(read["clat_ns"]["max"] == 1'000'000);
  CHECK(read["clat_ns"]["mean"] == Approx(500'500.0));
  CHECK(read["clat_ns"]["N"] == 1000);
  CHECK(read["clat_ns"]["percentile"].size() == 17);
  CHECK(read["clat_ns"]["percentile"]["99.000000"].get<double>() == Approx(990'000).epsilon(1.0 / 64));
  CHECK(read["clat_ns"]["percentile"]["99.990000"].get<double>() <= 1'000'000);
  CHECK(job["write"]["total_ios"] == 0);
  CHECK(job["write"]["runtime"] == 0);
  CHECK(job["latency_us"]["500"].get<double>() == Approx(25.0).margin(1.0));
  CHECK(json["pollux"]["drives"][0]["violations"] == 0);
  double shares = 0;
  for (const char* group : {"latency_ns", "latency_us", "latency_ms"}) {
    for (const auto& share : job[group]) shares += share.get<double>();
  }
  CHECK(shares == Approx(100.0));
}

TEST_CASE("the live line tells progress, IOPS, bandwidth and time left") {
  LiveState state{
      .verifying = false, .done = 0.423, .iops = {1'234'567, 500}, .bytes_per_second = 4.5 * (1 << 30), .left_s = 3725};
  CHECK(live_text(state) == " 42.3%  read 1.235M IOPS, write 500 IOPS, 4.500GiB/s, 1:02:05 left");
  state.verifying = true;
  CHECK(live_text(state).starts_with("verify "));
}

TEST_CASE("samples cover half seconds of what jobs did together, and no ramp") {
  std::vector<Progress> progress(2);
  const std::vector<std::size_t> jobs = {0, 1};
  Sampler sampler;
  const auto at = [&](std::uint64_t ms, std::uint64_t first, std::uint64_t second) {
    progress[0].ios[0] = first;
    progress[0].bytes[0] = first * 4096;
    progress[1].ios[0] = second;
    progress[1].bytes[0] = second * 4096;
    sampler.update(jobs, progress, ms * 1'000'000);
  };
  at(0, 0, 0);
  at(600, 9999, 9999);
  CHECK(sampler.iops()[0].count == 0);
  progress[0].phase = progress[1].phase = Phase::measure;
  at(700, 10'000, 10'000);
  at(900, 10'500, 10'500);
  at(1200, 11'000, 11'000);
  at(1700, 11'500, 11'500);
  CHECK(sampler.iops()[0].count == 2);
  CHECK(sampler.iops()[0].minimum() == 2000);
  CHECK(sampler.iops()[0].most == 4000);
  CHECK(sampler.bandwidth_kib()[0].most == 16'000);
  CHECK(sampler.iops()[1].count == 0);
}
