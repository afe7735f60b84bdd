// The JSON of VERSION, which both sides of vfio-user read. What was read and is written again reads the same.
#include "pollux/vfio/user/capabilities.hpp"

#include "input.hpp"

using namespace pollux;
using fuzz::must;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto found = vfio::user::parse_capabilities({reinterpret_cast<const char*>(data), size});
  if (!found) {
    must(!found.error().what.empty(), "an error says what is wrong");
    return 0;
  }
  const auto again = vfio::user::parse_capabilities(vfio::user::format_capabilities(*found));
  must(again && *again == *found, "what was read reads the same again");
  return 0;
}
