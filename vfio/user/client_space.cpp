#include "pollux/vfio/user/client_space.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "pollux/vfio/user/client.hpp"
#include "pollux/vfio/user/client_device.hpp"

namespace pollux::vfio::user {
namespace {

constexpr IovaRange kUsable{
    0, (std::uint64_t{1} << 47) - 1};  // the protocol knows no ranges: what every server keeps in a pointer
constexpr std::uint64_t k2MiB = 1 << 21, k1GiB = 1 << 30;

// SPDK's target is given a folder, by which its users know it, and listens at "cntrl" in there.
Result<Socket> connect(const std::string& path) {
  struct stat found{};
  const bool is_folder = stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
  return Socket::connect(is_folder ? path + "/cntrl" : path);
}

}  // namespace

Scheme scheme() {
  return {"vfio-user",
          [](const Address&) -> Result<std::unique_ptr<IoAddressSpace>> { return std::make_unique<ClientSpace>(); }};
}

Result<std::unique_ptr<Device>> ClientSpace::attach(const Address& address) {
  const std::lock_guard lock(mutex_);
  const auto named = [&](const Error& error) {
    return std::unexpected(Error{address.text + ": " + error.what, error.advice, error.os_error});
  };
  if (session_ != nullptr)
    return named({"a vfio-user address space holds one device", "open the drive in a space of its own", 0});
  if (windows_.count() != 0) return named({"memory is still mapped for the device before it", "release it first", 0});
  auto socket = connect(address.target);
  if (!socket) return named(socket.error());
  auto opened = Session::open(std::move(*socket), windows_, reply_ns_);
  if (!opened) return named(opened.error());
  std::shared_ptr<Session> session = std::move(*opened);
  auto device = ClientDevice::create(session, *this, address);
  if (!device) return named(device.error());
  session_ = std::move(session);
  return std::move(*device);
}

std::expected<void, NotBack> ClientSpace::reconnect(const std::string& path) {
  const auto not_yet = [](Error why) { return std::unexpected(NotBack{std::move(why), false}); };
  const std::lock_guard lock(mutex_);
  // One that has just closed is not known to have, where nobody has asked it anything since.
  if (!session_->part(session_->has_ended() ? 0 : kPartNs))
    return not_yet({"the server that fell silent has not let go of the memory", "have it go on, or end it"});
  auto socket = connect(path);
  if (!socket) return not_yet(socket.error());
  if (auto begun = session_->reopen(std::move(*socket)); !begun) return begun;
  for (const DmaMapping& one : windows_.all())
    if (auto mapped = send_map(one); !mapped) return std::unexpected(session_->not_back(mapped.error()));
  return {};
}

Result<void> ClientSpace::send_map(const DmaMapping& mapping) {
  DmaMapPayload request;
  request.flags = (mapping.device_may_read ? DmaMapPayload::kReadable : 0) |
                  (mapping.device_may_write ? DmaMapPayload::kWriteable : 0);
  request.fd_offset = mapping.fd_offset;
  request.iova = mapping.iova;
  request.size_bytes = mapping.size_bytes;
  const auto mapped = session_->request(Command::dma_map, std::as_bytes(std::span(&request, 1)), {&mapping.fd, 1});
  if (!mapped) return std::unexpected(mapped.error());
  return {};
}

Result<void> ClientSpace::map(const DmaMapping& mapping) {
  const std::lock_guard lock(mutex_);
  std::string what = fmt::format("cannot map {} bytes at IOVA {:#x}", mapping.size_bytes, mapping.iova);
  if (session_ == nullptr) return fail(what + ": there is no device", "attach one first");
  if (mapping.fd < 0) return fail(what + ": a vfio-user server maps memory by its file, and this has none");
  if (is_private(mapping.address, mapping.size_bytes))
    return fail_errno(EINVAL, what + ": it is a private mapping of its file, where a server's data never show",
                      "map the file anew with MAP_SHARED; a server that fell silent may have cost it that");
  const std::uint64_t most = session_->terms().capabilities.max_dma_maps;
  if (windows_.count() >= most) return fail_errno(ENOSPC, fmt::format("{}: the server takes {} mappings", what, most));
  // Before the server knows of it, and it may ask.
  if (auto added = windows_.add(mapping); !added) return added;
  const auto mapped = send_map(mapping);
  if (mapped) return {};
  const auto removed = windows_.remove(mapping.iova, mapping.size_bytes);
  const Error& why = mapped.error();
  // One that did not answer may have it all the same.
  if (removed && session_->has_ended())
    if (const auto taken = take_back(*removed, why); !taken) what += " (" + taken.error().what + ")";
  return std::unexpected(Error{what + ": " + why.what,
                               why.os_error == EINVAL ? "some servers take multiples of 2 MiB alone" : why.advice,
                               why.os_error});
}

Result<void> ClientSpace::unmap(Iova iova, std::uint64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  const auto removed = windows_.remove(iova, size_bytes);
  if (!removed)
    return fail_errno(ENOENT, fmt::format("cannot unmap {} bytes at IOVA {:#x}", size_bytes, iova),
                      "unmap names exactly what one map made");
  if (session_ == nullptr) return {};  // it was taken back when the device was closed
  DmaUnmapPayload request;
  request.iova = iova;
  request.size_bytes = size_bytes;
  const auto unmapped = session_->request(Command::dma_unmap, std::as_bytes(std::span(&request, 1)));
  if (unmapped) return {};
  if (!session_->has_ended()) return std::unexpected(unmapped.error());
  return take_back(*removed, unmapped.error());
}

Result<void> ClientSpace::take_back(const DmaWindows::Window& removed, const Error& ended_by) {
  // A sender hears of the connection's end before the session's thread does, which says when the peer is done.
  const bool has_closed = ended_by.os_error == ECONNRESET;
  if (session_->part(has_closed ? kPartNs : 0)) return {};
  return windows_.take_back(removed);
}

bool ClientSpace::is_held() {
  const std::lock_guard lock(mutex_);
  return session_ != nullptr && !session_->is_peer_gone();
}

std::vector<IovaRange> ClientSpace::usable_ranges() const {
  const std::lock_guard lock(mutex_);
  if (session_ == nullptr) return {};
  return {kUsable};
}

std::uint64_t ClientSpace::page_sizes() const {
  const std::lock_guard lock(mutex_);
  if (session_ == nullptr) return 0;
  const std::uint64_t offered = session_->terms().capabilities.page_sizes;
  const std::uint64_t granule = offered & -offered;
  return offered | ((k2MiB | k1GiB) & -granule);  // so that memory lies where a server may use larger pages
}

std::optional<std::uint32_t> ClientSpace::mappings_left() const {
  const std::lock_guard lock(mutex_);
  if (session_ == nullptr) return std::nullopt;
  const std::uint64_t most = session_->terms().capabilities.max_dma_maps, used = windows_.count();
  return static_cast<std::uint32_t>(most > used ? std::min<std::uint64_t>(most - used, 0xffff'ffff) : 0);
}

MemoryDemands ClientSpace::demands() const { return {.file_descriptor = true, .alone = true, .unit_bytes = k2MiB}; }

void ClientSpace::device_closed(bool at_once) noexcept {
  const std::lock_guard lock(mutex_);
  const bool is_silent = session_->has_ended() && !session_->is_peer_gone();
  if ((is_silent || at_once) && !session_->part(kPartNs)) (void)windows_.take_back_all();
  session_->close();
  session_ = nullptr;
}

}  // namespace pollux::vfio::user
