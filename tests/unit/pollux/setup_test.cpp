#include "pollux/tools/pollux/setup/setup.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

using namespace pollux;
using namespace pollux::cli;

namespace {

const std::string kBdf = "0000:02:00.0";

constexpr std::uint64_t kUsualMemlockKib = 8192;

struct Prepared {
  vfio::FakeMachine machine;
  vfio::Sysfs root = machine.sysfs();
  Wanted wanted;
  std::optional<std::uint64_t> memlock_kib = kUsualMemlockKib;

  Prepared() {
    machine.add_driver("vfio-pci");
    machine.add_driver("nvme");
    machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 1);
    set_hugepages("3");
    ask_for("me", {kBdf});
  }

  void set_hugepages(const std::string& pages) { machine.put_file(std::string(kHugepages), pages + "\n"); }
  std::uint64_t hugepages() { return root.number(kHugepages).value(); }

  void ask_for(const std::string& user, const std::vector<std::string>& bdfs) {
    wanted = {user, {}, 64, "/usr/bin/pollux"};
    for (const auto& bdf : bdfs) wanted.functions.push_back(*root.function(bdf));
  }

  // Does what has to be done, but for programs, which would change the machine of the test. Answers with the first
  // error, or goes on past it.
  Result<void> carry_out(const std::vector<Step>& steps, bool go_on = false) {
    for (const auto& step : steps) {
      if (!step.done || step.text.starts_with("run ")) continue;
      if (auto done = step.done(); !done && !go_on) return done;
    }
    return {};
  }
  void set_up() { REQUIRE(carry_out(steps_of_setup(root, wanted, memlock_kib).value())); }
  void undo() { REQUIRE(carry_out(steps_of_undo(root).value())); }

  // When the same is asked for again.
  std::vector<std::string> left_to_do() {
    std::vector<std::string> texts, bdfs;
    for (const auto& function : wanted.functions) bdfs.push_back(function.bdf);
    ask_for(wanted.user, bdfs);
    const auto steps = steps_of_setup(root, wanted, memlock_kib);
    REQUIRE(steps);
    for (const auto& step : *steps)
      if (step.done) texts.push_back(step.text);
    return texts;
  }

  bool has(std::string_view file) { return std::filesystem::exists(root.path(file)); }
};

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the rules bind a drive at boot by address and id, and give its nodes to the user") {
  Prepared prepared;
  const std::string rules = rules_text(prepared.wanted, {"me"});
  CHECK(holds(rules, R"(KERNEL=="0000:02:00.0", ATTR{vendor}=="0x1cc1", ATTR{device}=="0x0021", )"
                     R"(RUN+="/usr/bin/pollux bind 0000:02:00.0")"));
  CHECK(holds(rules, R"(SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/0000:02:00.0", )"
                     R"(RUN+="/bin/chown me $devnode")"));
  CHECK(holds(rules, R"(SUBSYSTEM=="vfio-dev", KERNELS=="0000:02:00.0", RUN+="/bin/chown me $devnode")"));
  CHECK(holds(limits_text(prepared.wanted), "\nme - memlock 132096\n"));
  CHECK(holds(hugepages_text(prepared.wanted, {"me", {}, 3}), "/nr_hugepages - - - - 64\n"));
}

TEST_CASE("without a drive the nodes of every NVMe function that is bound are the user's, and of no other device") {
  Prepared prepared;
  prepared.ask_for("me", {});
  const std::string rules = rules_text(prepared.wanted, {"me"});
  CHECK(holds(rules, R"(SUBSYSTEM=="vfio-dev", ATTRS{class}=="0x0108??", RUN+="/bin/chown me $devnode")"));
  CHECK(holds(rules, R"(grep -q ^0x0108 /sys/kernel/iommu_groups/%k/devices/*/class)"));
  CHECK_FALSE(holds(rules, "pollux bind"));
}

TEST_CASE("what a machine or a user has more of already is not taken away") {
  Prepared prepared;
  SECTION("hugepages") {
    prepared.set_hugepages("200");
    prepared.set_up();
    CHECK(prepared.hugepages() == 200);
    prepared.set_hugepages("512");
    CHECK(prepared.left_to_do().empty());
    prepared.undo();
    CHECK(prepared.hugepages() == 512);
  }
  SECTION("locked memory") {
    prepared.memlock_kib = GENERATE(std::optional<std::uint64_t>(), std::optional<std::uint64_t>(1 << 20));
    prepared.set_up();
    CHECK_FALSE(prepared.has(kLimitsFile));
    CHECK(prepared.left_to_do().empty());
  }
  SECTION("a drive on vfio-pci") {
    prepared.machine.put_link(vfio::function_folder(kBdf) + "/driver", "../../drivers/vfio-pci");
    prepared.ask_for("me", {kBdf});
    prepared.set_up();
    prepared.undo();
    CHECK(prepared.root.driver_of(kBdf) == "vfio-pci");
  }
}

TEST_CASE("done twice, setup has nothing left to do") {
  Prepared prepared;
  prepared.set_up();
  CHECK(prepared.root.driver_of(kBdf) == "vfio-pci");
  CHECK(prepared.hugepages() == 64);
  prepared.memlock_kib = prepared.wanted.memlock_kib();
  CHECK(prepared.left_to_do().empty());
}

TEST_CASE("a machine that is set up for somebody else is not set up over that") {
  Prepared prepared;
  prepared.set_up();
  prepared.ask_for("you", {kBdf});
  const auto steps = steps_of_setup(prepared.root, prepared.wanted, prepared.memlock_kib);
  REQUIRE_FALSE(steps);
  CHECK(holds(steps.error().message(), "--undo"));
}

TEST_CASE("undo takes everything back: files, hugepages, drives") {
  Prepared prepared;
  prepared.set_up();
  for (const auto file : {kRulesFile, kLimitsFile, kHugepagesFile}) CHECK(prepared.has(file));
  prepared.undo();
  for (const auto file : {kRulesFile, kLimitsFile, kHugepagesFile}) CHECK_FALSE(prepared.has(file));
  CHECK(prepared.hugepages() == 3);
  CHECK(prepared.root.driver_of(kBdf) == "nvme");
  CHECK(steps_of_undo(prepared.root)->empty());
}

TEST_CASE("a setup that fails half way can be taken back to where it began") {
  Prepared prepared;
  SECTION("no place for a file") {
    const std::string file(GENERATE(kRulesFile, kLimitsFile, kHugepagesFile));
    std::filesystem::create_directories(prepared.root.path(file + ".new"));  // where it is written first
    REQUIRE_FALSE(prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted, prepared.memlock_kib)));
  }
  SECTION("vfio-pci does not take the drive") {
    prepared.machine.refuse("vfio-pci", kBdf);
    REQUIRE_FALSE(prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted, prepared.memlock_kib)));
  }
  (void)prepared.carry_out(*steps_of_undo(prepared.root), true);
  for (const auto file : {kRulesFile, kLimitsFile, kHugepagesFile}) CHECK_FALSE(prepared.has(file));
  CHECK(prepared.hugepages() == 3);
  CHECK(prepared.root.driver_of(kBdf) == "nvme");
}

TEST_CASE("undo goes no further than a drive that is in use") {
  Prepared prepared;
  prepared.set_up();
  prepared.machine.add_process(4711, "fio", "/dev/vfio/1");
  const auto refused = prepared.carry_out(*steps_of_undo(prepared.root));
  REQUIRE_FALSE(refused);
  CHECK(holds(refused.error().message(), "fio (pid 4711)"));
  CHECK(prepared.has(kRulesFile));
}

TEST_CASE("a file of setup's name that somebody else wrote stays as it is") {
  Prepared prepared;
  prepared.machine.put_file(std::string(kLimitsFile), "* - memlock unlimited\n");
  const auto steps = GENERATE(true, false) ? steps_of_setup(prepared.root, prepared.wanted, prepared.memlock_kib)
                                           : steps_of_undo(prepared.root);
  REQUIRE_FALSE(steps);
  CHECK(holds(steps.error().message(), std::string(kLimitsFile)));
}

TEST_CASE("a program that others than root may change is not run at each boot") {
  Prepared prepared;
  CHECK(fit_for_rules("/usr/bin/env", "me"));
  prepared.machine.put_file("/usr/bin/pollux", "");
  const auto refused = fit_for_rules(prepared.root.path("/usr/bin/pollux"), "me");  // below /tmp
  REQUIRE_FALSE(refused);
  CHECK(holds(refused.error().message(), "others than root may change"));
}

TEST_CASE("names and paths that udev would read otherwise are refused") {
  CHECK_FALSE(fit_for_rules("/usr/bin/env", GENERATE("a b", "a\"b", "a%b", "")));
  CHECK_FALSE(fit_for_rules("/opt/my tools/pollux", "me"));
}
