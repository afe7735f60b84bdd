// What an error says of the errno behind it.
#include "pollux/vfio/error.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace pollux;

TEST_CASE("an errno is told by name and description") {
  const std::unexpected<Error> error = fail_errno(EBUSY, "cannot open it", "close it");
  CHECK(error.error().message() == "cannot open it (EBUSY: Device or resource busy): close it");
  CHECK(error.error().os_error == EBUSY);
}

TEST_CASE("where no file descriptor is left, that is the advice, whatever else it might have been") {
  const std::unexpected<Error> error = fail_errno(EMFILE, "cannot open the group", "chown it");
  CHECK(
      error.error().message() ==
      "cannot open the group (EMFILE: Too many open files): this process may open no more files: close some, or raise "
      "the limit (ulimit -n)");
  CHECK(fail_errno(ENFILE, "cannot open it", "chown it").error().advice.find("fs.file-max") != std::string::npos);
}

TEST_CASE("a number that is no errno, as a server may send, is told as it is") {
  for (const int number : {41, 65536, -1, 2147483647}) {
    const std::unexpected<Error> error = fail_errno(number, "refused");
    CHECK(error.error().what == fmt::format("refused (errno {})", number));
    CHECK(error.error().os_error == number);
  }
}
