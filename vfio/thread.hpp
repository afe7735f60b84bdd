// A thread begun, or the Error that says which limit forbids it: std::thread throws, and nothing here does.
#pragma once

#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// The Error for a thread that the kernel refuses with `os_error`; `whose`: "a job's thread".
Error explain_no_thread(std::string_view whose, int os_error);

template <typename Run>
Result<std::thread> start_thread(std::string_view whose, Run&& run) {
  try {
    return std::thread(std::forward<Run>(run));
  } catch (const std::system_error& error) {
    return std::unexpected(explain_no_thread(whose, error.code().value()));
  }
}

}  // namespace pollux::vfio
