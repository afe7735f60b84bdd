// A job file on a namespace of some size, and the same bytes as flags: read, checked, planned. What is planned lies
// within its namespace, and what a job verifies is written by it alone.
#include "pollux/bench/job_file.hpp"

#include <string>
#include <vector>

#include "input.hpp"
#include "pollux/bench/command_line.hpp"
#include "pollux/bench/plan.hpp"

using namespace pollux;
using fuzz::must;

namespace {

void check(const std::vector<bench::PlannedJob>& planned) {
  must(planned.size() <= bench::kMaxJobs, "a limit on jobs");
  for (const bench::PlannedJob& one : planned) {
    const std::uint64_t size = one.ns.size_bytes(), first = one.loop.offset_bytes;
    must(one.loop.shape.blocks != 0 && one.loop.block_bytes != 0, "there is something to do");
    must(first <= size && one.loop.shape.blocks <= (size - first) / one.loop.block_bytes, "within the namespace");
    must(first % one.ns.block_size_bytes == 0 && one.loop.block_bytes % one.ns.block_size_bytes == 0, "whole blocks");
    must(one.loop.block_bytes <= bench::kMaxBlockSizeBytes, "a limit on bs");
  }
}

void plan(const bench::JobList& list, const Namespace& ns) {
  must(list.jobs.size() <= bench::kMaxJobs, "a limit on jobs");
  std::vector<bench::PlacedJob> placed;
  for (const bench::Job& job : list.jobs) placed.push_back({&job, 0, ns, 0});
  if (const auto planned = bench::plan_jobs(placed, 1)) check(*planned);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  Namespace ns{.nsid = 1};
  ns.block_size_bytes = 1u << (9 + input.u8() % 8);  // what Drive::open_namespace() lets through
  ns.block_count = (std::uint64_t{input.u8()} << (input.u8() % 48)) + 1;
  ns.block_count = std::min(ns.block_count, ~std::uint64_t{0} / ns.block_size_bytes);
  const auto rest = input.rest();
  const std::string text(rest.begin(), rest.end());

  if (const auto list = bench::parse_job_file(text, "fuzz.fio")) {
    must(!list->jobs.empty(), "a file without a job is refused");
    plan(*list, ns);
  }

  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == '\n' || c == '\0')
      words.emplace_back();
    else
      words.back() += c;
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  if (const auto line = bench::parse_command_line(arguments)) plan(line->list, ns);
  return 0;
}
