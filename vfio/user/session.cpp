#include "pollux/vfio/user/session.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "pollux/vfio/thread.hpp"

namespace pollux::vfio::user {
namespace {

constexpr Capabilities kOurs{.max_msg_fds = kMaxMessageFds,
                             .max_data_xfer_size = kMaxTransferBytes,
                             .max_dma_maps = 65535,
                             .page_sizes = 4096,
                             .write_multiple = true};
constexpr std::uint64_t kHostPageBytes = 4096;
constexpr std::uint64_t kLookNs = 1'000'000'000;  // how often the thread looks up from an empty socket

}  // namespace

Result<std::unique_ptr<Session>> Session::open(Socket socket, DmaWindows& windows, std::uint64_t reply_ns) {
  std::unique_ptr<Session> session(new Session(std::move(socket), windows, reply_ns));
  const auto reply = session->propose();
  if (!reply) return std::unexpected(reply.error());
  const auto terms = session->agree(*reply);
  if (!terms) return std::unexpected(terms.error());
  session->terms_ = *terms;
  if (auto started = session->start(); !started) return std::unexpected(std::move(started.error()));
  return session;
}

Result<void> Session::start() {
  auto thread = start_thread("a vfio-user session's thread", [this] { run(); });
  if (!thread) return std::unexpected(std::move(thread.error()));
  thread_ = std::move(*thread);
  return {};
}

std::expected<void, NotBack> Session::reopen(Socket socket) {
  const std::lock_guard nobody_asks(request_mutex_);
  close();
  socket_ = std::move(socket);
  const auto reply = propose();
  if (!reply) return std::unexpected(NotBack{reply.error(), false});
  const auto terms = agree(*reply);
  if (!terms) return std::unexpected(NotBack{terms.error(), true});
  if (*terms != terms_) {
    return std::unexpected(
        NotBack{{"another server answers: it offers other terms than before", "open the drive anew"}, true});
  }
  {
    const std::lock_guard lock(mutex_);
    ended_.reset();
    peer_gone_ = closing_ = false;
  }
  if (auto started = start(); !started) {
    end(started.error());
    return std::unexpected(NotBack{std::move(started.error()), false});
  }
  return {};
}

bool Session::has_ended() {
  const std::lock_guard lock(mutex_);
  return ended_.has_value();
}

bool Session::is_peer_gone() {
  const std::lock_guard lock(mutex_);
  return peer_gone_;
}

bool Session::part(std::uint64_t wait_ns) {
  end({"the connection is closed", {}});
  std::unique_lock lock(mutex_);
  return answered_.wait_for(lock, std::chrono::nanoseconds(wait_ns), [&] { return peer_gone_; });
}

Session::~Session() {
  if (opener_.is_this_process()) {
    close();
    return;
  }
  // The connection is the parent's. Neither the thread came along, nor whoever waits for an answer.
  std::construct_at(&thread_);
  std::construct_at(&answered_);
}

// Sends our version and waits for the server's.
Result<Message> Session::propose() {
  std::vector<std::byte> payload;
  append(payload, VersionPayload{});
  const std::string text = format_capabilities(kOurs);
  const auto bytes = std::as_bytes(std::span(text.c_str(), text.size() + 1));
  payload.insert(payload.end(), bytes.begin(), bytes.end());
  // Whoever closes at this point may have done so before the proposal went out, or after.
  const auto not_heard = [](Error why) {
    if (why.os_error == ECONNRESET) why.advice = "it speaks another version, or serves somebody else";
    return std::unexpected(std::move(why));
  };
  if (auto sent = socket_.send({.command = Command::version}, payload); !sent) return not_heard(sent.error());

  auto received = socket_.receive(reply_ns_);
  if (!received) return not_heard(received.error());
  if (!*received)
    return fail(
        fmt::format("no answer to {} for {} s", name_of(Command::version), static_cast<double>(reply_ns_) * 1e-9),
        "it may serve somebody else, or be no vfio-user server");
  Message& reply = **received;
  if (!reply.header.is_reply() || reply.header.command != Command::version || reply.header.id != 0)
    return fail(fmt::format("{} was answered with {}", name_of(Command::version), name_of(reply.header.command)),
                "this is no vfio-user server");
  if (reply.header.is_error())
    return fail_errno(static_cast<int>(reply.header.os_error),
                      fmt::format("{} was refused", name_of(Command::version)));
  return std::move(reply);
}

Result<Session::Terms> Session::agree(const Message& reply) const {
  const auto version = read_part<VersionPayload>(reply.payload);
  if (!version) return std::unexpected(version.error());
  if (version->major != kMajor || version->minor > kMinor)
    return fail(fmt::format("the server speaks version {}.{}, pollux 0.0 to {}.{}", version->major, version->minor,
                            kMajor, kMinor));
  const std::string_view json(reinterpret_cast<const char*>(reply.payload.data()) + sizeof *version,
                              reply.payload.size() - sizeof *version);
  const auto offered = parse_capabilities(json);
  if (!offered) return std::unexpected(offered.error());
  if (offered->max_msg_fds == 0 || offered->max_data_xfer_size == 0 || offered->page_sizes == 0)
    return fail("the server takes no file descriptors, no data or no pages", "pollux cannot use such a server");
  // Memory would be rounded to its pages, and what lies beside ours would be the server's to read and write.
  if (const std::uint64_t granule = offered->page_sizes & -offered->page_sizes; granule > kHostPageBytes)
    return fail(
        fmt::format("the server maps memory in pages of {} bytes, this host's have {}", granule, kHostPageBytes),
        "pollux cannot use such a server");
  Terms terms{.minor = version->minor, .capabilities = *offered};
  terms.capabilities.max_msg_fds = std::min(offered->max_msg_fds, kOurs.max_msg_fds);
  terms.capabilities.max_data_xfer_size = std::min(offered->max_data_xfer_size, kOurs.max_data_xfer_size);
  return terms;
}

Result<Message> Session::request(Command command, std::span<const std::byte> payload, std::span<const int> fds) {
  const std::lock_guard one_at_a_time(request_mutex_);
  Header header{.command = command};
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return std::unexpected(*ended_);
    header.id = ++last_id_;
    awaited_ = header;
    reply_.reset();
  }
  {
    const std::lock_guard lock(send_mutex_);
    if (auto sent = socket_.send(header, payload, fds); !sent) end(sent.error());
  }
  std::unique_lock lock(mutex_);
  const bool woken = answered_.wait_for(lock, std::chrono::nanoseconds(reply_ns_), [&] { return reply_ || ended_; });
  awaited_.reset();
  if (!woken) {
    lock.unlock();
    end({fmt::format("no answer to {} for {} s", name_of(command), static_cast<double>(reply_ns_) * 1e-9),
         "the server hangs: start it again"});
    lock.lock();
  }
  if (ended_) return std::unexpected(*ended_);
  Message reply = std::move(*reply_);
  reply_.reset();
  if (!reply.header.is_error()) return reply;
  const int os_error = reply.header.os_error != 0 ? static_cast<int>(reply.header.os_error) : EIO;
  return fail_errno(os_error, fmt::format("the server refused {}", name_of(command)));
}

void Session::run() {
  while (!has_ended()) {
    auto message = socket_.receive(kLookNs);
    if (!message) {
      end(message.error());
    } else if (!*message) {
      continue;
    } else if ((*message)->header.is_reply()) {
      deliver(std::move(**message));
    } else if (auto served = serve(**message); !served) {
      end(served.error());
    }
  }
  linger();
}

// Until the other side closes: what it still sends is nothing to us. Only this thread says that the peer is gone, and
// only here: one that has closed its end may have left a DMA_WRITE behind, which run() serves before.
void Session::linger() {
  const auto is_closing = [&] {
    const std::lock_guard lock(mutex_);
    return closing_;
  };
  while (!is_closing()) {
    if (!socket_.wait_for_end(kLookNs)) continue;
    const std::lock_guard lock(mutex_);
    peer_gone_ = peer_gone_ || !closing_;
    answered_.notify_all();
    return;
  }
}

void Session::deliver(Message reply) {
  {
    const std::lock_guard lock(mutex_);
    const bool fits =
        awaited_ && !reply_ && reply.header.id == awaited_->id && reply.header.command == awaited_->command;
    if (fits) {
      reply_ = std::move(reply);
      answered_.notify_all();
      return;
    }
  }
  end({fmt::format("a reply to {} with id {}, which nobody awaits", name_of(reply.header.command), reply.header.id),
       {}});
}

// The server's commands, answered on this thread.
Result<void> Session::serve(const Message& command) {
  Header header{.id = command.header.id, .command = command.header.command, .flags = Header::kTypeReply};
  std::vector<std::byte> payload;
  const auto answer = [&]() -> std::uint32_t {
    if (!command.header.is_command()) return EINVAL;
    if (header.command != Command::dma_read && header.command != Command::dma_write) return EOPNOTSUPP;
    const auto access = read_part<DmaAccessPayload>(command.payload);
    if (!access || access->count > kMaxTransferBytes) return EINVAL;
    append(payload, *access);
    const auto data = std::span(command.payload).subspan(sizeof *access);
    if (header.command == Command::dma_read) {
      payload.resize(sizeof *access + access->count);
      return windows_.read(access->iova, std::span(payload).subspan(sizeof *access)) ? 0 : EFAULT;
    }
    if (data.size() != access->count) return EINVAL;
    return windows_.write(access->iova, data) ? 0 : EFAULT;
  };
  header.os_error = answer();
  if (header.os_error != 0) {
    header.flags |= Header::kError;
    payload.clear();
  }
  if (!command.header.wants_reply()) return {};
  const std::lock_guard lock(send_mutex_);
  return socket_.send(header, payload);
}

void Session::end(Error why) {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_) ended_ = std::move(why);
    answered_.notify_all();
  }
  socket_.finish_sending();
}

void Session::close() noexcept {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  end({"the connection is closed", {}});
  socket_.shut_down();  // afterwards, since it is an end that the other thread would tell of
  if (thread_.joinable()) thread_.join();
}

}  // namespace pollux::vfio::user
