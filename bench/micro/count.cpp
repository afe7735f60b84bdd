// pollux-count NAME BATCHES: runs one path so many batches of 32 I/Os. bench/count runs it under callgrind, twice, and
// takes the difference.
#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "pollux/bench/micro/paths.hpp"

int main(int argc, char** argv) {
  using namespace pollux::micro;
  std::uint64_t batches = 0;
  if (argc == 3) {
    const std::string_view count = argv[2];
    std::from_chars(count.data(), count.data() + count.size(), batches);
  }
  for (const PathEntry& entry : paths()) {
    if (argc == 2 && std::string_view(argv[1]) == "--list") fmt::print("{}\n", entry.name);
    if (batches == 0 || entry.name != argv[1]) continue;
    run(entry, batches);
    return 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--list") return 0;
  fmt::print(stderr, "usage: pollux-count --list | NAME BATCHES\n");
  return 2;
}
