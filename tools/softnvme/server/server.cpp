#include "pollux/tools/softnvme/server/server.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "pollux/tools/softnvme/server/fault_guard.hpp"
#include "pollux/vfio/clock.hpp"

namespace pollux::softnvme::server {
namespace {

constexpr int kRoundMs = 100;  // a fault in a client's memory is noticed that soon
constexpr const char* kTruncated = "it took away memory that it had shared";
constexpr const char* kSilent = "it did not say what version it speaks";

}  // namespace

void say(const std::string& line) {
  fmt::print("softnvme: {}\n", line);
  std::fflush(stdout);
}

Server::Guest::Guest(vfio::IoAddressSpace& space, SoftDeviceThread& device, Client client)
    : name(fmt::format("client {} (uid {})", client.pid, client.uid)),
      session(space, device, vfio::user::Socket(std::move(client.connection)),
              [this](const std::string& line) { say(fmt::format("{}: {}", name, line)); }),
      came_ns(steady_clock().now_ns()) {}

Result<void> Server::run(int stop_fd) {
  for (;;) {
    pollfd entries[] = {
        {stop_fd, POLLIN, 0}, {listener_.fd(), POLLIN, 0}, {guest_ ? guest_->session.fd() : -1, POLLIN | POLLRDHUP, 0}};
    const int ready = poll(entries, std::size(entries), kRoundMs);
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for clients");
    if (ready > 0 && entries[0].revents != 0) return guest_ ? part("the server ends") : Result<void>();
    // One that has closed is heard out first, so that the next, who came after that, is not sent away.
    const bool closed = ready > 0 && (entries[2].revents & (POLLRDHUP | POLLHUP)) != 0;
    if (ready > 0 && entries[1].revents != 0 && !closed) welcome();
    if (!guest_) continue;
    Result<void> served;
    if (fault_guard::take_fault()) {
      served = part(kTruncated);
    } else if (ready > 0 && entries[2].revents != 0) {
      served = serve_guest();
    } else if (!guest_->session.agreed() && steady_clock().now_ns() - guest_->came_ns > kVersionNs) {
      served = part(kSilent);
    }
    if (!served) return served;
  }
}

void Server::welcome() {
  Result<std::optional<Client>> client = listener_.accept();
  if (!client) {
    say(client.error().message());
    steady_clock().pause_ns(kRoundMs * kNsPerMs);  // who waits goes on waiting: not as fast as we can
    return;
  }
  if (!*client) return;
  if (guest_) {
    say(fmt::format("client {} (uid {}) sent away: {} is connected", (*client)->pid, (*client)->uid, guest_->name));
    return;
  }
  device_.clear_violations();
  served_ = device_.served();
  guest_ = std::make_unique<Guest>(space_, device_, std::move(**client));
  say(guest_->name + " connected");
}

Result<void> Server::serve_guest() {
  const Result<void> served = guest_->session.serve(0);
  if (served) return {};
  return part(served.error().os_error == ECONNRESET ? std::string() : served.error().message());
}

Result<void> Server::part(const std::string& why) {
  Result<void> ended = guest_->session.end();
  const ServedCommands now = device_.served();
  const std::vector<Violation> broken = device_.violations();
  const std::uint64_t count = device_.violation_count();
  // One that came to light between the last look and the end.
  const bool truncated = fault_guard::take_fault() && why.empty();
  say(fmt::format("{} {}: {} reads, {} writes, {} other I/O commands, {} messages; {}", guest_->name,
                  why.empty() && !truncated ? "left" : fmt::format("disconnected, {}", truncated ? kTruncated : why),
                  now.reads - served_.reads, now.writes - served_.writes, now.others - served_.others,
                  guest_->session.messages(),
                  count == 0 ? "no violation" : fmt::format("{} violation{}", count, count == 1 ? "" : "s")));
  for (std::size_t i = 0; i < std::min(broken.size(), kToldViolations); ++i) say("  " + broken[i].text);
  if (count > kToldViolations) say(fmt::format("  and {} more", count - kToldViolations));
  guest_.reset();
  return ended;
}

}  // namespace pollux::softnvme::server
