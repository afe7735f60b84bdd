// The options of a soft: address.
#include "pollux/tools/softnvme/options.hpp"

#include <catch2/catch.hpp>

namespace pollux::softnvme {
namespace {

TEST_CASE("no options are 1 GiB in memory with blocks of 512 bytes, MDTS 6 and 16 queues") {
  const auto options = Options::parse("");
  REQUIRE(options);
  CHECK_FALSE(options->size_bytes);
  CHECK(Options::kDefaultSizeBytes == 1ull << 30);
  CHECK(options->block_size_bytes == 512);
  CHECK(options->file.empty());
  CHECK_FALSE(options->null);
  CHECK(options->mdts == 6);
  CHECK(options->queues == 16);
}

TEST_CASE("every option is taken, in any order") {
  const auto options = Options::parse("queues=4,block=4096,file=/tmp/a b,mdts=0,size=2MiB,null=0");
  REQUIRE(options);
  CHECK(options->size_bytes == 2ull << 20);
  CHECK(options->block_size_bytes == 4096);
  CHECK(options->file == "/tmp/a b");
  CHECK(options->mdts == 0);
  CHECK(options->queues == 4);
  CHECK(Options::parse("null=1")->null);
}

TEST_CASE("sizes are powers of 1024, whatever their suffix") {
  CHECK(parse_size("4096") == 4096);
  CHECK(parse_size("4k") == 4096);
  CHECK(parse_size("4K") == 4096);
  CHECK(parse_size("4KiB") == 4096);
  CHECK(parse_size("3M") == 3ull << 20);
  CHECK(parse_size("3MiB") == 3ull << 20);
  CHECK(parse_size("1g") == 1ull << 30);
  CHECK(parse_size("2TiB") == 2ull << 40);
  for (const char* bad :
       {"", "k", "4x", "4kB", "4 k", "-1", "4KiBx", "99999999999999999999", "18446744073709551615k"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad));
  }
}

TEST_CASE("a share of faults is a percentage with up to four places behind the point") {
  const auto share = [](const char* text) { return Options::parse(text)->faults_of_a_million; };
  CHECK(share("") == 0);
  CHECK(share("faults=0%") == 0);
  CHECK(share("faults=1%") == 10'000);
  CHECK(share("faults=0.05%") == 500);
  CHECK(share("faults=0.0001%") == 1);
  CHECK(share("faults=100%,size=1M") == 1'000'000);
  for (const char* bad : {"", "%", "1", "-1%", "1 %", ".5%", "1.%", "1.2.3%", "0.00001%", "100.0001%", "frog%"}) {
    CAPTURE(bad);
    const auto options = Options::parse(std::string("faults=") + bad);
    REQUIRE_FALSE(options);
    CHECK(options.error().message() == std::string("soft: option faults=") + bad +
                                           " is not valid: faults takes a share of the I/O commands up to 100%, such "
                                           "as 1% or 0.05%");
  }
}

TEST_CASE("a small or odd controller is had by its options") {
  const auto options = Options::parse("block=16384,queues=0,vectors=1,entries=2,mdts=1");
  REQUIRE(options);
  CHECK(options->block_size_bytes == 16384);
  CHECK(options->queues == 0);
  CHECK(options->vectors == 1);
  CHECK(options->entries == 2);
  CHECK(options->mdts == 1);
}

TEST_CASE("what is wrong is named: the option, its value, and what is valid") {
  const auto message = [](const char* text) {
    const auto options = Options::parse(text);
    REQUIRE_FALSE(options);
    return options.error().message();
  };
  CHECK(message("sise=1G") ==
        "soft: option sise=1G is not known: valid are size=N[k|M|G|T|KiB|MiB|GiB|TiB], block=512|1024|…|65536, "
        "file=PATH, "
        "null=0|1, mdts=N, queues=N, vectors=N, entries=N, vwc=0|1, shadow=0|1|poll, trap=0|1, faults=N%");
  for (const std::string bad : {"256", "1000", "131072", "4k", "0", ""}) {
    CHECK(message(("block=" + bad).c_str()) ==
          "soft: option block=" + bad + " is not valid: block takes a power of two from 512 to 65536");
  }
  CHECK(message("vectors=0") == "soft: option vectors=0 is not valid: vectors takes 1 to 512");
  CHECK(message("entries=1") == "soft: option entries=1 is not valid: entries takes 2 to 4096");
  CHECK(message("queues=512") == "soft: option queues=512 is not valid: queues takes 0 to 511");
  CHECK(message("mdts=17") == "soft: option mdts=17 is not valid: mdts takes 0 to 16");
  CHECK(message("shadow=2") == "soft: option shadow=2 is not valid: shadow takes 0, 1 or poll");
  CHECK(message("null=yes") == "soft: option null=yes is not valid: null takes 0 or 1");
  CHECK(message("size=0").find("size=0 is not valid") != std::string::npos);
  CHECK(message("size=65TiB").find("size=65TiB is not valid") != std::string::npos);
  CHECK(message("size=1000").find("not a multiple of block=512") != std::string::npos);
  CHECK(message("file=").find("file takes the path") != std::string::npos);
  CHECK(message("null").find("\"null\" is not an option with a value") != std::string::npos);
  CHECK(message("null=1,file=/tmp/d").find("one of null=1 and file=PATH") != std::string::npos);
}

TEST_CASE("an option that is given twice is refused, and not taken as the last says") {
  const auto options = Options::parse("size=1GiB,block=512,size=1GiB");
  REQUIRE_FALSE(options);
  CHECK(options.error().message() == "soft: size is given twice: give it once");
}

}  // namespace
}  // namespace pollux::softnvme
