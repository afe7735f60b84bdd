// pollux: which NVMe drives there are, whose they are, and what they say of themselves.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "pollux/tools/pollux/commands.hpp"
#include "pollux/tools/pollux/doctor/machine.hpp"

namespace {

using namespace pollux;

constexpr int kFailed = 1;
constexpr int kWrongUse = 2;

// Everything on the command line, and the command that it asks for, which answers with the exit code.
struct CommandLine {
  std::string format = "text";
  std::vector<std::string> words;
  std::string address;
  bool new_id = false;
  bool kernel = false;
  std::optional<unsigned> count;
  cli::SetupRequest setup;
  std::function<Result<int>()> run;

  cli::Format chosen() const { return format == "json" ? cli::Format::json : cli::Format::text; }

  // A command whose exit code is 0 where it has done what it should.
  std::function<void()> runs(std::function<Result<void>()> command) {
    return [this, command] {
      run = [command]() -> Result<int> {
        auto done = command();
        return done ? Result<int>(0) : std::unexpected(std::move(done.error()));
      };
    };
  }
};

void add_format(CLI::App& command, CommandLine& line) {
  command.add_option("-o,--output-format", line.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
}

CLI::Option* add_targets(CLI::App& command, std::vector<std::string>& words) {
  return command.add_option("ADDRESS", words, "functions, as 0000:02:00.0, or ids, as 1cc1:0021 or 1cc1:*");
}

void add_ready(CLI::App& app, CommandLine& line) {
  CLI::App* doctor = app.add_subcommand("doctor", "what is between here and I/O, and what mends it");
  doctor->add_option("ADDRESS", line.address, "a PCI function, as 0000:02:00.0; none: all drives");
  add_format(*doctor, line);
  doctor->callback([&] { line.run = [&] { return cli::doctor(cli::Machine::here(), line.address, line.chosen()); }; });
  doctor->footer(
      "Exit codes: 0 ready, 1 something is in the way, 3 nothing but warnings.\n"
      "Example: pollux doctor 0000:02:00.0");

  CLI::App* setup = app.add_subcommand("setup", "make this machine ready for a user, over boots too (root)");
  CLI::Option* user = setup->add_option("--user", line.setup.user, "who is to drive the drives")->type_name("NAME");
  CLI::Option* drives = add_targets(*setup, line.setup.words);
  CLI::Option* pages =
      setup->add_option("--hugepages", line.setup.hugepages, "how many of 2 MiB there shall be at least")
          ->check(CLI::Range(1, 1 << 20))
          ->capture_default_str();
  setup->add_flag("--dry-run", line.setup.dry_run, "only tell what it would do");
  setup->add_flag("--undo", line.setup.undo, "take all of it back")->excludes(user)->excludes(drives)->excludes(pages);
  setup->callback(line.runs([&] { return cli::setup(line.setup); }));
  setup->footer(
      "Examples: pollux setup --user me --dry-run 0000:02:00.0\n"
      "          pollux setup --undo");
}

void add_drives(CLI::App& app, CommandLine& line) {
  CLI::App* list = app.add_subcommand("list", "the NVMe drives of this machine");
  add_format(*list, line);
  list->callback(line.runs([&] { return cli::list(line.chosen()); }));
  list->footer("Example: pollux list -o json");

  CLI::App* status = app.add_subcommand("status", "hugepages; of each drive its driver, group, and who uses it");
  add_format(*status, line);
  status->callback(line.runs([&] { return cli::status(line.chosen()); }));
  status->footer("Example: pollux status");

  CLI::App* bind = app.add_subcommand("bind", "give drives to vfio-pci (root); refuses a drive in use");
  add_targets(*bind, line.words)->required();
  bind->add_flag("--new-id", line.new_id, "by vendor and device id, instead of driver_override");
  bind->callback(line.runs(
      [&] { return cli::bind(line.words, line.new_id ? vfio::BindWay::new_id : vfio::BindWay::driver_override); }));
  bind->footer(
      "All of them change hands, or none.\nExamples: pollux bind 0000:02:00.0 0000:03:00.0\n"
      "          pollux bind '1cc1:*'");

  CLI::App* unbind = app.add_subcommand("unbind", "give drives back to the kernel's nvme driver (root)");
  add_targets(*unbind, line.words)->required();
  unbind->callback(line.runs([&] { return cli::unbind(line.words); }));
  unbind->footer("All of them change hands, or none.\nExample: pollux unbind 1cc1:0021");

  CLI::App* vfs = app.add_subcommand("vfs", "the virtual functions of a function, or how many it shall have (root)");
  vfs->add_option("ADDRESS", line.address, "a PCI function, as 0000:02:00.0")->required();
  vfs->add_option("COUNT", line.count, "creates this many; 0 removes them");
  add_format(*vfs, line);
  vfs->callback(line.runs([&] { return cli::vfs(line.address, line.count, line.chosen()); }));
  vfs->footer("Example: pollux vfs 0000:02:00.0 4");

  CLI::App* info = app.add_subcommand("info", "open a device and tell what it is; the kernel must not be using it");
  info->add_option("ADDRESS", line.address, "0000:02:00.0 or soft:size=1GiB")->required();
  info->add_flag("--kernel", line.kernel, "draw what it has built in the kernel, and by which calls");
  add_format(*info, line);
  info->callback(line.runs([&] {
    return line.kernel ? cli::info_kernel(line.address, line.chosen()) : cli::info(line.address, line.chosen());
  }));
  info->footer(
      "Examples: pollux info soft:size=1GiB\n"
      "          pollux info --kernel 0000:02:00.0");
}

void add_commands(CLI::App& app, CommandLine& line) {
  app.set_version_flag("--version", POLLUX_VERSION);
  app.require_subcommand(0, 1);  // none is told below: a misspelled one is then named by the parser
  add_ready(app, line);
  add_drives(app, line);
  app.footer(
      "Examples: pollux doctor                  what is missing, and what mends it\n"
      "          pollux bind 0000:02:00.0       as root\n"
      "          pollux info 0000:02:00.0");
}

// An error of the parser in one line.
std::string one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

// A full disk behind a redirection must not look like success.
std::string not_written(int os_error) {
  return fail_errno(os_error, "the output cannot be written", "is the disk full?").error().message();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit on its size (ulimit -f) is a write that fails, and is told
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
  try {
    const auto done = line.run();
    if (done && std::fflush(stdout) == 0) return *done;
    fmt::print(stderr, "pollux: {}\n", done ? not_written(errno) : done.error().message());
  } catch (const std::system_error& error) {  // of fmt, when more than a buffer cannot be written
    fmt::print(stderr, "pollux: {}\n", not_written(error.code().value()));
  }
  return kFailed;
}
