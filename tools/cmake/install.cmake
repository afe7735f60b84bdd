# What an outside project sees: find_package(pollux), with pollux::pollux and pollux::softnvme, from a build tree and
# from an install alike; pkg-config's pollux.pc. Headers are spelled <pollux/…> in both.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

foreach(library pollux pollux_softnvme)
  # Before 1.0 a minor version may break what an older one promised.
  target_compile_features(${library} PUBLIC cxx_std_23)
  set_target_properties(${library} PROPERTIES VERSION ${PROJECT_VERSION}
                        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endforeach()
set_target_properties(pollux_softnvme PROPERTIES EXPORT_NAME softnvme)

install(TARGETS pollux pollux_softnvme EXPORT pollux)
install(DIRECTORY vfio dma driver DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pollux FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY tools/softnvme DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pollux/tools FILES_MATCHING PATTERN "*.hpp")
install(FILES driver/block/block.hpp tools/softnvme/softnvme.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pollux)

set(pollux_programs)    # those that have completions beside their page
if(POLLUX_TOOLS)
  install(TARGETS pollux-cli softnvme)
  list(APPEND pollux_programs pollux softnvme)
endif()
if(POLLUX_BENCH)
  install(TARGETS pollux-bench pollux-micro)
  install(FILES tools/man/pollux-micro.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  list(APPEND pollux_programs pollux-bench)
endif()
foreach(program ${pollux_programs})    # bash looks for a file of the program's name
  install(FILES tools/man/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES tools/completions/pollux.bash
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${program})
endforeach()
if(POLLUX_TOOLS AND POLLUX_BENCH)    # one file for all of them
  install(FILES tools/completions/_pollux DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()

set(pollux_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pollux)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/pollux-config.cmake.in ${PROJECT_BINARY_DIR}/pollux-config.cmake
                              INSTALL_DESTINATION ${pollux_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pollux-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pollux-config.cmake ${PROJECT_BINARY_DIR}/pollux-config-version.cmake
        DESTINATION ${pollux_package_dir})
install(EXPORT pollux NAMESPACE pollux:: FILE pollux-targets.cmake DESTINATION ${pollux_package_dir})
export(EXPORT pollux NAMESPACE pollux:: FILE ${PROJECT_BINARY_DIR}/pollux-targets.cmake)

# Relative to the file itself, so that an installed tree may be moved, as cmake --install --prefix does.
file(RELATIVE_PATH pollux_pc_to_include ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(${CMAKE_CURRENT_LIST_DIR}/pollux.pc.in ${PROJECT_BINARY_DIR}/pollux.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pollux.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
