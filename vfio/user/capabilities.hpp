// What two sides tell each other in VERSION: a JSON object {"capabilities": {...}}. Read here without a JSON library,
// which the library does without: the few members that matter are picked out, every other is stepped over. Source: the
// specification, VFIO_USER_VERSION.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio::user {

// The defaults are the specification's, for a side that says nothing.
struct Capabilities {
  std::uint64_t max_msg_fds = 1;               // that it takes in one message
  std::uint64_t max_data_xfer_size = 1 << 20;  // bytes of data in one message
  std::uint64_t max_dma_maps = 65535;          // windows at a time
  std::uint64_t page_sizes = 4096;             // of DMA windows, or'ed together
  bool write_multiple = false;                 // REGION_WRITE_MULTI is taken

  friend bool operator==(const Capabilities&, const Capabilities&) = default;
};

// `text`: what follows the version numbers; a terminating NUL and nothing at all are both fine. Errors: no JSON, a
// number that is none or negative, nested deeper than 16.
Result<Capabilities> parse_capabilities(std::string_view text);

// Without the terminating NUL.
std::string format_capabilities(const Capabilities& capabilities);

}  // namespace pollux::vfio::user
