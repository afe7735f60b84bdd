#include "server_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

namespace pollux::softnvme {

Folder::Folder() : path((std::filesystem::temp_directory_path() / fmt::format("pollux-server-{}", getpid())).string()) {
  socket = path + "/nvme.sock";
  std::filesystem::remove_all(path);
  std::filesystem::create_directory(path);
}

Folder::~Folder() { std::filesystem::remove_all(path); }

ServerProgram::ServerProgram(const Folder& folder, std::vector<std::string> arguments) : log_(folder.path + "/log") {
  arguments.insert(arguments.begin(), {SOFTNVME, "--socket", folder.socket});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::filesystem::remove(log_);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {
    const int out = open(log_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  REQUIRE(says("serving soft:"));
}

ServerProgram::~ServerProgram() {
  if (pid_ > 0) end(SIGKILL);
}

int ServerProgram::end(int signal) {
  kill(pid_, signal);
  int status = 0;
  const bool ended = wait_until([&] { return waitpid(pid_, &status, WNOHANG) == pid_; });
  if (!ended) kill(pid_, SIGKILL);
  pid_ = -1;
  REQUIRE(ended);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void ServerProgram::freeze() {
  REQUIRE(kill(pid_, SIGSTOP) == 0);
  int status = 0;
  REQUIRE(waitpid(pid_, &status, WUNTRACED) == pid_);
}

void ServerProgram::thaw() { REQUIRE(kill(pid_, SIGCONT) == 0); }

std::string ServerProgram::output() const {
  std::ostringstream text;
  text << std::ifstream(log_).rdbuf();
  return text.str();
}

bool ServerProgram::says(const std::string& text) const {
  return wait_until([&] { return output().find(text) != std::string::npos; });
}

}  // namespace pollux::softnvme
