#include "pollux/vfio/user/capabilities.hpp"

#include <catch2/catch.hpp>

using namespace pollux::vfio::user;

TEST_CASE("a side that says nothing has the specification's capabilities") {
  const std::string_view nothing =
      GENERATE(as<std::string_view>(), "", " ", "{}", R"({"capabilities":{}})", std::string_view("\0", 1));
  CAPTURE(nothing);
  const auto read = parse_capabilities(nothing);
  REQUIRE(read);
  CHECK(read->max_msg_fds == 1);
  CHECK(read->max_data_xfer_size == 1048576);
  CHECK(read->max_dma_maps == 65535);
  CHECK(read->page_sizes == 4096);
  CHECK_FALSE(read->write_multiple);
}

TEST_CASE("what a side says is read, and what nobody here knows is stepped over") {
  const auto read = parse_capabilities(R"( {"maker" : "a \"server\"", "list": [1, -2.5e3, [], {"x": null}, "]"],
    "capabilities": { "max_msg_fds": 8, "max_data_xfer_size":65536, "twin_socket": {"supported": false, "fd_index": 0},
      "migration": {"pgsize": 4096}, "max_dma_maps": 32, "pgsizes": 2097152, "write_multiple": true } } )");
  REQUIRE(read);
  CHECK(*read == Capabilities{8, 65536, 32, 2097152, true});
}

TEST_CASE("what is no JSON, or no number where one is due, is refused") {
  const std::string_view text = GENERATE(
      as<std::string_view>(), "[]", "{", "{}}", R"({"capabilities":[]})", R"({"capabilities":{"max_msg_fds":"8"}})",
      R"({"capabilities":{"max_msg_fds":-1}})", R"({"capabilities":{"max_msg_fds":1.5}})",
      R"({"capabilities":{"max_msg_fds":})", R"({"capabilities":{"max_msg_fds":99999999999999999999999}})",
      R"({"capabilities":{"write_multiple":1}})", R"({"a":"b)",
      R"({"a":[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]})", R"({"a":1,})", R"({a:1})", "null");
  CAPTURE(text);
  const auto read = parse_capabilities(text);
  REQUIRE_FALSE(read);
  CHECK(read.error().what.find("version data") != std::string::npos);
}

TEST_CASE("capabilities that are written are read as they were") {
  const Capabilities some{64, 1 << 20, 100, 4096 | 2097152, true};
  const auto read = parse_capabilities(format_capabilities(some));
  REQUIRE(read);
  CHECK(*read == some);
}
