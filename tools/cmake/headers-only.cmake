# For CMAKE_PROJECT_TOP_LEVEL_INCLUDES of a cross build on a Debian that has no foreign architecture: the packages that
# pollux looks for, as far as they consist of headers. These are the same for every processor; libraries are not, so
# fmt's is compiled here.
#
# The headers are reached through a folder of links. /usr/include itself has this machine's C library beside them, which
# would take the place of the other one's.
set(kHeaders ${CMAKE_BINARY_DIR}/headers)
file(MAKE_DIRECTORY ${kHeaders})
foreach(folder fmt CLI nlohmann catch2 benchmark nvme)
  file(CREATE_LINK /usr/include/${folder} ${kHeaders}/${folder} SYMBOLIC)
endforeach()
set(CMAKE_INCLUDE_PATH ${kHeaders})  # for find_path()

# A macro: what it sets is for find_package()'s caller.
macro(pollux_provide_headers method package)
  if("${package}" MATCHES "^(fmt|CLI11|nlohmann_json|Catch2|benchmark)$")
    if(NOT TARGET ${package}::${package})
      add_library(${package}::${package} INTERFACE IMPORTED GLOBAL)
      target_include_directories(${package}::${package} SYSTEM INTERFACE ${kHeaders})
    endif()
    set(${package}_FOUND TRUE)
  endif()
endmacro()
cmake_language(SET_DEPENDENCY_PROVIDER pollux_provide_headers SUPPORTED_METHODS FIND_PACKAGE)

function(pollux_without_libraries)
  # fmt's library is one of its headers, compiled once; the templates are those that format.h leaves to it.
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/fmt.cpp CONTENT [=[
#include <fmt/format-inl.h>
namespace fmt::detail {
template thousands_sep_result<char> thousands_sep_impl<char>(locale_ref);
template char decimal_point_impl<char>(locale_ref);
template dragonbox::decimal_fp<float> dragonbox::to_decimal(float);
template dragonbox::decimal_fp<double> dragonbox::to_decimal(double);
}
]=])
  add_library(fmt_once STATIC ${CMAKE_BINARY_DIR}/fmt.cpp)
  target_include_directories(fmt_once SYSTEM PRIVATE ${kHeaders})
  target_link_libraries(fmt::fmt INTERFACE fmt_once)
  # Google Benchmark is more than headers: its program cannot be linked.
  set_target_properties(pollux-micro PROPERTIES EXCLUDE_FROM_ALL TRUE)
endfunction()
cmake_language(DEFER CALL pollux_without_libraries)
