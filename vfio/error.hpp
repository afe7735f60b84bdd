// What every fallible function outside the data path returns. An Error is one line for a person: what was tried, on
// which device, with which numbers; then what to do about it. On the data path a status travels by value instead.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace pollux {

struct Error {
  std::string what;    // what was tried and how it failed
  std::string advice;  // what to do about it; may be empty
  int os_error = 0;    // the errno behind it, 0 where there is none

  // One line: "WHAT: ADVICE".
  std::string message() const { return advice.empty() ? what : what + ": " + advice; }
};

template <typename T>
using Result = std::expected<T, Error>;

// An error without an errno.
inline std::unexpected<Error> fail(std::string what, std::string advice = {}) {
  return std::unexpected(Error{std::move(what), std::move(advice), 0});
}

// An error of a system call: appends errno's name to `what`. `os_error` is errno, saved by the caller right after the
// call; or what the other side of a socket has told, which may be any number. Where no file descriptor is left, that is
// the advice, whatever else the call could have failed for.
inline std::unexpected<Error> fail_errno(int os_error, std::string what, std::string advice = {}) {
  if (os_error == EMFILE) advice = "this process may open no more files: close some, or raise the limit (ulimit -n)";
  if (os_error == ENFILE) advice = "this machine may open no more files: raise the limit (sysctl fs.file-max)";
  const char* const name = strerrorname_np(os_error);
  const char* const description = strerrordesc_np(os_error);
  what += name != nullptr && description != nullptr ? fmt::format(" ({}: {})", name, description)
                                                    : fmt::format(" (errno {})", os_error);
  return std::unexpected(Error{std::move(what), std::move(advice), os_error});
}

}  // namespace pollux
