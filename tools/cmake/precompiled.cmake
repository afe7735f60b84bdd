# What nearly every file includes, parsed once for each set of flags instead of in each file: a third of the time of a
# compilation. Files include what they use all the same: `tools/check --long=plain` builds without this.
set(pollux_precompiled
  <fmt/format.h>
  <algorithm>
  <array>
  <atomic>
  <bit>
  <cstdint>
  <cstring>
  <expected>
  <functional>
  <memory>
  <mutex>
  <optional>
  <span>
  <string>
  <string_view>
  <vector>)

# The libraries have theirs, the programs another one (only a library may be compiled with -fPIC), and so have the tests.
# A shared library would define a macro of its own, which nothing here uses, and the other one could not take its headers.
set_target_properties(pollux PROPERTIES DEFINE_SYMBOL "")
target_precompile_headers(pollux PRIVATE ${pollux_precompiled})

if(NOT POLLUX_TOOLS AND NOT POLLUX_BENCH)
  return()
endif()
find_package(nlohmann_json REQUIRED)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/program_headers.cpp CONTENT "// What makes a precompiled header needs a source.")
add_library(pollux_program_headers OBJECT ${PROJECT_BINARY_DIR}/program_headers.cpp)
target_link_libraries(pollux_program_headers PRIVATE pollux::pollux nlohmann_json::nlohmann_json)
target_precompile_headers(pollux_program_headers PRIVATE ${pollux_precompiled} <nlohmann/json.hpp>)
