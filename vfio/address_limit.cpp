#include "pollux/vfio/address_limit.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace pollux::vfio {

std::string beyond_address_limit(std::uint64_t size_bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const std::uint64_t had_bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  if (had_bytes < limit.rlim_cur && size_bytes <= limit.rlim_cur - had_bytes) return {};
  return fmt::format("this process may have {} bytes of addresses (RLIMIT_AS), and has {}", limit.rlim_cur, had_bytes);
}

}  // namespace pollux::vfio
