# For CMAKE_PROJECT_TOP_LEVEL_INCLUDES of a cross build on a Debian that has no foreign architecture: the packages that
# pollux looks for, as far as they consist of headers. These are the same for every processor; libraries are not, so
# fmt is compiled into whoever uses it.
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
  target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)
  # Google Benchmark is more than headers: its program cannot be linked.
  set_target_properties(pollux-micro PROPERTIES EXCLUDE_FROM_ALL TRUE)
endfunction()
cmake_language(DEFER CALL pollux_without_libraries)
