// softnvme: the software NVMe controller behind a UNIX socket, for any client of the vfio-user protocol.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <string>

#include "pollux/tools/softnvme/server/fault_guard.hpp"
#include "pollux/tools/softnvme/server/listener.hpp"
#include "pollux/tools/softnvme/server/server.hpp"
#include "pollux/tools/softnvme/space.hpp"

namespace {

using namespace pollux;
using namespace pollux::softnvme;

constexpr int kFailed = 1;

struct CommandLine {
  std::string socket;
  std::string mode = "0600";
  std::string options;
  bool strict = false;
};

Result<mode_t> parse_mode(const std::string& text) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || mode > 0777)
    return fail(fmt::format("--mode {} is no set of permissions", text),
                "give an octal number up to 0777, such as 0660");
  return mode;
}

// The signals that end the program, as a file to wait for. They are held back in this thread and all that it starts.
Result<vfio::FileDescriptor> hold_signals() {
  sigset_t held;
  sigemptyset(&held);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&held, signal);
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  vfio::FileDescriptor file(signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!file) return fail_errno(errno, "cannot make a signalfd");
  return file;
}

// A client can fill its eventfd, and then the controller's thread would wait in the write for ever. A signal that it
// alone takes, once a second, leads it out of that. To be called by another thread when that one runs.
void bound_waits() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART: the write ends with EINTR
  sigaction(SIGALRM, &action, nullptr);
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
  const itimerval each_second{.it_interval = {1, 0}, .it_value = {1, 0}};
  setitimer(ITIMER_REAL, &each_second, nullptr);
}

// An eventfd a vector, and as many again while a set is replaced: 512 vectors are more than the usual limit takes.
void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<void> serve(const CommandLine& line) {
  const Result<mode_t> mode = parse_mode(line.mode);
  if (!mode) return std::unexpected(mode.error());
  std::string options = line.options;
  if (line.strict) options += options.empty() ? "trap=1" : ",trap=1";  // doorbells by message
  const Result<vfio::Address> address = vfio::Address::parse("soft:" + options);
  if (!address) return std::unexpected(address.error());
  std::signal(SIGPIPE, SIG_IGN);
  const Result<vfio::FileDescriptor> stop = hold_signals();
  if (!stop) return std::unexpected(stop.error());
  if (const Result<void> guarded = server::fault_guard::install(); !guarded) return guarded;
  raise_file_limit();

  SoftSpace space({{0, ~0ull}});  // whatever its IOVAs, a client's memory is taken
  const Result<std::unique_ptr<vfio::Device>> device = space.attach(*address);
  if (!device) return std::unexpected(device.error());
  auto& soft = static_cast<SoftDeviceThread&>(**device);
  if (line.strict) soft.be_strict();
  const auto listener = server::Listener::create(line.socket, *mode);
  if (!listener) return std::unexpected(listener.error());
  bound_waits();
  server::say(fmt::format("serving {} at {}", address->text, line.socket));
  return server::Server(space, soft, **listener).run(stop->get());
}

int report(std::string error) {
  std::ranges::replace(error, '\n', ' ');
  fmt::print(stderr, "softnvme: {}\n", error);
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit on its size (ulimit -f) is a write that fails, and is told
  CommandLine line;
  CLI::App app("An NVMe controller in software, behind a UNIX socket: a vfio-user server", "softnvme");
  app.footer("Example: softnvme --socket /run/user/1000/nvme.sock size=1GiB,block=4096");
  app.set_version_flag("--version", POLLUX_VERSION);
  app.add_option("--socket", line.socket, "where clients connect")->required()->type_name("PATH");
  app.add_option("--mode", line.mode, "permissions of the socket, octal; 0600 if not given")->type_name("MODE");
  app.add_flag("--strict", line.strict, "ask as much of clients as other targets do, and offer as little");
  app.add_option("OPTIONS", line.options, "those of a soft: address, as size=1GiB,null=1")->type_name("");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    return report(fmt::format("{}: see \"softnvme --help\"", error.what()));
  }
  const Result<void> served = serve(line);
  return served ? 0 : report(served.error().message());
}
