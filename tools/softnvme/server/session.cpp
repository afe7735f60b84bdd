#include "pollux/tools/softnvme/server/session.hpp"

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "pollux/tools/softnvme/mapping_table.hpp"
#include "pollux/tools/softnvme/server/information.hpp"
#include "pollux/vfio/user/capabilities.hpp"

namespace pollux::softnvme::server {
namespace {

using vfio::RegionIndex;
using vfio::user::append;
using vfio::user::Command;
using vfio::user::DmaMapPayload;
using vfio::user::DmaUnmapPayload;
using vfio::user::Header;
using vfio::user::Message;
using vfio::user::RegionAccessPayload;
using vfio::user::SingleWrite;
using vfio::user::VersionPayload;

std::unexpected<Error> refuse(int os_error, std::string what) { return fail_errno(os_error, std::move(what)); }

// A payload that is just this structure.
template <typename T>
Result<T> whole(std::span<const std::byte> payload) {
  if (payload.size() != sizeof(T))
    return refuse(EINVAL, fmt::format("a payload of {} bytes instead of {}", payload.size(), sizeof(T)));
  return vfio::user::read_part<T>(payload);
}

// The reply to what has been done, or not.
Result<Reply> reply_to(Result<void> done, Reply reply = {}) {
  if (!done) return std::unexpected(std::move(done.error()));
  return reply;
}

}  // namespace

Session::Session(vfio::IoAddressSpace& space, SoftDeviceThread& device, vfio::user::Socket socket,
                 std::function<void(const std::string&)> tell)
    : device_(device), socket_(std::move(socket)), tell_(std::move(tell)), memory_(space), interrupts_(device) {}

Result<void> Session::serve(std::uint64_t wait_ns) {
  Result<std::optional<Message>> received = socket_.receive(wait_ns);
  if (!received) return std::unexpected(received.error());
  if (!*received) return {};
  Message& message = **received;
  ++messages_;
  const Header& asked = message.header;
  if (!asked.is_command()) return fail(fmt::format("a {} that is no command", name_of(asked.command)));
  const Result<Reply> reply = answer(message);
  if (!reply) tell_refusal(fmt::format("{} refused: {}", name_of(asked.command), reply.error().message()));
  if (asked.wants_reply()) {
    Header header{.id = asked.id, .command = asked.command, .flags = Header::kTypeReply};
    if (!reply) {
      header.flags |= Header::kError;
      header.os_error = static_cast<std::uint32_t>(reply.error().os_error != 0 ? reply.error().os_error : EIO);
    }
    const auto payload = reply ? std::span<const std::byte>(reply->payload) : std::span<const std::byte>();
    const auto fds = reply && reply->fd >= 0 ? std::span(&reply->fd, 1) : std::span<const int>();
    if (Result<void> sent = socket_.send(header, payload, fds); !sent) return sent;
  }
  if (!agreed_) return fail("no version was agreed on");
  return {};
}

Result<void> Session::end() {
  if (std::exchange(ended_, true)) return {};
  Result<void> cycled = device_.power_cycle();
  memory_.clear();
  socket_.shut_down();
  return cycled;
}

void Session::tell_refusal(const std::string& text) {
  if (refusals_ > kToldRefusals) return;
  tell_(refusals_++ < kToldRefusals ? text : "more messages refused");
}

Result<Reply> Session::answer(Message& message) {
  const Command command = message.header.command;
  const std::span<const std::byte> payload = message.payload;
  if (!agreed_ && command != Command::version) return refuse(EPROTO, "VFIO_USER_VERSION comes first");
  if (device_.is_strict() && message.fds.size() > kStrictMessageFds)
    return refuse(EINVAL, fmt::format("{} file descriptors with it", message.fds.size()));
  // Descriptors that a message has no use for are closed with it: the specification does not forbid them, and there is
  // an initiator that sends one with each DMA_UNMAP.
  switch (command) {
    case Command::version:
      return agree_on_version(payload);
    case Command::dma_map:
      return map(message);
    case Command::dma_unmap:
      return unmap(message);
    case Command::device_get_info:
      return device_information(payload);
    case Command::device_get_region_info:
      return region_information(device_, payload);
    case Command::device_get_irq_info:
      return interrupt_information(device_, payload);
    case Command::device_set_irqs:
      return reply_to(interrupts_.set(payload, std::move(message.fds)));
    case Command::region_read:
      return read(payload);
    case Command::region_write:
      return write(payload);
    case Command::region_write_multi:
      return write_multi(payload);
    case Command::device_reset:
      if (!payload.empty()) return refuse(EINVAL, fmt::format("a payload of {} bytes", payload.size()));
      return reply_to(device_.reset());
    default:
      return refuse(EOPNOTSUPP, "not offered");
  }
}

Result<Reply> Session::agree_on_version(std::span<const std::byte> payload) {
  if (agreed_) return refuse(EINVAL, "a version was agreed on already");
  const Result<VersionPayload> theirs = vfio::user::read_part<VersionPayload>(payload);
  if (!theirs) return refuse(EINVAL, theirs.error().what);
  if (theirs->major != vfio::user::kMajor)
    return refuse(EPROTONOSUPPORT, fmt::format("version {}.{}, and {}.x is spoken here", theirs->major, theirs->minor,
                                               vfio::user::kMajor));
  const auto text = payload.subspan(sizeof *theirs);
  const auto proposed = vfio::user::parse_capabilities({reinterpret_cast<const char*>(text.data()), text.size()});
  if (!proposed) return refuse(EINVAL, proposed.error().what);
  write_multiple_ = proposed->write_multiple && !device_.is_strict();
  agreed_ = true;
  Reply reply;
  append(reply.payload, VersionPayload{.minor = std::min(theirs->minor, vfio::user::kMinor)});
  const std::string ours = device_.is_strict()
                               ? fmt::format(R"({{"capabilities":{{"max_msg_fds":{},"max_data_xfer_size":{}}}}})",
                                             kStrictMessageFds, vfio::user::kMaxTransferBytes)
                               : vfio::user::format_capabilities({.max_msg_fds = kOfferedMessageFds,
                                                                  .max_data_xfer_size = vfio::user::kMaxTransferBytes,
                                                                  .max_dma_maps = MappingTable::kMaxMappings,
                                                                  .page_sizes = MappingTable::kGranuleBytes,
                                                                  .write_multiple = write_multiple_});
  const auto bytes = std::as_bytes(std::span(ours.c_str(), ours.size() + 1));  // with its NUL
  reply.payload.insert(reply.payload.end(), bytes.begin(), bytes.end());
  return reply;
}

Result<Reply> Session::map(const Message& message) {
  const Result<DmaMapPayload> wanted = whole<DmaMapPayload>(message.payload);
  if (!wanted) return std::unexpected(wanted.error());
  static const vfio::FileDescriptor kNone;
  Result<void> mapped = memory_.map(*wanted, message.fds.empty() ? kNone : message.fds.front());
  if (mapped && message.fds.empty() && !std::exchange(memory_without_file_, true)) {
    tell_(
        fmt::format("{:#x} bytes at IOVA {:#x} came without a file descriptor: the controller cannot reach such memory",
                    wanted->size_bytes, wanted->iova));
  }
  return reply_to(std::move(mapped));
}

Result<Reply> Session::unmap(const Message& message) {
  const Result<DmaUnmapPayload> wanted = whole<DmaUnmapPayload>(message.payload);
  if (!wanted) return std::unexpected(wanted.error());
  return reply_to(memory_.unmap(*wanted), {.payload = message.payload});
}

Result<void> Session::check(const RegionAccessPayload& access) {
  const bool known = access.region <= static_cast<std::uint32_t>(RegionIndex::config);
  const std::uint64_t region_bytes =
      known ? device_.region_info(static_cast<RegionIndex>(access.region)).value_or(vfio::RegionInfo()).size_bytes : 0;
  if (region_bytes == 0 || access.count > region_bytes || access.offset > region_bytes - access.count) {
    return refuse(EINVAL, fmt::format("{} bytes at offset {:#x} of region {}, which has {}", access.count,
                                      access.offset, access.region, region_bytes));
  }
  return {};
}

Result<Reply> Session::read(std::span<const std::byte> payload) {
  const Result<RegionAccessPayload> access = whole<RegionAccessPayload>(payload);
  if (!access) return std::unexpected(access.error());
  if (const Result<void> good = check(*access); !good) return std::unexpected(good.error());
  Reply reply;
  append(reply.payload, *access);
  reply.payload.resize(sizeof *access + access->count);
  const std::span<std::byte> into = std::span(reply.payload).subspan(sizeof *access);
  Result<void> done = device_.read(static_cast<RegionIndex>(access->region), access->offset, into);
  return reply_to(std::move(done), std::move(reply));
}

Result<Reply> Session::write(std::span<const std::byte> payload) {
  const Result<RegionAccessPayload> access = vfio::user::read_part<RegionAccessPayload>(payload);
  if (!access) return refuse(EINVAL, access.error().what);
  const std::span<const std::byte> data = payload.subspan(sizeof *access);
  if (data.size() != access->count)
    return refuse(EINVAL, fmt::format("{} bytes of data, said to be {}", data.size(), access->count));
  if (const Result<void> good = check(*access); !good) return std::unexpected(good.error());
  Reply reply;
  append(reply.payload, *access);
  return reply_to(device_.write(static_cast<RegionIndex>(access->region), access->offset, data), std::move(reply));
}

// The writes are done one after the other, up to the first that is refused.
Result<Reply> Session::write_multi(std::span<const std::byte> payload) {
  if (!write_multiple_) return refuse(EOPNOTSUPP, "write_multiple was not agreed on");
  const Result<std::uint64_t> count = vfio::user::read_part<std::uint64_t>(payload);
  if (!count) return refuse(EINVAL, count.error().what);
  std::span<const std::byte> left = payload.subspan(sizeof *count);
  if (left.size() % sizeof(SingleWrite) != 0 || left.size() / sizeof(SingleWrite) != *count)
    return refuse(EINVAL, fmt::format("{} bytes of {} writes", left.size(), *count));
  for (; !left.empty(); left = left.subspan(sizeof(SingleWrite))) {
    const SingleWrite one = *vfio::user::read_part<SingleWrite>(left);
    if (one.count > sizeof one.data) return refuse(EINVAL, fmt::format("a write of {} bytes", one.count));
    if (const Result<void> good = check({one.offset, one.region, one.count}); !good)
      return std::unexpected(good.error());
    const auto data = std::as_bytes(std::span(&one.data, 1)).first(one.count);
    if (const Result<void> done = device_.write(static_cast<RegionIndex>(one.region), one.offset, data); !done)
      return std::unexpected(done.error());
  }
  Reply reply;
  append(reply.payload, *count);
  return reply;
}

}  // namespace pollux::softnvme::server
