// The one table of job options. Flags and job files both go through it, so that the two cannot differ, and the help is
// printed from it. Names, values and defaults are fio's (fio(1), "JOB FILE PARAMETERS"); README.md lists where a
// meaning differs.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "pollux/bench/job.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

struct Option {
  std::string_view name;
  std::string_view value;  // what stands behind "=", for the help; empty: a switch, which may stand alone
  std::string_view help;
  Result<void> (*set)(Job& job, std::string_view name, std::string_view value);
};

std::span<const Option> job_options();

// Also by fio's other names of them (fio_options.hpp). nullptr where there is none of this name.
const Option* find_job_option(std::string_view name);

// Sets one option of a job. Errors: no such option, a value that it does not take; both say what is
// valid, and which was meant where that is near.
Result<void> set_job_option(Job& job, std::string_view name, std::string_view value);

// What no single option can know: a job that writes and names no device, time_based without a runtime, verify= in a job
// that never writes. Errors name option, value and a valid one.
Result<void> check_job(const Job& job);

// The error of an unknown option: fio's, or the one of `valid` that was probably meant. `dashes`: what stands before
// an option's name where this one came from.
Error unknown_option(std::string_view name, std::span<const std::string_view> valid, std::string_view dashes = {});

}  // namespace pollux::bench
