#include "pollux/bench/command_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "pollux/bench/job_sections.hpp"
#include "pollux/bench/options.hpp"
#include "pollux/bench/values.hpp"

namespace pollux::bench {
namespace {

struct ProgramOption {
  std::string_view name;
  std::string_view value;  // empty: takes none
  std::string_view help;
  Result<void> (*set)(CommandLine& line, std::string_view value);
};

constexpr std::array<std::string_view, 2> kFormats = {"normal", "json"};

Result<void> set_format(CommandLine& line, std::string_view value) {
  if (value != "normal" && value != "json") {
    const std::string_view meant = meant_by(value, kFormats);
    return fail(fmt::format("output-format={} is not normal or json", value),
                meant.empty() ? "" : fmt::format("nearest valid value: {}", meant));
  }
  line.format = value == "json" ? Format::json : Format::text;
  return {};
}

Result<void> set_output(CommandLine& line, std::string_view value) {
  if (value.empty()) return fail("output= is not a file", "nearest valid value: report.txt");
  line.output = value;
  return {};
}

constexpr ProgramOption kProgramOptions[] = {
    {"output-format", "FORMAT", "normal (a text to read) or json (fio's keys)", set_format},
    {"output", "FILE", "write the report there instead of to standard output", set_output},
    {"help", "", "this text",
     [](CommandLine& line, std::string_view) {
       line.help = true;
       return Result<void>{};
     }},
    {"version", "", "the version",
     [](CommandLine& line, std::string_view) {
       line.version = true;
       return Result<void>{};
     }},
};

const ProgramOption* find_program_option(std::string_view name) {
  const auto* found = std::ranges::find(kProgramOptions, name, &ProgramOption::name);
  return found == std::end(kProgramOptions) ? nullptr : found;
}

Error unknown_flag(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Option& option : job_options()) names.push_back(option.name);
  for (const ProgramOption& option : kProgramOptions) names.push_back(option.name);
  return unknown_option(name, names, "--");
}

// "-bs=4k".
Error one_dash(std::string_view argument) {
  const std::string_view name = argument.substr(1, argument.find('=') - 1);
  const bool is_known = find_job_option(name) != nullptr || find_program_option(name) != nullptr;
  Error error = is_known ? Error{{}, fmt::format("write -{}", argument)} : unknown_flag(name);
  error.what = fmt::format("there is no option {}", argument);
  return error;
}

// Takes the arguments one by one.
class Parser {
 public:
  explicit Parser(std::span<const char* const> arguments) : arguments_(arguments) {}

  Result<CommandLine> parse() {
    while (next_ < arguments_.size()) {
      const std::string_view argument = arguments_[next_++];
      Result<void> taken = argument.starts_with("--") && argument.size() > 2 ? flag(argument) : plain(argument);
      if (!taken) return std::unexpected(taken.error());
    }
    if (line_.help || line_.version) return std::move(line_);
    if (options_ && !named_) sections_.end_as_one_job();
    line_.list = sections_.take();
    if (line_.job_file.empty() && line_.list.jobs.empty()) {
      if (options_) return fail("no job: --name=global gives defaults to others", "begin one with --name=NAME");
      return fail("no job",
                  "name a job file, or give options as in \"pollux-bench --rw=randread --bs=4k\"; --help lists them");
    }
    for (const Job& job : line_.list.jobs) {
      if (auto valid = check_job(job); !valid) return std::unexpected(valid.error());
    }
    return std::move(line_);
  }

 private:
  Result<void> plain(std::string_view argument) {
    if (argument.starts_with('-')) return std::unexpected(one_dash(argument));
    if (!line_.job_file.empty()) {
      return fail(fmt::format("two job files, {} and {}", line_.job_file, argument), "run them one after the other");
    }
    if (options_) return both(argument);
    line_.job_file = argument;
    return {};
  }

  Result<void> flag(std::string_view argument) {
    const std::size_t equals = argument.find('=');
    const std::string_view name = argument.substr(2, equals == std::string_view::npos ? equals : equals - 2);
    const Option* job_option = find_job_option(name);
    const ProgramOption* program_option = find_program_option(name);
    if (job_option == nullptr && program_option == nullptr) {
      return std::unexpected(unknown_flag(name));
    }

    const std::string_view wanted = job_option != nullptr ? job_option->value : program_option->value;
    std::string_view value;
    if (equals != std::string_view::npos) {
      value = argument.substr(equals + 1);
    } else if (!wanted.empty()) {
      if (next_ == arguments_.size()) {
        return fail(fmt::format("--{} has no value", name), fmt::format("write --{}={}", name, wanted));
      }
      value = arguments_[next_++];
    }
    if (program_option != nullptr) return program_option->set(line_, value);
    return set_in_job(name, value, equals != std::string_view::npos || !wanted.empty());
  }

  Result<void> set_in_job(std::string_view name, std::string_view value, bool has_value) {
    if (!line_.job_file.empty()) return both(line_.job_file);
    options_ = true;
    if (name == "name") {
      named_ = true;
      if (auto begun = sections_.begin(value); !begun) return begun;
    }
    return sections_.set(name, value, has_value);
  }

  Result<void> both(std::string_view job_file) {
    return fail(fmt::format("job file {} and job options at once", job_file),
                "put the options into the file's [global] section");
  }

  std::span<const char* const> arguments_;
  std::size_t next_ = 0;
  bool options_ = false;  // of jobs, not the program's own
  bool named_ = false;    // a --name among them
  JobSections sections_;
  CommandLine line_;
};

}  // namespace

Result<CommandLine> parse_command_line(std::span<const char* const> arguments) { return Parser(arguments).parse(); }

std::string help_text() {
  std::string text =
      "pollux-bench JOBFILE [options]\n"
      "pollux-bench --rw=randread --bs=4k … [options]\n\n"
      "Reads, writes and verifies an NVMe namespace by polling. Options are fio's; k, M, G, T and KiB, MiB, … are "
      "powers of 1024.\n\n"
      "job options, as flags or as lines of a job file:\n";
  const auto line = [&text](std::string_view name, std::string_view value, std::string_view help) {
    const std::string head = value.empty() ? fmt::format("--{}", name) : fmt::format("--{}={}", name, value);
    text += fmt::format("  {:<23} {}\n", head, help);
  };
  for (const Option& option : job_options()) line(option.name, option.value, option.help);
  text += "\nthe program's own:\n";
  for (const ProgramOption& option : kProgramOptions) line(option.name, option.value, option.help);
  text +=
      "\nExamples:\n"
      "  pollux-bench --filename=soft:size=64MiB --rw=randrw --rwmixread=70 --bs=4k --iodepth=32 --verify=crc32c\n"
      "  pollux-bench --filename=0000:02:00.0 --rw=randread --bs=4k --iodepth=32 --time_based --runtime=10s\n";
  return text;
}

}  // namespace pollux::bench
