#include "scripted_server.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

namespace pollux::vfio::user {

ScriptedServer::ScriptedServer() : config_(kConfigBytes) {
  char folder[] = "/tmp/pollux-vfio-user-XXXXXX";
  folder_ = mkdtemp(folder);
  listener_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path().copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listener_.get(), raw, sizeof address) != 0 || listen(listener_.get(), 1) != 0) FAIL("no socket");
  file_ = FileDescriptor(memfd_create("bar0", MFD_CLOEXEC));
  if (ftruncate(file_.get(), kBar0Bytes) != 0) FAIL("no memory");
  bar0_ = static_cast<std::byte*>(mmap(nullptr, kBar0Bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  thread_ = std::thread([this] { run(); });
}

ScriptedServer::~ScriptedServer() {
  shutdown(listener_.get(), SHUT_RDWR);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (socket_) socket_->shut_down();
  }
  thread_.join();
  munmap(bar0_, kBar0Bytes);
  std::filesystem::remove_all(folder_);
}

void ScriptedServer::run() {
  for (;;) {
    FileDescriptor connected(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connected) return;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      socket_.emplace(std::move(connected));
    }
    serve();
  }
}

void ScriptedServer::serve() {
  for (;;) {
    auto message = socket_->receive(1'000'000'000);
    if (!message) return closes ? socket_->shut_down() : void();
    if (!*message) continue;
    // Noted before it is answered: a client that has its answer finds it in what was seen.
    const Message command{.header = (*message)->header, .payload = (*message)->payload, .fds = {}};
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(std::move(**message));
    }
    if (const auto scripted = answers_.find(command.header.command); scripted != answers_.end()) {
      scripted->second(command);
    } else if (command.header.is_command()) {
      behave(command);
    }
  }
}

void ScriptedServer::reply(const Message& command, std::span<const std::byte> payload, std::span<const int> fds) {
  (void)socket_->send({.id = command.header.id, .command = command.header.command, .flags = Header::kTypeReply},
                      payload, fds);
}

void ScriptedServer::refuse(const Message& command, std::uint32_t os_error) {
  (void)socket_->send({.id = command.header.id,
                       .command = command.header.command,
                       .flags = Header::kTypeReply | Header::kError,
                       .os_error = os_error},
                      {});
}

void ScriptedServer::send_bytes(std::span<const std::byte> bytes) {
  (void)!::send(socket_->fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void ScriptedServer::behave(const Message& command) {
  std::vector<std::byte> payload;
  switch (command.header.command) {
    case Command::version: {
      append(payload, VersionPayload{major, minor});
      for (const char c : capabilities) payload.push_back(static_cast<std::byte>(c));
      payload.push_back(std::byte{0});
      return reply(command, payload);
    }
    case Command::device_get_info: {
      append(payload, DeviceInfoPayload{
                          .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET, .regions = 9, .interrupts = 5});
      return reply(command, payload);
    }
    case Command::device_get_region_info:
      return answer_region_info(command);
    case Command::device_get_irq_info: {
      auto info = *read_part<vfio_irq_info>(command.payload);
      info.flags = VFIO_IRQ_INFO_EVENTFD;
      info.count = info.index == VFIO_PCI_MSIX_IRQ_INDEX ? kVectors : 0;
      append(payload, info);
      return reply(command, payload);
    }
    case Command::region_read: {
      const auto access = *read_part<RegionAccessPayload>(command.payload);
      append(payload, access);
      const std::byte* const from = (access.region == 0 ? bar0_ : config_.data()) + access.offset;
      payload.insert(payload.end(), from, from + access.count);
      return reply(command, payload);
    }
    case Command::region_write: {
      const auto access = *read_part<RegionAccessPayload>(command.payload);
      std::memcpy((access.region == 0 ? bar0_ : config_.data()) + access.offset, command.payload.data() + sizeof access,
                  access.count);
      append(payload, access);
      return reply(command, payload);
    }
    case Command::region_write_multi: {
      const auto writes = *read_part<std::uint64_t>(command.payload);
      for (std::uint64_t i = 0; i < writes; ++i) {
        const auto one = *read_part<SingleWrite>(command.payload, sizeof writes + i * sizeof(SingleWrite));
        std::memcpy(bar0_ + one.offset, &one.data, one.count);
      }
      append(payload, writes);
      return reply(command, payload);
    }
    case Command::dma_unmap:
      return reply(command, command.payload);
    default:
      return reply(command);
  }
}

void ScriptedServer::answer_region_info(const Message& command) {
  auto info = *read_part<vfio_region_info>(command.payload);
  const std::uint32_t room = info.argsz;
  info.argsz = sizeof info;
  std::vector<std::byte> payload, capability;
  if (info.index == 0) {
    info.size = kBar0Bytes;
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP |
                 VFIO_REGION_INFO_FLAG_CAPS;
    append(capability, vfio_info_cap_header{.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1, .next = 0});
    append(capability, std::uint64_t{1});  // one area, and what is reserved
    append(capability, std::uint64_t{kDoorbellOffset});
    append(capability, std::uint64_t{kDoorbellBytes});
    info.argsz += static_cast<std::uint32_t>(capability.size());
  }
  if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
    info.size = kConfigBytes;
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  }
  const bool fits = room >= info.argsz;
  if (fits && !capability.empty()) info.cap_offset = sizeof info;
  append(payload, info);
  if (!fits || capability.empty()) return reply(command, payload);
  payload.insert(payload.end(), capability.begin(), capability.end());
  const int fds[] = {file_.get()};
  reply(command, payload, fds);
}

std::size_t ScriptedServer::count(Command command) {
  const std::lock_guard lock(mutex_);
  std::size_t found = 0;
  for (const Message& one : seen_) found += one.header.command == command;
  return found;
}

std::vector<Message> ScriptedServer::take(Command command) {
  const std::lock_guard lock(mutex_);
  std::vector<Message> found;
  for (Message& one : seen_)
    if (one.header.command == command) found.push_back(std::move(one));
  std::erase_if(seen_, [&](const Message& one) { return one.header.command == command; });
  return found;
}

}  // namespace pollux::vfio::user
