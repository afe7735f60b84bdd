#include "pollux/tools/pollux/setup/setup.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "pollux/tests/unit/vfio/fake_machine.hpp"

using namespace pollux;
using namespace pollux::cli;

namespace {

const std::string kBdf = "0000:02:00.0";

struct Prepared {
  vfio::FakeMachine machine;
  vfio::Sysfs root = machine.sysfs();
  Wanted wanted;

  Prepared() {
    machine.add_driver("vfio-pci");
    machine.add_driver("nvme");
    machine.add_function(kBdf, "1cc1:0021", "010802", "nvme", 1);
    machine.put_file("/proc/sys/vm/nr_hugepages", "3\n");
    ask_for("me", {kBdf});
  }

  void ask_for(const std::string& user, const std::vector<std::string>& bdfs) {
    wanted = {user, {}, 64, "/usr/bin/pollux"};
    for (const auto& bdf : bdfs) wanted.functions.push_back(*root.function(bdf));
  }

  // Does what has to be done, but for programs, which would change the machine of the test.
  void carry_out(const std::vector<Step>& steps) {
    for (const auto& step : steps) {
      if (!step.done || step.text.starts_with("run ")) continue;
      INFO(step.text);
      CHECK(step.done());
    }
  }

  std::vector<std::string> left_to_do() {
    const auto steps = steps_of_setup(root, wanted);
    REQUIRE(steps);
    std::vector<std::string> texts;
    for (const auto& step : *steps)
      if (step.done) texts.push_back(step.text);
    return texts;
  }

  bool has(std::string_view file) { return std::filesystem::exists(root.path(file)); }
  bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }
};

}  // namespace

TEST_CASE("the rules bind a drive at boot by address and id, and give its nodes to the user") {
  Prepared prepared;
  const std::string rules = rules_text(prepared.wanted);
  CHECK(prepared.holds(rules, R"(KERNEL=="0000:02:00.0", ATTR{vendor}=="0x1cc1", ATTR{device}=="0x0021", )"
                              R"(RUN+="/usr/bin/pollux bind 0000:02:00.0")"));
  CHECK(prepared.holds(rules, R"(SUBSYSTEM=="vfio", TEST=="/sys/kernel/iommu_groups/%k/devices/0000:02:00.0", )"
                              R"(OWNER="me", MODE="0600")"));
  CHECK(prepared.holds(rules, R"(SUBSYSTEM=="vfio-dev", KERNELS=="0000:02:00.0", OWNER="me", MODE="0600")"));
  CHECK(prepared.holds(limits_text(prepared.wanted), "\nme - memlock 132096\n"));
  CHECK(prepared.holds(sysctl_text(prepared.wanted, 3), "\nvm.nr_hugepages = 64\n"));
}

TEST_CASE("without a drive the nodes of every drive that is bound are the user's") {
  Prepared prepared;
  prepared.ask_for("me", {});
  CHECK(prepared.holds(rules_text(prepared.wanted), R"(SUBSYSTEM=="vfio|vfio-dev", OWNER="me", MODE="0600")"));
  CHECK_FALSE(prepared.holds(rules_text(prepared.wanted), "RUN+="));
}

TEST_CASE("hugepages that a machine has already are not taken from it") {
  Prepared prepared;
  CHECK(prepared.holds(sysctl_text(prepared.wanted, 200), "vm.nr_hugepages = 200"));
}

TEST_CASE("done twice, setup has nothing left to do") {
  Prepared prepared;
  prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted));
  CHECK(prepared.root.driver_of(kBdf) == "vfio-pci");
  CHECK(prepared.root.number("/proc/sys/vm/nr_hugepages") == 64u);
  prepared.ask_for("me", {kBdf});
  CHECK(prepared.left_to_do().empty());
}

TEST_CASE("a machine that is set up for somebody else is not set up over that") {
  Prepared prepared;
  prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted));
  prepared.ask_for("you", {kBdf});
  const auto steps = steps_of_setup(prepared.root, prepared.wanted);
  REQUIRE_FALSE(steps);
  CHECK(prepared.holds(steps.error().message(), "--undo"));
}

TEST_CASE("undo takes everything back: files, hugepages, drives") {
  Prepared prepared;
  prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted));
  for (const auto file : {kRulesFile, kLimitsFile, kSysctlFile}) CHECK(prepared.has(file));
  prepared.carry_out(*steps_of_undo(prepared.root));
  for (const auto file : {kRulesFile, kLimitsFile, kSysctlFile}) CHECK_FALSE(prepared.has(file));
  CHECK(prepared.root.number("/proc/sys/vm/nr_hugepages") == 3u);
  CHECK(prepared.root.driver_of(kBdf) == "nvme");
  CHECK(steps_of_undo(prepared.root)->empty());
}

TEST_CASE("undo goes no further than a drive that is in use") {
  Prepared prepared;
  prepared.carry_out(*steps_of_setup(prepared.root, prepared.wanted));
  prepared.machine.add_process(4711, "fio", "/dev/vfio/1");
  const auto steps = steps_of_undo(prepared.root);
  const auto first = steps->front().done();
  REQUIRE_FALSE(first);
  CHECK(prepared.holds(first.error().message(), "fio (pid 4711)"));
}

TEST_CASE("a file of setup's name that somebody else wrote stays as it is") {
  Prepared prepared;
  prepared.machine.put_file(std::string(kLimitsFile), "* - memlock unlimited\n");
  const auto steps =
      GENERATE(true, false) ? steps_of_setup(prepared.root, prepared.wanted) : steps_of_undo(prepared.root);
  REQUIRE_FALSE(steps);
  CHECK(prepared.holds(steps.error().message(), std::string(kLimitsFile)));
}

TEST_CASE("a program that others than root may change is not run at each boot") {
  Prepared prepared;
  CHECK(only_roots("/usr/bin/env"));
  prepared.machine.put_file("/usr/bin/pollux", "");
  const auto refused = only_roots(prepared.root.path("/usr/bin/pollux"));  // below /tmp
  REQUIRE_FALSE(refused);
  CHECK(prepared.holds(refused.error().message(), "others than root may change"));
}
