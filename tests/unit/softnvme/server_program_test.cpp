// The program softnvme: its socket file, its clients one after the other, what it says, and how it ends.
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>

#include "pollux/driver/spec/registers.hpp"
#include "pollux/tests/unit/bench/program.hpp"
#include "pollux/vfio/clock.hpp"
#include "raw_client.hpp"
#include "server_program.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint64_t kPage = RawClient::kPageBytes;

std::unique_ptr<RawClient> connect(const Folder& folder) {
  auto socket = vfio::user::Socket::connect(folder.socket);
  REQUIRE(socket);
  return std::make_unique<RawClient>(std::move(*socket));
}

// One who is served.
std::unique_ptr<RawClient> guest(const Folder& folder) {
  auto client = connect(folder);
  REQUIRE_FALSE(client->agree().header.is_error());
  return client;
}

bench::ProgramResult refused(std::vector<std::string> arguments, const bench::ProgramOptions& options = {}) {
  arguments.insert(arguments.begin(), SOFTNVME);
  bench::ProgramResult result = bench::run_program(arguments, options);
  INFO(result.err);
  CHECK(result.exit_code == 1);
  CHECK(result.out.empty());
  CHECK(std::ranges::count(result.err, '\n') == 1);
  return result;
}

TEST_CASE("SIGTERM and SIGINT end the server with 0, and its socket is gone") {
  const int signal = GENERATE(SIGTERM, SIGINT);
  const bool connected = GENERATE(false, true);
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  auto client = connected ? guest(folder) : nullptr;
  CHECK(program.end(signal) == 0);
  CHECK_FALSE(std::filesystem::exists(folder.socket));
  CHECK((program.output().find("disconnected, the server ends: 0 reads") != std::string::npos) == connected);
}

TEST_CASE("the socket is its owner's alone, or as --mode says") {
  const auto [arguments, mode] = GENERATE(
      table<std::vector<std::string>, unsigned>({{{"size=1MiB"}, 0600}, {{"--mode", "0666", "size=1MiB"}, 0666}}));
  Folder folder;
  ServerProgram program(folder, arguments);
  struct stat info{};
  REQUIRE(stat(folder.socket.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == mode);
}

TEST_CASE("a socket that nobody listens at is replaced; where a server listens, or something else is, none begins") {
  Folder folder;
  {
    const vfio::FileDescriptor stale(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    folder.socket.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  ServerProgram program(folder, {"size=1MiB"});
  CHECK(refused({"--socket", folder.socket}).err.find("a server listens at") != std::string::npos);
  CHECK(guest(folder)->read(VFIO_PCI_CONFIG_REGION_INDEX, 0, 4) == 0x0021'1cc1);
  CHECK(refused({"--socket", folder.path + "/log"}).err.find("is no socket") != std::string::npos);
  CHECK(std::filesystem::exists(folder.path + "/log"));
}

TEST_CASE("a command line that is wrong is refused in one line that says what to do") {
  Folder folder;
  const std::string socket = "--socket=" + folder.socket;
  CHECK(refused({}).err.find("--socket is required: see \"softnvme --help\"") != std::string::npos);
  CHECK(refused({socket, "--mode", "0800"}).err.find("give an octal number") != std::string::npos);
  CHECK(refused({socket, "--mode", "1777"}).err.find("give an octal number") != std::string::npos);
  CHECK(refused({socket, "blok=512"}).err.find("blok=512 is not known: valid are size=") != std::string::npos);
  CHECK(refused({socket, "size=1MiB", "more"}).err.find("--help") != std::string::npos);
  CHECK(refused({"--socket", folder.path + "/no/folder"}).err.find("does its folder exist") != std::string::npos);
  CHECK(refused({"--socket", std::string(200, 'x')}).err.find("1 to 107 fit") != std::string::npos);
  CHECK(refused({"--socket="}).err.find("--help") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.socket));
}

TEST_CASE("a limit on file sizes is told in a line, and no signal ends the server") {
  Folder folder;
  const auto result =
      refused({"--socket", folder.socket, "size=64MiB,file=" + folder.path + "/drive"}, {.file_limit_bytes = 10 << 10});
  CHECK(result.err.find("EFBIG") != std::string::npos);
}

TEST_CASE("clients are served one after the other, named when they come, and their deeds told when they go") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  for (int i = 0; i < 3; ++i) {
    SharedFile memory(4 * kPage);
    auto client = guest(folder);
    client->bring_up(memory);
    client->identify();
    CHECK(client->answered());
    if (i == 2) client->write(0, nvme::reg::kVs, 1, 4);  // which is read-only
    client.reset();
  }
  const std::string name = fmt::format("client {} (uid {})", getpid(), getuid());
  CHECK(program.says("1 violation"));
  const std::string output = program.output();
  CHECK(output.find(name + " connected\n") != std::string::npos);
  CHECK(output.find(name + " left: 0 reads, 0 writes, 0 other I/O commands, ") != std::string::npos);
  CHECK(output.find("messages; no violation\n") != std::string::npos);
  CHECK(output.find("sent away") == std::string::npos);
  CHECK(program.end(SIGTERM) == 0);
}

TEST_CASE("while one is connected another is sent away, and then may come") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  auto first = guest(folder);
  auto second = connect(folder);
  const auto closed = second->socket.receive(kWaitNs);
  REQUIRE_FALSE(closed);
  CHECK(closed.error().os_error == ECONNRESET);
  CHECK(program.says("sent away"));
  CHECK(first->read(VFIO_PCI_CONFIG_REGION_INDEX, 0, 4) == 0x0021'1cc1);
  first.reset();
  guest(folder);
}

TEST_CASE("a client that talks nonsense is disconnected, and the next is served") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  {
    auto client = connect(folder);
    std::vector<std::byte> noise(4096, std::byte{0xa5});
    REQUIRE(write(client->socket.fd(), noise.data(), noise.size()) > 0);
    CHECK(program.says("disconnected, "));
  }
  {
    auto client = guest(folder);
    const Header header{.command = Command::device_reset, .size = 64};
    REQUIRE(write(client->socket.fd(), &header, sizeof header) == sizeof header);  // and closes
  }
  CHECK(guest(folder)->refusal(Command::device_reset) == 0);
  CHECK(program.end(SIGTERM) == 0);
}

TEST_CASE("a client that says nothing does not keep the place for ever") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  auto silent = connect(folder);
  CHECK(program.says("disconnected, it did not say what version it speaks"));
  CHECK(guest(folder)->refusal(Command::device_reset) == 0);
}

TEST_CASE("a client that truncates the memory that it shared is disconnected, and the next is served") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  for (int i = 0; i < 2; ++i) {
    SharedFile memory(4 * kPage);
    auto client = guest(folder);
    client->bring_up(memory);
    memory.truncate(0);
    client->ring(0, 1);
    const auto closed = client->socket.receive(kWaitNs);
    REQUIRE_FALSE(closed);
    CHECK(closed.error().os_error == ECONNRESET);
  }
  CHECK(program.says("disconnected, it took away memory that it had shared"));
  SharedFile memory(4 * kPage);
  auto client = guest(folder);
  client->bring_up(memory);
  client->identify();
  CHECK(client->answered());
  CHECK(program.end(SIGTERM) == 0);
}

TEST_CASE("a SIGBUS that no client's memory explains ends the server") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  CHECK(program.end(SIGBUS) == -1);
}

TEST_CASE("a client that fills its eventfd cannot stop the server") {
  Folder folder;
  ServerProgram program(folder, {"size=1MiB"});
  SharedFile memory(4 * kPage);
  auto client = guest(folder);
  const vfio::FileDescriptor eventfd(::eventfd(0, EFD_CLOEXEC));  // a write waits while it is full
  REQUIRE(client->set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
                           {eventfd.get()}) == 0);
  const std::uint64_t full = ~0ull - 1;
  REQUIRE(write(eventfd.get(), &full, sizeof full) == sizeof full);
  client->bring_up(memory);
  client->identify();
  REQUIRE(client->answered());
  CHECK(client->refusal(Command::device_reset) == 0);
  client.reset();
  CHECK(guest(folder)->refusal(Command::device_reset) == 0);
  CHECK(program.end(SIGTERM) == 0);
}

}  // namespace
}  // namespace pollux::softnvme
