// The JSON report beside that of Debian's fio 3.33 on a like job: every key of fio's is there, with the same type, but
// for those that README.md leaves out.
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "pollux/tests/unit/bench/program.hpp"

using namespace pollux::bench;
using Json = nlohmann::json;

namespace {

// Keys of fio's that pollux-bench leaves out.
const std::set<std::string> kLeftOut = {
    "disk_util",  // of the kernel's block devices, where fio's file lies on one: there is none under pollux
};

// Keys of pollux-bench's own.
const std::set<std::string> kOwn = {"pollux", "pollux requests", "pollux verify"};

// Options as the user wrote them: what is in them is the job's.
const std::set<std::string> kOptions = {"job options", "global options"};

std::string type_of(const Json& value) {
  if (value.is_number_float()) return "float";
  return value.is_number() ? "integer" : value.type_name();
}

void compare(const Json& fio, const Json& ours, const std::string& path) {
  INFO(path);
  CHECK(type_of(ours) == type_of(fio));
  if (fio.is_array()) {
    REQUIRE(ours.size() == fio.size());
    for (std::size_t i = 0; i < fio.size(); ++i) compare(fio[i], ours[i], path + "[" + std::to_string(i) + "]");
  }
  if (!fio.is_object()) return;
  for (const auto& [key, value] : fio.items()) {
    if (kLeftOut.contains(key)) continue;
    INFO("fio has " << path << "/" << key);
    REQUIRE(ours.contains(key));
    if (!kOptions.contains(key)) compare(value, ours[key], path + "/" + key);
  }
  for (const auto& [key, value] : ours.items()) {
    INFO("pollux-bench alone has " << path << "/" << key);
    CHECK((fio.contains(key) || kOwn.contains(key)));
  }
}

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("pollux-fio-" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directory(path); }
  ~Folder() { std::filesystem::remove_all(path); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return path / name;
  }
  Json read(const std::string& name) const {
    std::ifstream file(path / name);
    return Json::parse(file);
  }
};

constexpr const char* kJobs =
    "[mix]\n"
    "rw=randrw\n"
    "size=4M\n"
    "numjobs=2\n"
    "[writes]\n"
    "rw=write\n"
    "bs=8k\n"
    "size=1M\n";

void run_both(const Folder& folder, const std::string& fio_engine, const std::string& global) {
  const std::string theirs = folder.write("fio.ini", "[global]\nthread=1\n" + global + fio_engine + kJobs);
  const std::string ours = folder.write("pollux.ini", "[global]\nthread=1\nfilename=soft:size=1GiB\n" + global + kJobs);
  const auto fio =
      run_program({"fio", theirs, "--output-format=json", "--output=" + (folder.path / "fio.json").string()});
  INFO("fio is needed for this test; it said: " << fio.out << fio.err);
  REQUIRE(fio.exit_code == 0);
  const auto bench =
      run_program({POLLUX_BENCH, ours, "--output-format=json", "--output=" + (folder.path / "pollux.json").string()});
  INFO(bench.err);
  REQUIRE(bench.exit_code == 0);
  CHECK(bench.out.empty());
}

}  // namespace

TEST_CASE("each job's JSON has fio's keys and types") {
  const Folder folder;
  run_both(folder, "ioengine=null\n", "continue_on_error=io\n");
  const Json fio = folder.read("fio.json");
  REQUIRE(fio["jobs"].size() == 3);
  compare(fio, folder.read("pollux.json"), "");
}

TEST_CASE("a group's JSON has fio's keys and types, beside fio on a file") {
  const Folder folder;
  run_both(folder, "ioengine=psync\nfilename=" + (folder.path / "data").string() + "\n", "group_reporting=1\n");
  const Json fio = folder.read("fio.json");
  const Json ours = folder.read("pollux.json");
  REQUIRE(fio["jobs"].size() == 1);
  compare(fio, ours, "");
  CHECK(ours["jobs"][0]["jobname"] == fio["jobs"][0]["jobname"]);
  CHECK(ours["global options"]["group_reporting"] == "1");
  CHECK(ours["jobs"][0]["job options"] == Json{{"rw", "randrw"}, {"size", "4M"}, {"numjobs", "2"}});
  const auto total = [](const Json& json) {
    return json["jobs"][0]["read"]["io_bytes"].get<std::uint64_t>() +
           json["jobs"][0]["write"]["io_bytes"].get<std::uint64_t>();
  };
  CHECK(total(ours) == total(fio));
}

TEST_CASE("flags make the jobs that they make in fio: defaults before the first name, and behind global") {
  const std::vector<std::string> lines[] = {
      {"--name=global", "--filename=soft:size=1MiB", "--rw=randwrite", "--size=64k", "--name=a"},
      {"--rw=randwrite", "--filename=soft:size=1MiB", "--size=64k", "--name=a", "--name=b", "--bs=8k"},
      {"--name=a", "--rw=read", "--size=64k", "--name=global", "--bs=8k", "--size=128k", "--name=b"},
      {"--size=64k", "--name=global", "--bs=8k", "--name=b", "--name=global", "--bs=16k", "--name=c"},
      {"--size=64k", "--bs=4k", "--bs=8k", "--name=a"},
      {"--size=64k", "--blocksize=8k", "--name=a", "--readwrite=randread", "--fileoffset=64k", "--timeout=100"},
  };
  for (const std::vector<std::string>& line : lines) {
    INFO("with " << Json(line).dump());
    std::vector<std::string> fio = {"fio", "--output-format=json", "--ioengine=null"};
    std::vector<std::string> ours = {POLLUX_BENCH, "--output-format=json"};
    fio.insert(fio.end(), line.begin(), line.end());
    ours.insert(ours.end(), line.begin(), line.end());
    const auto theirs = run_program(fio);
    INFO("fio is needed for this test; it said: " << theirs.out << theirs.err);
    REQUIRE(theirs.exit_code == 0);
    const auto result = run_program(ours);
    INFO(result.out << result.err);
    REQUIRE(result.exit_code == 0);
    Json want = Json::parse(theirs.out);
    const Json got = Json::parse(result.out);
    want["global options"].erase("ioengine");
    CHECK(got.value("global options", Json::object()) == want["global options"]);
    REQUIRE(got["jobs"].size() == want["jobs"].size());
    for (std::size_t i = 0; i < got["jobs"].size(); ++i) {
      for (const char* key : {"jobname", "job options"}) CHECK(got["jobs"][i][key] == want["jobs"][i][key]);
      for (const char* way : {"read", "write"})
        CHECK(got["jobs"][i][way]["io_bytes"] == want["jobs"][i][way]["io_bytes"]);
    }
  }
}
