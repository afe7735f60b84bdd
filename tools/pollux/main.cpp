// pollux: which NVMe drives there are, whose they are, and what they say of themselves.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pollux/tools/pollux/commands.hpp"

namespace {

using namespace pollux;

constexpr int kFailed = 1;
constexpr int kWrongUse = 2;

// Everything on the command line, and the command that it asks for.
struct CommandLine {
  std::string format = "text";
  std::vector<std::string> addresses;
  std::string address;
  bool new_id = false;
  std::optional<unsigned> count;
  std::function<Result<void>()> run;

  cli::Format chosen() const { return format == "json" ? cli::Format::json : cli::Format::text; }
};

void add_format(CLI::App& command, CommandLine& line) {
  command.add_option("-o,--output-format", line.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
}

void add_commands(CLI::App& app, CommandLine& line) {
  app.set_version_flag("--version", POLLUX_VERSION);
  app.require_subcommand(0, 1);  // none is told below: a misspelled one is then named by the parser

  CLI::App* list = app.add_subcommand("list", "the NVMe functions of this machine");
  add_format(*list, line);
  list->callback([&] { line.run = [&] { return cli::list(line.chosen()); }; });

  CLI::App* status = app.add_subcommand("status", "of each: its driver, its IOMMU group, and who uses it");
  add_format(*status, line);
  status->callback([&] { line.run = [&] { return cli::status(line.chosen()); }; });

  CLI::App* bind = app.add_subcommand("bind", "give drives to vfio-pci (root); refuses a drive in use");
  bind->add_option("ADDRESS", line.addresses, "PCI functions, as 0000:02:00.0")->required();
  bind->add_flag("--new-id", line.new_id, "by vendor and device id, instead of driver_override");
  bind->callback([&] {
    line.run = [&] {
      return cli::bind(line.addresses, line.new_id ? vfio::BindWay::new_id : vfio::BindWay::driver_override);
    };
  });

  CLI::App* unbind = app.add_subcommand("unbind", "give drives back to the kernel's nvme driver (root)");
  unbind->add_option("ADDRESS", line.addresses, "PCI functions, as 0000:02:00.0")->required();
  unbind->callback([&] { line.run = [&] { return cli::unbind(line.addresses); }; });

  CLI::App* vfs = app.add_subcommand("vfs", "the virtual functions of a function, or how many it shall have (root)");
  vfs->add_option("ADDRESS", line.address, "a PCI function, as 0000:02:00.0")->required();
  vfs->add_option("COUNT", line.count, "creates this many; 0 removes them");
  add_format(*vfs, line);
  vfs->callback([&] { line.run = [&] { return cli::vfs(line.address, line.count, line.chosen()); }; });

  CLI::App* info = app.add_subcommand("info", "open a device and tell what it is; the kernel must not be using it");
  info->add_option("ADDRESS", line.address, "0000:02:00.0 or soft:size=1GiB")->required();
  add_format(*info, line);
  info->callback([&] { line.run = [&] { return cli::info(line.address, line.chosen()); }; });
}

// An error of the parser in one line.
std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  CommandLine line;
  CLI::App app("NVMe drives from user space: which there are, whose they are, what they say", "pollux");
  add_commands(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    fmt::print(stderr, "pollux: {}: see \"pollux --help\"\n", one_line(error.what()));
    return kWrongUse;
  }
  if (!line.run) {
    fmt::print(stderr, "pollux: no command given: see \"pollux --help\"\n");
    return kWrongUse;
  }
  const auto done = line.run();
  if (done) return 0;
  fmt::print(stderr, "pollux: {}\n", done.error().message());
  return kFailed;
}
