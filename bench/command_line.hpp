// pollux-bench's command line: a job file, or the job options as flags ("--bs=4k" or "--bs 4k"), and where the report
// goes. As in fio, --name begins a job, what stands before the first one or behind --name=global are defaults for the
// jobs that follow, and flags without any --name are one job.
#pragma once

#include <span>
#include <string>

#include "pollux/bench/job.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

enum class Format : std::uint8_t { text, json };

struct CommandLine {
  bool help = false;
  bool version = false;
  Format format = Format::text;
  std::string output;    // empty: standard output
  std::string job_file;  // empty: jobs are the flags'
  JobList list;          // of the flags; empty with a job file
};

// `arguments` without the program's name. Errors: an unknown flag (with the nearest one), a value that is missing or
// wrong, a job file and job options at once, nothing at all.
Result<CommandLine> parse_command_line(std::span<const char* const> arguments);

// The text of --help.
std::string help_text();

}  // namespace pollux::bench
