// Jobs as they are listed, in a job file or as flags, section by section. A section called "global" is no job: what it
// sets are defaults for the jobs that begin after it, as in fio.
#pragma once

#include <string_view>

#include "pollux/bench/job.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::bench {

class JobSections {
 public:
  static constexpr std::string_view kGlobal = "global";

  // Begins a section: a job with the defaults so far, or defaults. Errors: too many jobs.
  Result<void> begin(std::string_view name);

  // Sets an option of the section that began last; before the first one, a default. `has_value`: it was written with
  // one, and the report shows it. Errors: no such option, a wrong value, a second filename in one section.
  Result<void> set(std::string_view name, std::string_view value, bool has_value);

  // Options without any section are one job.
  void end_as_one_job();

  const JobList& list() const { return list_; }
  JobList take() { return std::move(list_); }

 private:
  JobList list_;
  Job defaults_;
  bool in_job_ = false;
  bool filename_set_ = false;  // in this section
};

}  // namespace pollux::bench
