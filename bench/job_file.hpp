// Reads a fio job file: sections in brackets, "key=value" or "key" lines, comments from "#" or ";" on. A [global]
// section gives defaults to the sections below it; there may be several. Every error begins with "FILE:LINE: ".
#pragma once

#include <string>
#include <string_view>

#include "pollux/bench/job.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

inline constexpr std::size_t kMaxJobFileBytes = 1 << 20;

// `file_name` is for messages. Errors: an option outside a section, a malformed line, an unknown option or a wrong
// value, no job at all.
Result<JobList> parse_job_file(std::string_view text, std::string_view file_name);

// Errors: those of parse_job_file; a file that cannot be read or is larger than kMaxJobFileBytes.
Result<JobList> read_job_file(const std::string& path);

}  // namespace pollux::bench
