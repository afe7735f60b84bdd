#include "pollux/driver/block/drive.hpp"

#include <algorithm>

#include "pollux/driver/controller/identify.hpp"
#include "pollux/vfio/address_spelling.hpp"
#include "pollux/vfio/kernel/kernel.hpp"
#include "pollux/vfio/user/client.hpp"

namespace pollux {
namespace {

constexpr unsigned kMinBlockShift = 9;   // 512 bytes
constexpr unsigned kMaxBlockShift = 16;  // larger than any drive's, and it bounds what a wild value can do

Result<std::shared_ptr<dma::Space>> make_space(const vfio::Address& address, std::span<const vfio::Scheme> schemes) {
  std::vector<vfio::Scheme> known(vfio::kernel_schemes().begin(), vfio::kernel_schemes().end());
  known.push_back(vfio::user::scheme());
  known.insert(known.end(), schemes.begin(), schemes.end());
  const auto scheme = std::ranges::find(known, address.scheme, &vfio::Scheme::name);
  if (scheme == known.end()) {
    std::string names;
    const std::string meant = vfio::address_named_in(address.text);
    for (const vfio::Scheme& one : known) names += fmt::format("{}{}", names.empty() ? "" : ", ", one.name);
    return fail(fmt::format("{}: this program does not know the scheme \"{}\"", address.text, address.scheme),
                (meant.empty() ? "" : fmt::format("is {} meant? ", meant)) + "it knows " + names);
  }
  auto io = scheme->make_space(address);
  if (!io) return std::unexpected(io.error());
  return dma::Space::create(std::move(*io));
}

std::uint64_t write_zeroes_blocks(const nvme::IdentifyControllerNvm& limits, nvme::LbaFormat format) {
  constexpr unsigned kPageShift = 12;      // of CAP.MPSMIN: larger ones are not driven
  constexpr unsigned kMaxBytesShift = 32;  // 65536 blocks of 64 KiB
  const unsigned bytes_shift = kPageShift + limits.wzsl;
  if (limits.wzsl == 0 || bytes_shift >= kMaxBytesShift) return nvme::rw::kMaxBlocks;
  const std::uint64_t blocks = (std::uint64_t{1} << bytes_shift) >> format.lbads;
  return std::min<std::uint64_t>(blocks, nvme::rw::kMaxBlocks);  // 0: not even one block may be zeroed
}

void set_deallocate_limits(const nvme::IdentifyControllerNvm& limits, Namespace& ns) {
  const std::uint64_t ranges = limits.dmrl != 0 ? limits.dmrl : nvme::dsm::kMaxRanges;
  ns.deallocate_range_blocks = limits.dmrsl != 0 ? limits.dmrsl : 0xffff'ffff;
  ns.deallocate_blocks = ranges * ns.deallocate_range_blocks;
  if (limits.dmsl != 0) ns.deallocate_blocks = std::min(ns.deallocate_blocks, limits.dmsl);
}

}  // namespace

Result<std::unique_ptr<Drive>> Drive::open(std::string_view text, const OpenOptions& options) {
  const auto address = vfio::Address::parse(text);
  if (!address) return std::unexpected(address.error());

  const auto quirks = nvme::parse_quirks(address->quirks);
  if (!quirks) return fail(fmt::format("{}: {}", address->text, quirks.error().what), quirks.error().advice);

  std::shared_ptr<dma::Space> space = options.space;
  if (space == nullptr) {
    auto made = make_space(*address, options.schemes);
    if (!made) return std::unexpected(made.error());
    space = std::move(*made);
  }
  auto device = space->attach(*address);
  if (!device) return std::unexpected(device.error());
  auto controller = nvme::Controller::create(std::move(*device), space, *options.clock,
                                             {.io_queues = options.io_queues,
                                              .shadow_doorbells = options.shadow_doorbells,
                                              .quirks = *quirks,
                                              .away_ms = options.reconnect_ms});
  if (!controller) return std::unexpected(controller.error());
  return std::unique_ptr<Drive>(new Drive(std::move(*controller), *address));
}

Result<Namespace> Drive::open_namespace(std::uint32_t nsid) {
  const auto active = nvme::active_namespaces(*controller_);
  if (!active) return std::unexpected(active.error());
  if (active->empty()) return no_namespace();
  if (nsid == 0) nsid = address_.nsid.value_or(0);
  if (nsid == 0) return open_first(*active);
  if (!std::binary_search(active->begin(), active->end(), nsid)) {
    return fail(fmt::format("{}: there is no active namespace {}", address_.text, nsid),
                fmt::format("active: {}", fmt::join(*active, ", ")));
  }
  return open_active(nsid);
}

// Namespaces may be there, and attached to no controller, or to others alone.
std::unexpected<Error> Drive::no_namespace() {
  const std::string what = address_.text + ": the controller has no active namespace";
  const auto there = nvme::allocated_namespaces(*controller_);
  if (!there.empty())
    return fail(fmt::format("{}; detached: {}", what, fmt::join(there, ", ")),
                fmt::format("attach one: nvme attach-ns --namespace-id={} --controllers={}", there.front(),
                            std::uint16_t{controller_->identity().cntlid}));
  if ((controller_->identity().oacs & nvme::oacs::kNamespaceManagement) == 0)
    return fail(what, "no command makes one on this drive: its vendor has tools for it");
  return fail(what, "create one (nvme create-ns), and attach it (nvme attach-ns)");
}

// The error, where none can be driven, is that of the first.
Result<Namespace> Drive::open_first(std::span<const std::uint32_t> active) {
  const std::uint64_t deadline_ns = controller_->clock().now_ns() + nvme::kNamespacesTimeoutMs * kNsPerMs;
  const Result<Namespace> first = open_active(active.front());
  for (const std::uint32_t nsid : active.subspan(1)) {
    if (first || controller_->clock().now_ns() > deadline_ns) return first;
    if (auto other = open_active(nsid)) return other;
  }
  return first;
}

Result<Namespace> Drive::open_active(std::uint32_t nsid) {
  const auto refuse = [&](std::string_view why, std::string_view advice) {
    return fail(fmt::format("{}: namespace {} {}", address_.text, nsid, why), std::string(advice));
  };
  const auto descriptors = nvme::namespace_descriptors(*controller_, nsid);
  if (!descriptors) return std::unexpected(descriptors.error());
  const auto set = nvme::command_set(*controller_, nsid, *descriptors);
  if (!set) return std::unexpected(set.error());
  if (*set != nvme::CommandSet::nvm) {
    return refuse(fmt::format("is of the {} command set (CSI {:02X}h), pollux drives that of NVM (00h)",
                              nvme::name_of(*set), static_cast<unsigned>(*set)),
                  "name another namespace with ,ns=N, or leave this one to the kernel");
  }
  const auto identified = nvme::identify_namespace(*controller_, nsid);
  if (!identified) return std::unexpected(identified.error());
  const nvme::IdentifyNamespace& id = *identified;
  const auto limits = nvme::identify_nvm(*controller_);
  if (!limits) return std::unexpected(limits.error());

  const nvme::LbaFormat format = nvme::format_of(id);
  if (id.nsze == 0) return refuse("reports a size of 0", "name another one with ,ns=N");
  if (format.lbads < kMinBlockShift || format.lbads > kMaxBlockShift) {
    return refuse(fmt::format("has blocks of 2^{} bytes, pollux drives 2^{} to 2^{}", format.lbads, kMinBlockShift,
                              kMaxBlockShift),
                  "give it a format with such blocks (nvme format --block-size=4096), which erases it");
  }
  if (id.nsze > (~std::uint64_t{0} >> format.lbads)) {
    return refuse("reports a size that no address reaches", "name another one with ,ns=N");
  }
  if (format.ms != 0) {
    return refuse(fmt::format("has {} bytes of metadata a block", format.ms),
                  "give it a format without metadata (nvme id-ns lists them, with ms:0; nvme format --lbaf=N), which "
                  "erases it");
  }
  if (nvme::dps::kPit.of(id.dps) != 0) {
    return refuse("has end-to-end protection enabled",
                  "give it a format without protection information (nvme format --pi=0), which erases it");
  }

  const nvme::NamespaceIdentity identity = nvme::identity_of(nsid, id, *descriptors, controller_->quirks());
  Namespace ns;
  ns.controller = controller_->id();
  ns.nsid = nsid;
  ns.block_size_bytes = 1u << format.lbads;
  ns.block_count = id.nsze;
  ns.boundary_blocks = id.noiob;
  ns.volatile_write_cache = (controller_->identity().vwc & 1) != 0;
  if (controller_->supports(nvme::oncs::kWriteZeroes)) ns.write_zeroes_blocks = write_zeroes_blocks(*limits, format);
  if (controller_->supports(nvme::oncs::kDatasetManagement)) set_deallocate_limits(*limits, ns);
  std::ranges::copy(identity.nguid, ns.nguid);
  std::ranges::copy(identity.eui64, ns.eui64);
  std::ranges::copy(identity.uuid, ns.uuid);
  return ns;
}

Result<std::unique_ptr<Channel>> Drive::open_channel(const Namespace& ns, const ChannelOptions& options) {
  if (ns.controller != controller_->id()) {
    return fail(ns.controller == 0
                    ? address_.text + ": a channel was asked for to a namespace that no open_namespace() has given"
                    : fmt::format("{}: namespace {} was opened on another drive", address_.text, ns.nsid),
                "take the namespace from open_namespace() of this drive");
  }
  auto channel = Channel::create(*controller_, ns, options);
  if (!channel) return std::unexpected(channel.error());
  return channel;
}

}  // namespace pollux
