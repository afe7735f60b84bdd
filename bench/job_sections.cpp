#include "pollux/bench/job_sections.hpp"

#include <fmt/format.h>

#include "pollux/bench/options.hpp"

namespace pollux::bench {

Result<void> JobSections::begin(std::string_view name) {
  in_job_ = name != kGlobal;
  filename_set_ = false;
  if (!in_job_) return {};
  if (list_.jobs.size() == kMaxJobs) {
    return fail(fmt::format("more than {} jobs", kMaxJobs), "use numjobs, or several runs");
  }
  list_.jobs.push_back(defaults_);
  list_.jobs.back().name = name;
  return {};
}

Result<void> JobSections::set(std::string_view name, std::string_view value, bool has_value) {
  Job& job = in_job_ ? list_.jobs.back() : defaults_;
  if (name == "filename") {
    // fio takes the last one in silence. Whoever names two drives does not mean one of them.
    if (filename_set_) {
      return fail(fmt::format("filename is given twice, {} and {}", job.filename, value),
                  "a job has one device: begin a job for each");
    }
    filename_set_ = true;
  }
  if (auto set = set_job_option(job, name, value); !set) return set;
  // As in fio, an option that was given by another of its names is told by its own.
  if (has_value) (in_job_ ? job.given : list_.global).emplace_back(find_job_option(name)->name, value);
  return {};
}

void JobSections::end_as_one_job() {
  list_.jobs.push_back(std::move(defaults_));
  list_.jobs.back().given = std::move(list_.global);
  list_.global.clear();
}

}  // namespace pollux::bench
