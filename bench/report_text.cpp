#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "pollux/bench/report.hpp"

namespace pollux::bench {
namespace {

// Four digits and the largest unit that leaves at least one before the point.
std::string scaled(double value, double step, std::span<const std::string_view> units) {
  std::size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f}{}", value, units[0]);
  const int decimals = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3;
  return fmt::format("{:.{}f}{}", value, decimals, units[unit]);
}

void add_latency(std::string& text, std::string_view name, const Moments& moments, const Histogram& histogram) {
  const auto at = [&](double percent) {
    return latency_text(
        static_cast<double>(std::clamp(histogram.percentile(percent), moments.minimum(), moments.most)));
  };
  text += fmt::format("    {} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", name, latency_text(moments.mean()), at(50),
                      at(90), at(99), at(99.9), at(99.99), latency_text(static_cast<double>(moments.most)));
}

void add_direction(std::string& text, std::string_view name, const ReportEntry& entry, Direction direction) {
  const DirectionStatistics& s = entry.statistics.of(direction);
  if (s.ios == 0) return;
  text += fmt::format(
      "  {}: IOPS={}, BW={}, {} requests, {} in {} ms\n", name, count_text(per_second(s.ios, entry.runtime_ns)),
      bandwidth_text(per_second(s.bytes, entry.runtime_ns)), s.ios,
      scaled(static_cast<double>(s.bytes), 1024, std::array<std::string_view, 5>{"B", "KiB", "MiB", "GiB", "TiB"}),
      entry.runtime_ns / 1'000'000);
  text += fmt::format("         {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}\n", "mean", "p50", "p90", "p99", "p99.9",
                      "p99.99", "max");
  add_latency(text, "slat", s.slat, s.slat_histogram);
  add_latency(text, "clat", s.clat, s.clat_histogram);
}

void add_verify(std::string& text, const VerifyCounts& verify) {
  if (!verify.asked) return;
  text +=
      fmt::format("  verify: {} reads checked in the mix, {} of {} written blocks in the last pass{}, mismatches: {}\n",
                  verify.checked_in_mix, verify.checked_at_end, verify.written_blocks,
                  verify.last_pass_skipped ? " (cut short)" : "", verify.mismatches);
}

void add_errors(std::string& text, const ReportEntry& entry) {
  if (!entry.continues_on_error) return;
  text += fmt::format("  requests: {} submitted, {} answered; errors: {}", entry.submitted, entry.answered,
                      entry.io_errors);
  if (entry.io_errors != 0) text += fmt::format(", first_error={}", entry.first_io_error);
  text += '\n';
}

void add_met_faults(std::string& text, const DriveReport& drive) {
  if (drive.met_faults.empty()) return;
  std::string_view separator = "faults met: ";
  for (const softnvme::MetFault& met : drive.met_faults) {
    text += fmt::format("{}{} {}", separator, met.times, met.name);
    separator = ", ";
  }
  text += fmt::format(" ({})\n", drive.address);
}

}  // namespace

std::string count_text(double count) { return scaled(count, 1000, std::array<std::string_view, 4>{"", "k", "M", "G"}); }

std::string bandwidth_text(double bytes_per_second) {
  return scaled(bytes_per_second, 1024, std::array<std::string_view, 5>{"B/s", "KiB/s", "MiB/s", "GiB/s", "TiB/s"});
}

std::string latency_text(double ns) { return scaled(ns, 1000, std::array<std::string_view, 4>{"ns", "us", "ms", "s"}); }

bool Report::failed() const {
  return std::ranges::any_of(entries, [](const ReportEntry& entry) { return entry.error != 0; }) ||
         std::ranges::any_of(drives, [](const DriveReport& drive) {
           return !drive.texts.empty() || drive.violations.value_or(0) != 0;
         });
}

std::string text_report(const Report& report) {
  std::string text;
  for (const ReportEntry& entry : report.entries) {
    const Job& job = *entry.job;
    text += fmt::format("{}: (jobs={}) rw={}, bs={}, iodepth={}, {}: error={}\n", job.name, entry.jobs,
                        pattern_name(job.rw), job.bs, job.iodepth, job.filename, entry.error);
    add_direction(text, " read", entry, Direction::read);
    add_direction(text, "write", entry, Direction::write);
    const double wall_us = std::max(1.0, static_cast<double>(entry.cpu.wall_us));
    text += fmt::format("    cpu: user {:.1f}%, system {:.1f}%, {} context switches\n",
                        100.0 * static_cast<double>(entry.cpu.user_us) / wall_us,
                        100.0 * static_cast<double>(entry.cpu.system_us) / wall_us, entry.cpu.context_switches);
    add_errors(text, entry);
    add_verify(text, entry.verify);
  }
  for (const DriveReport& drive : report.drives) {
    if (drive.violations) text += fmt::format("violations: {} ({})\n", *drive.violations, drive.address);
    add_met_faults(text, drive);
  }
  if (report.interrupted) text += "interrupted: this is what was measured until then\n";
  return text;
}

}  // namespace pollux::bench
