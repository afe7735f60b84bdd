#include "pollux/bench/job_file.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "pollux/bench/job_sections.hpp"
#include "pollux/bench/options.hpp"

namespace pollux::bench {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// A comment begins at the line's start or behind a blank, so that an address may hold either sign.
std::string_view without_comment(std::string_view line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if ((line[i] == '#' || line[i] == ';') && (i == 0 || kBlanks.contains(line[i - 1]))) return line.substr(0, i);
  }
  return line;
}

class Parser {
 public:
  explicit Parser(std::string_view file_name) : file_name_(file_name) {}

  Result<void> line(std::string_view text, unsigned number) {
    number_ = number;
    const std::string_view content = trimmed(without_comment(text));
    if (content.empty()) return {};
    return content.starts_with('[') ? section(content) : option(content);
  }

  Result<JobList> finish() {
    if (auto ended = end_section(); !ended) return std::unexpected(ended.error());
    if (sections_.list().jobs.empty()) {
      return fail(fmt::format("{}: there is no job in this file", file_name_), "begin one with a line \"[NAME]\"");
    }
    return sections_.take();
  }

 private:
  std::unexpected<Error> here(unsigned line_number, Error error) {
    error.what = fmt::format("{}:{}: {}", file_name_, line_number, error.what);
    return std::unexpected(std::move(error));
  }

  Result<void> section(std::string_view content) {
    if (!content.ends_with(']') || content.size() == 2) {
      return here(number_, {fmt::format("\"{}\" is not a section's name", content), "write \"[NAME]\"", 0});
    }
    if (auto ended = end_section(); !ended) return ended;
    const std::string_view name = content.substr(1, content.size() - 2);
    state_ = name == JobSections::kGlobal ? State::global : State::job;
    section_line_ = number_;
    if (auto begun = sections_.begin(name); !begun) return here(number_, begun.error());
    return {};
  }

  Result<void> end_section() {
    if (state_ != State::job) return {};
    if (auto valid = check_job(sections_.list().jobs.back()); !valid) return here(section_line_, valid.error());
    return {};
  }

  Result<void> option(std::string_view content) {
    const std::size_t equals = content.find('=');
    const std::string_view name = trimmed(content.substr(0, equals));
    const bool has_value = equals != std::string_view::npos;
    const std::string_view value = has_value ? trimmed(content.substr(equals + 1)) : std::string_view();
    if (state_ == State::outside) {
      return here(number_, {fmt::format("\"{}\" stands outside a section", content),
                            "put it below \"[global]\" or a job's \"[NAME]\"", 0});
    }
    if (auto set = sections_.set(name, value, has_value); !set) return here(number_, set.error());
    return {};
  }

  enum class State { outside, global, job };

  std::string_view file_name_;
  JobSections sections_;
  State state_ = State::outside;
  unsigned number_ = 0;
  unsigned section_line_ = 0;
};

}  // namespace

Result<JobList> parse_job_file(std::string_view text, std::string_view file_name) {
  Parser parser(file_name);
  unsigned number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (auto read = parser.line(text.substr(0, end), ++number); !read) return std::unexpected(read.error());
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parser.finish();
}

Result<JobList> read_job_file(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return fail_errno(errno, fmt::format("cannot open job file {}", path), "name a readable file, or use flags");
  std::string text(kMaxJobFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return fail_errno(errno, fmt::format("cannot read job file {}", path), "name a file");
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxJobFileBytes) {
    return fail(fmt::format("job file {} is larger than {} bytes", path, kMaxJobFileBytes), "is it a job file?");
  }
  return parse_job_file(text, path);
}

}  // namespace pollux::bench
