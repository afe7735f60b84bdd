#include "pollux/bench/options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>

#include "pollux/bench/fio_options.hpp"
#include "pollux/bench/values.hpp"

namespace pollux::bench {
namespace {

// `want` says which values are valid; `nearest_valid` may be empty.
std::unexpected<Error> wrong_value(std::string_view name, std::string_view value, std::string_view want,
                                   std::string_view nearest_valid = {}) {
  return fail(fmt::format("{}={} is not {}", name, value, want),
              nearest_valid.empty() ? "" : fmt::format("nearest valid value: {}", nearest_valid));
}

// One of a few words.
std::unexpected<Error> wrong_word(std::string_view name, std::string_view value,
                                  std::span<const std::string_view> valid) {
  return wrong_value(name, value, fmt::format("one of {}", fmt::join(valid, ", ")), meant_by(value, valid));
}

// The beginning of `value` that is valid, where hardly anything follows: "4kk", "10min".
template <typename Parse>
std::string_view without_slip(std::string_view value, Parse parse) {
  constexpr std::size_t kSlip = 2;
  const std::string_view meant = longest_valid(value, parse);
  return value.size() - meant.size() <= kSlip ? meant : std::string_view();
}

struct Bounds {
  std::uint64_t least;
  std::uint64_t most;
  std::string_view example;  // a valid value, for a wrong one that resembles none
};

Result<void> set_number(std::uint64_t& target, std::string_view name, std::string_view value, const Bounds& bounds) {
  const auto number = parse_size(value);
  if (!number) {
    return wrong_value(name, value, fmt::format("a number such as {}", bounds.example),
                       without_slip(value, parse_size));
  }
  if (*number < bounds.least || *number > bounds.most) {
    const std::string want = bounds.most == std::numeric_limits<std::uint64_t>::max()
                                 ? fmt::format("at least {}", size_text(bounds.least))
                                 : fmt::format("in {} to {}", size_text(bounds.least), size_text(bounds.most));
    return wrong_value(name, value, want, size_text(std::clamp(*number, bounds.least, bounds.most)));
  }
  target = *number;
  return {};
}

Result<void> set_extent(Extent& target, std::string_view name, std::string_view value) {
  const auto extent = parse_extent(value);
  if (!extent) {
    const bool share = value.ends_with('%') && parse_size(value.substr(0, value.size() - 1));
    return wrong_value(name, value, "a size such as 1G, or a share of the namespace such as 25%",
                       share ? "100%" : without_slip(value, parse_extent));
  }
  target = *extent;
  return {};
}

Result<void> set_time(std::uint64_t& target_ns, std::string_view name, std::string_view value) {
  const auto time_ns = parse_time_ns(value);
  if (!time_ns) {
    return wrong_value(name, value, "a time (us, ms, s, m, h, d; plain: seconds)", without_slip(value, parse_time_ns));
  }
  target_ns = *time_ns;
  return {};
}

Result<void> set_switch(bool& target, std::string_view name, std::string_view value) {
  const auto on = parse_switch(value);
  if (!on) return wrong_value(name, value, "0 or 1");
  target = *on;
  return {};
}

Result<void> set_text(std::string& target, std::string_view name, std::string_view value, std::string_view example) {
  if (value.empty()) return wrong_value(name, value, "given", example);
  target = value;
  return {};
}

Result<void> set_filename(Job& job, std::string_view name, std::string_view value) {
  job.names_device = true;
  return set_text(job.filename, name, value, "soft:size=1GiB");
}

constexpr std::array<std::string_view, 7> kPatternNames = {"read", "write",  "randread", "randwrite",
                                                           "rw",   "randrw", "readwrite"};

Result<void> set_pattern(Job& job, std::string_view name, std::string_view value) {
  const auto found = std::ranges::find(kPatternNames, value);
  if (found == kPatternNames.end()) return wrong_word(name, value, kPatternNames);
  const auto index = found - kPatternNames.begin();
  job.rw = value == "readwrite" ? Pattern::rw : static_cast<Pattern>(index);
  return {};
}

Result<void> set_verify(Job& job, std::string_view name, std::string_view value) {
  constexpr std::array<std::string_view, 2> kWays = {"crc32c", "0"};  // 0: none, as in fio
  if (std::ranges::find(kWays, value) == kWays.end()) return wrong_word(name, value, kWays);
  job.verify = value == "crc32c";
  return {};
}

Result<void> set_wait(Job& job, std::string_view name, std::string_view value) {
  constexpr Wait kWays[] = {Wait::poll, Wait::adaptive, Wait::interrupt, Wait::monitor};
  std::array<std::string_view, std::size(kWays)> names;
  std::ranges::transform(kWays, names.begin(), name_of);
  const auto found = std::ranges::find(names, value);
  if (found == names.end()) return wrong_word(name, value, names);
  job.wait = kWays[found - names.begin()];
  return {};
}

// fio's "verify" means what is so anyway: a mismatch does not end the job.
constexpr std::array<std::string_view, 6> kErrorKinds = {"none", "read", "write", "io", "verify", "all"};

Result<void> set_continue_on_error(Job& job, std::string_view name, std::string_view value) {
  if (std::ranges::find(kErrorKinds, value) == kErrorKinds.end()) return wrong_word(name, value, kErrorKinds);
  job.continue_on_read_error = value == "read" || value == "io" || value == "all";
  job.continue_on_write_error = value == "write" || value == "io" || value == "all";
  return {};
}

Result<void> set_io_timeout(Job& job, std::string_view name, std::string_view value) {
  std::uint64_t timeout_ns = 0;
  if (auto set = set_time(timeout_ns, name, value); !set) return set;
  if (timeout_ns < kMinIoTimeoutNs) return wrong_value(name, value, "at least 1ms", "1ms");
  if (timeout_ns > kMaxIoTimeoutNs) return wrong_value(name, value, "at most 1d", "1d");
  job.io_timeout_ns = timeout_ns;
  return {};
}

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

using Name = std::string_view;
using Value = std::string_view;

constexpr Option kOptions[] = {
    {"name", "TEXT",
     "the job's name in the report; as a flag it begins a job, and --name=global defaults for the jobs behind it",
     [](Job& j, Name n, Value v) { return set_text(j.name, n, v, "job1"); }},
    {"filename", "ADDRESS",
     "one device: 0000:02:00.0, vfio-user:PATH or soft:size=1GiB, with ,ns=N; a job that writes names it",
     set_filename},
    {"rw", "PATTERN", "read, write, randread, randwrite, rw (readwrite) or randrw", set_pattern},
    {"bs", "SIZE", "bytes of a request, a multiple of the namespace's block size",
     [](Job& j, Name n, Value v) { return set_number(j.bs, n, v, {512, kMaxBlockSizeBytes, "4k"}); }},
    {"iodepth", "N", "requests that a job keeps outstanding",
     [](Job& j, Name n, Value v) { return set_number(j.iodepth, n, v, {1, kMaxDepth, "32"}); }},
    {"numjobs", "N", "clones of the job, each with a thread and a queue pair of its own",
     [](Job& j, Name n, Value v) { return set_number(j.numjobs, n, v, {1, kMaxJobs, "1"}); }},
    {"size", "SIZE|N%", "bytes of the namespace that the job works on, and that it moves unless something else ends it",
     [](Job& j, Name n, Value v) { return set_extent(j.size, n, v); }},
    {"offset", "SIZE|N%", "where they begin", [](Job& j, Name n, Value v) { return set_extent(j.offset, n, v); }},
    {"runtime", "TIME", "end after this time at the latest",
     [](Job& j, Name n, Value v) { return set_time(j.runtime_ns, n, v); }},
    {"time_based", "", "go on, over and over the range, until runtime has passed",
     [](Job& j, Name n, Value v) { return set_switch(j.time_based, n, v); }},
    {"ramp_time", "TIME", "run this long before anything is measured; runtime begins afterwards",
     [](Job& j, Name n, Value v) { return set_time(j.ramp_time_ns, n, v); }},
    {"rwmixread", "PERCENT", "the share of reads in rw and randrw",
     [](Job& j, Name n, Value v) { return set_number(j.rwmixread, n, v, {0, 100, "70"}); }},
    {"number_ios", "N", "end after this many requests at the latest",
     [](Job& j, Name n, Value v) { return set_number(j.number_ios, n, v, {1, kNoLimit, "1000"}); }},
    {"randseed", "N", "another sequence of random offsets and directions; the same number gives the same one",
     [](Job& j, Name n, Value v) { return set_number(j.randseed, n, v, {0, kNoLimit, "1"}); }},
    {"norandommap", "", "random offsets may repeat before each block had its turn",
     [](Job& j, Name n, Value v) { return set_switch(j.norandommap, n, v); }},
    {"thread", "", "accepted: a job is always a thread",
     [](Job& j, Name n, Value v) { return set_switch(j.thread, n, v); }},
    {"group_reporting", "", "one report for all jobs that have this, not one for each",
     [](Job& j, Name n, Value v) { return set_switch(j.group_reporting, n, v); }},
    {"wait", "WAY", "how a job waits for completions: poll, adaptive (spins, then sleeps), interrupt or monitor",
     set_wait},
    {"reconnect", "TIME", "how long a server behind vfio-user:PATH may be away before its device counts as lost",
     [](Job& j, Name n, Value v) { return set_time(j.reconnect_ns, n, v); }},
    {"reissue_writes", "", "send writes again, too, that a reset or the server's end has interrupted",
     [](Job& j, Name n, Value v) { return set_switch(j.reissue_writes, n, v); }},
    {"io_timeout", "TIME", "how long a command may take before the driver has it aborted", set_io_timeout},
    {"continue_on_error", "KIND",
     "which requests may fail without ending the job: none, read, write, io (both) or all; they are counted",
     set_continue_on_error},
    {"verify", "crc32c", "check what is read of what this run wrote, in the mix and in a last pass; 0: do not",
     set_verify},
};

}  // namespace

std::string_view pattern_name(Pattern pattern) { return kPatternNames[static_cast<std::size_t>(pattern)]; }

std::span<const Option> job_options() { return kOptions; }

const Option* find_job_option(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, without_alias(name), &Option::name);
  return found == std::end(kOptions) ? nullptr : found;
}

Result<void> set_job_option(Job& job, std::string_view name, std::string_view value) {
  const Option* option = find_job_option(name);
  if (option == nullptr) {
    std::array<std::string_view, std::size(kOptions)> names;
    std::ranges::transform(kOptions, names.begin(), &Option::name);
    return std::unexpected(unknown_option(name, names));
  }
  return option->set(job, name, value);
}

Result<void> check_job(const Job& job) {
  if (may_write(job.rw) && !job.names_device) {
    return fail(fmt::format("job \"{}\": rw={} writes, and no filename says where", job.name, pattern_name(job.rw)),
                fmt::format("name the device; filename={} is the software controller", job.filename));
  }
  if (job.time_based && job.runtime_ns == 0) {
    return fail(fmt::format("job \"{}\": time_based=1 wants a runtime", job.name),
                "nearest valid: runtime=10s with it");
  }
  if (job.verify && !may_write(job.rw)) {
    const std::string_view writing = is_random(job.rw) ? "randrw" : "rw";
    return fail(
        fmt::format("job \"{}\": verify=crc32c with rw={} checks nothing, because only what this run wrote is judged",
                    job.name, pattern_name(job.rw)),
        fmt::format("leave verify out, or have the job write as well, with rw={}", writing));
  }
  return {};
}

Error unknown_option(std::string_view name, std::span<const std::string_view> valid, std::string_view dashes) {
  const std::string what = fmt::format("there is no option {}{}", dashes, name);
  if (is_other_fio_option(name)) return {what, "fio has it, pollux-bench does not"};
  const std::string_view meant = meant_by(name, valid);
  if (meant.empty()) return {what, "\"pollux-bench --help\" lists those that there are"};
  return {what, fmt::format("nearest valid option: {}{}", dashes, meant)};
}

}  // namespace pollux::bench
