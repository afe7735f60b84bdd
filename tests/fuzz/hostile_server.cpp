#include "hostile_server.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pollux/vfio/user/capabilities.hpp"

namespace pollux::fuzz {
namespace {

using namespace vfio::user;

constexpr std::uint64_t kWaitNs = 60'000'000'000;  // for a client that does something else

// A payload's part, as far as it is there.
template <typename T>
T part_of(const Message& message) {
  T part{};
  std::memcpy(&part, message.payload.data(), std::min(sizeof part, message.payload.size()));
  return part;
}

std::vector<std::byte> region_info(std::uint32_t index) {
  vfio_region_info info{};
  info.argsz = sizeof info;
  info.index = index;
  info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  std::vector<std::byte> payload;
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) info.size = 4096;
  if (index != VFIO_PCI_BAR0_REGION_INDEX) {
    append(payload, info);
    return payload;
  }
  vfio_region_info_cap_sparse_mmap sparse{};
  sparse.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1, .next = 0};
  sparse.nr_areas = 1;
  const vfio_region_sparse_mmap_area area{.offset = 0x1000, .size = 0x1000};
  info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
  info.size = HostileServer::kBarBytes;
  info.cap_offset = sizeof info;
  info.argsz = sizeof info + sizeof sparse + sizeof area;
  append(payload, info);
  append(payload, sparse);
  append(payload, area);
  return payload;
}

}  // namespace

HostileServer::HostileServer(const std::string& path, Input script)
    : script_(script),
      listening_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      bar_(memfd_create("bar", MFD_CLOEXEC)),
      read_only_(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)),
      short_(memfd_create("short", MFD_CLOEXEC)),
      eventfd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      zero_(open("/dev/zero", O_RDWR | O_CLOEXEC)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  must(path.size() < sizeof address.sun_path, "a path that fits");
  std::memcpy(address.sun_path, path.data(), path.size());
  unlink(path.c_str());
  must(bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
  must(listen(listening_.get(), 4) == 0, "listen");
  must(ftruncate(bar_.get(), kBarBytes) == 0 && ftruncate(short_.get(), 100) == 0, "files");
  thread_ = std::thread([this] { run(); });
}

HostileServer::~HostileServer() {
  shutdown(listening_.get(), SHUT_RDWR);
  thread_.join();
}

void HostileServer::run() {
  for (;;) {
    vfio::FileDescriptor connected(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connected) return;
    serve(std::move(connected));
  }
}

void HostileServer::serve(vfio::FileDescriptor connected) {
  Socket socket(std::move(connected));
  for (;;) {
    const auto received = socket.receive(kWaitNs);
    if (!received || !*received) return;
    if ((*received)->header.is_reply()) continue;  // to a command of ours
    if (!answer(socket, **received)) return;
  }
}

HostileServer::Reply HostileServer::honest(const Message& asked) const {
  Reply reply;
  reply.header = {.id = asked.header.id, .command = asked.header.command, .flags = Header::kTypeReply};
  switch (asked.header.command) {
    case Command::version: {
      append(reply.payload, VersionPayload{});
      const std::string json = format_capabilities({.max_msg_fds = 2, .write_multiple = true});
      const auto bytes = std::as_bytes(std::span(json.c_str(), json.size() + 1));
      reply.payload.insert(reply.payload.end(), bytes.begin(), bytes.end());
      break;
    }
    case Command::device_get_info:
      append(reply.payload, DeviceInfoPayload{.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
                                              .regions = VFIO_PCI_NUM_REGIONS,
                                              .interrupts = VFIO_PCI_NUM_IRQS});
      break;
    case Command::device_get_region_info: {
      const auto index = part_of<vfio_region_info>(asked).index;
      reply.payload = region_info(index);
      if (index == VFIO_PCI_BAR0_REGION_INDEX) reply.fds = {bar_.get()};
      break;
    }
    case Command::device_get_irq_info: {
      vfio_irq_info info = part_of<vfio_irq_info>(asked);
      info.flags = VFIO_IRQ_INFO_EVENTFD;
      info.count = 4;
      append(reply.payload, info);
      break;
    }
    case Command::region_read: {
      const auto access = part_of<RegionAccessPayload>(asked);
      append(reply.payload, access);
      reply.payload.resize(sizeof access + std::min(access.count, kMaxTransferBytes), std::byte{0x5a});
      break;
    }
    case Command::region_write:
    case Command::region_write_multi:
      reply.payload = asked.payload;
      reply.payload.resize(asked.header.command == Command::region_write ? sizeof(RegionAccessPayload) : 8);
      break;
    default:
      reply.payload = asked.payload;
  }
  return reply;
}

bool HostileServer::answer(Socket& socket, const Message& asked) {
  Reply reply = honest(asked);
  const std::uint8_t how = script_.u8();
  switch (how % 12) {
    case 1:  // some bytes of it differ
      for (unsigned patches = 1 + how / 64; patches != 0 && !reply.payload.empty(); --patches) {
        const std::size_t offset = script_.u8() % reply.payload.size();
        const auto bytes =
            std::as_bytes(script_.bytes(std::min<std::size_t>(1 + how / 12 % 8, reply.payload.size() - offset)));
        std::ranges::copy(bytes, reply.payload.begin() + static_cast<std::ptrdiff_t>(offset));
      }
      break;
    case 2:
      return send_raw(socket, reply);
    case 3:
      reply.header.flags |= Header::kError;
      reply.header.os_error = script_.u32();
      break;
    case 4:
      reply.fds.assign(script_.u8() % 70, any_file());
      break;
    case 5:
      return false;
    case 6:
      ask(socket);
      break;
    case 7: {
      const auto bytes = std::as_bytes(script_.bytes(script_.u8()));
      reply.payload.assign(bytes.begin(), bytes.end());
      break;
    }
    case 8:
      reply.payload.resize(script_.u16());
      break;
    case 9:  // once more than it was asked
      (void)socket.send(reply.header, reply.payload);
      break;
    case 10:
      if (!reply.fds.empty()) reply.fds[0] = any_file();
      break;
    case 11: {  // JSON, behind a version
      reply.payload.resize(std::min(reply.payload.size(), sizeof(VersionPayload)));
      const auto bytes = std::as_bytes(script_.bytes(script_.u8()));
      reply.payload.insert(reply.payload.end(), bytes.begin(), bytes.end());
      break;
    }
    default:
      break;
  }
  return socket.send(reply.header, reply.payload, reply.fds).has_value();
}

// Any header in front of the payload, or a part of the two. A client that would wait for the rest finds the end.
bool HostileServer::send_raw(Socket& socket, const Reply& reply) {
  Header header = reply.header;
  header.size = static_cast<std::uint32_t>(sizeof header + reply.payload.size());
  const std::uint32_t size = header.size;
  std::vector<std::byte> bytes;
  append(bytes, header);
  const std::size_t offset = script_.u8() % sizeof header;
  std::ranges::copy(std::as_bytes(script_.bytes(script_.u8() % (sizeof header - offset + 1))),
                    bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes.insert(bytes.end(), reply.payload.begin(), reply.payload.end());
  const std::size_t cut = script_.u8() % bytes.size();
  bytes.resize(bytes.size() - cut);
  if (::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) return false;
  return cut == 0 && header.size == size && header.is_reply();
}

// DMA_READ or DMA_WRITE of what may be mapped there, or anything else.
void HostileServer::ask(Socket& socket) {
  const std::uint8_t kind = script_.u8();
  Header header{.id = script_.u16(), .command = Command::dma_read};
  if (kind % 2 != 0) header.command = Command::dma_write;
  if (kind % 16 == 15) header.command = static_cast<Command>(kind / 16);
  if (kind % 16 == 14) header.flags = kind / 16;
  DmaAccessPayload access{.iova = std::uint64_t{script_.u16()} << (kind / 32), .count = script_.u16()};
  if (kind % 16 == 13) access = {.iova = script_.u64(), .count = script_.u64()};
  std::vector<std::byte> payload;
  append(payload, access);
  if (kind % 2 != 0) payload.resize(sizeof access + (kind % 4 == 1 ? access.count % kMaxTransferBytes : script_.u8()));
  (void)socket.send(header, payload);
}

int HostileServer::any_file() {
  const int files[] = {bar_.get(), read_only_.get(), short_.get(), eventfd_.get(), zero_.get(), listening_.get()};
  return files[script_.u8() % std::size(files)];
}

}  // namespace pollux::fuzz
