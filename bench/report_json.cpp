#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "pollux/bench/report.hpp"

namespace pollux::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPercentiles[] = {1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99};

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

Json latency(const Moments& moments) {
  return {{"min", moments.minimum()},
          {"max", moments.most},
          {"mean", moments.mean()},
          {"stddev", moments.deviation()},
          {"N", moments.count}};
}

Json direction(const ReportEntry& entry, Direction d, double bandwidth_of_all) {
  const auto index = static_cast<std::size_t>(d);
  const DirectionStatistics& s = entry.statistics.of(d);
  const double bytes_per_second = per_second(s.bytes, entry.runtime_ns);
  Json clat = latency(s.clat);
  if (s.clat.count != 0) {
    for (const double p : kPercentiles) {
      clat["percentile"][fmt::format("{:.6f}", p)] =
          std::clamp(s.clat_histogram.percentile(p), s.clat.minimum(), s.clat.most);
    }
  }
  const Moments& bw = entry.bandwidth_kib[index];
  const Moments& iops = entry.iops[index];
  return {
      {"io_bytes", s.bytes},
      {"io_kbytes", s.bytes >> 10},
      {"bw_bytes", static_cast<std::uint64_t>(bytes_per_second)},
      {"bw", static_cast<std::uint64_t>(bytes_per_second) >> 10},
      {"iops", per_second(s.ios, entry.runtime_ns)},
      {"runtime", s.ios == 0 ? 0 : entry.runtime_ns / 1'000'000},
      {"total_ios", s.ios},
      {"short_ios", 0},
      {"drop_ios", 0},
      {"slat_ns", latency(s.slat)},
      {"clat_ns", std::move(clat)},
      {"lat_ns", latency(s.lat)},
      {"bw_min", bw.minimum()},
      {"bw_max", bw.most},
      {"bw_agg", bandwidth_of_all == 0 ? 0.0 : std::min(100.0, 100.0 * bw.mean() * 1024 / bandwidth_of_all)},
      {"bw_mean", bw.mean()},
      {"bw_dev", bw.deviation()},
      {"bw_samples", bw.count},
      {"iops_min", iops.minimum()},
      {"iops_max", iops.most},
      {"iops_mean", iops.mean()},
      {"iops_stddev", iops.deviation()},
      {"iops_samples", iops.count},
  };
}

template <std::size_t n>
Json shares(const std::array<std::string_view, n>& names, const std::array<std::uint64_t, n>& counts) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) total += count;
  Json json = Json::object();
  for (std::size_t i = 0; i < n; ++i) json[std::string(names[i])] = percent(counts[i], total);
  return json;
}

struct LatencyClass {
  std::string_view group;
  std::string_view name;
  std::uint64_t below_ns;
};

// fio's classes of completion latency; the last takes the rest.
constexpr LatencyClass kLatencyClasses[] = {
    {"latency_ns", "2", 2},
    {"latency_ns", "4", 4},
    {"latency_ns", "10", 10},
    {"latency_ns", "20", 20},
    {"latency_ns", "50", 50},
    {"latency_ns", "100", 100},
    {"latency_ns", "250", 250},
    {"latency_ns", "500", 500},
    {"latency_ns", "750", 750},
    {"latency_ns", "1000", 1'000},
    {"latency_us", "2", 2'000},
    {"latency_us", "4", 4'000},
    {"latency_us", "10", 10'000},
    {"latency_us", "20", 20'000},
    {"latency_us", "50", 50'000},
    {"latency_us", "100", 100'000},
    {"latency_us", "250", 250'000},
    {"latency_us", "500", 500'000},
    {"latency_us", "750", 750'000},
    {"latency_us", "1000", 1'000'000},
    {"latency_ms", "2", 2'000'000},
    {"latency_ms", "4", 4'000'000},
    {"latency_ms", "10", 10'000'000},
    {"latency_ms", "20", 20'000'000},
    {"latency_ms", "50", 50'000'000},
    {"latency_ms", "100", 100'000'000},
    {"latency_ms", "250", 250'000'000},
    {"latency_ms", "500", 500'000'000},
    {"latency_ms", "750", 750'000'000},
    {"latency_ms", "1000", 1'000'000'000},
    {"latency_ms", "2000", 2'000'000'000},
    {"latency_ms", ">=2000", ~0ull},
};

// To within the histogram's resolution.
void add_latency_classes(Json& json, const Statistics& statistics) {
  std::array<std::uint64_t, std::size(kLatencyClasses)> counts{};
  std::uint64_t total = 0;
  for (const DirectionStatistics& s : statistics.direction) {
    s.clat_histogram.for_each([&](std::uint64_t ns, std::uint64_t count) {
      const auto* found = std::ranges::upper_bound(kLatencyClasses, ns, {}, &LatencyClass::below_ns);
      counts[static_cast<std::size_t>(found - kLatencyClasses)] += count;
      total += count;
    });
  }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    json[std::string(kLatencyClasses[i].group)][std::string(kLatencyClasses[i].name)] = percent(counts[i], total);
  }
}

Json options(const std::vector<std::pair<std::string, std::string>>& given) {
  Json json = Json::object();
  for (const auto& [name, value] : given) json[name] = value;
  return json;
}

Json entry_json(const ReportEntry& entry, const std::array<double, kDirections>& bandwidth_of_all) {
  const Statistics& statistics = entry.statistics;
  Json json = {
      {"jobname", entry.job->name},
      {"groupid", 0},
      {"error", entry.error},
      {"eta", 0},
      {"elapsed", (entry.longest_ns + 999'999'999) / 1'000'000'000},
      {"job options", options(entry.job->given)},
      {"read", direction(entry, Direction::read, bandwidth_of_all[0])},
      {"write", direction(entry, Direction::write, bandwidth_of_all[1])},
  };
  // No trim and no sync is ever issued: an entry that measured nothing.
  const ReportEntry nothing;
  json["trim"] = direction(nothing, Direction::write, 0);
  json["sync"] = {{"total_ios", 0}, {"lat_ns", latency({})}};
  json["job_runtime"] = entry.runtime_sum_ns / 1'000'000;
  json["usr_cpu"] = percent(entry.cpu.user_us, entry.cpu.wall_us);
  json["sys_cpu"] = percent(entry.cpu.system_us, entry.cpu.wall_us);
  json["ctx"] = entry.cpu.context_switches;
  json["majf"] = entry.cpu.major_faults;
  json["minf"] = entry.cpu.minor_faults;
  json["iodepth_level"] = shares<7>({"1", "2", "4", "8", "16", "32", ">=64"}, statistics.depth);
  json["iodepth_submit"] = shares<7>({"0", "4", "8", "16", "32", "64", ">=64"}, statistics.submitted);
  json["iodepth_complete"] = shares<7>({"0", "4", "8", "16", "32", "64", ">=64"}, statistics.completed);
  add_latency_classes(json, statistics);
  json["latency_depth"] = entry.job->iodepth;
  json["latency_target"] = 0;
  json["latency_percentile"] = 100.0;
  json["latency_window"] = 0;
  if (entry.continues_on_error) {
    json["total_err"] = entry.io_errors;
    json["first_error"] = entry.first_io_error;
  }
  json["pollux requests"] = {{"submitted", entry.submitted}, {"answered", entry.answered}};
  if (entry.verify.asked) {
    json["pollux verify"] = {{"written_blocks", entry.verify.written_blocks},
                             {"checked_in_mix", entry.verify.checked_in_mix},
                             {"checked_at_end", entry.verify.checked_at_end},
                             {"mismatches", entry.verify.mismatches},
                             {"last_pass_skipped", entry.verify.last_pass_skipped}};
  }
  return json;
}

}  // namespace

std::string json_report(const Report& report) {
  std::array<double, kDirections> bandwidth_of_all{};
  for (const ReportEntry& entry : report.entries) {
    for (std::size_t d = 0; d < kDirections; ++d) {
      bandwidth_of_all[d] += per_second(entry.statistics.direction[d].bytes, entry.runtime_ns);
    }
  }

  const auto seconds = static_cast<std::time_t>(report.unix_time_ms / 1000);
  std::tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 64> time_text{};
  std::strftime(time_text.data(), time_text.size(), "%a %b %e %H:%M:%S %Y", &local);

  Json json = {{"fio version", "pollux-bench-" POLLUX_VERSION},
               {"timestamp", report.unix_time_ms / 1000},
               {"timestamp_ms", report.unix_time_ms},
               {"time", time_text.data()}};
  if (!report.list->global.empty()) json["global options"] = options(report.list->global);
  json["jobs"] = Json::array();
  for (const ReportEntry& entry : report.entries) json["jobs"].push_back(entry_json(entry, bandwidth_of_all));
  Json drives = Json::array();
  for (const DriveReport& drive : report.drives) {
    Json d = {{"address", drive.address}};
    if (drive.violations) d["violations"] = *drive.violations;
    for (const softnvme::MetFault& met : drive.met_faults) d["faults met"][std::string(met.name)] = met.times;
    drives.push_back(std::move(d));
  }
  json["pollux"] = {{"interrupted", report.interrupted}, {"drives", std::move(drives)}};
  return json.dump(2) + "\n";
}

}  // namespace pollux::bench
