// Identify. NVMe base 2.0c, 5.17.
#include <algorithm>
#include <array>
#include <cstring>

#include "pollux/tools/softnvme/core/admin.hpp"
#include "pollux/tools/softnvme/core/identity.hpp"

namespace pollux::softnvme {
namespace {

using nvme::Cns;
using nvme::StatusCode;

constexpr std::uint8_t kNvmCommandSet = 0;  // CSI
constexpr Field kCdw10Reserved{8, 8};
constexpr Field kCdw11Reserved{16, 8};
constexpr std::uint32_t kCdw14Reserved = ~0x7fu;  // above the UUID index

using Page = std::array<std::byte, nvme::kIdentifyBytes>;

template <typename T>
Page page_of(const T& structure) {
  static_assert(sizeof(T) == sizeof(Page));
  Page page;
  std::memcpy(page.data(), &structure, sizeof page);
  return page;
}

Page active_list(const Config& config, std::uint32_t above) {
  std::array<std::uint32_t, nvme::kNsListEntries> list{};
  std::size_t count = 0;
  for (const NamespaceConfig& ns : config.namespaces) {
    if (ns.nsid > above && ns.block_count != 0 && count < list.size()) list[count++] = ns.nsid;
  }
  std::sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(count));
  return page_of(list);
}

Page descriptors(const Config& config, std::uint32_t nsid) {
  std::array<std::uint8_t, 16> nguid{};
  std::array<std::uint8_t, 8> eui64{};
  namespace_ids(config, nsid, nguid, eui64);
  Page page{};
  std::size_t offset = 0;
  const auto add = [&](nvme::NsIdType type, std::span<const std::uint8_t> id) {
    const nvme::NsDescriptor header{static_cast<std::uint8_t>(type), static_cast<std::uint8_t>(id.size()), {}};
    std::memcpy(page.data() + offset, &header, sizeof header);
    std::memcpy(page.data() + offset + sizeof header, id.data(), id.size());
    offset += sizeof header + id.size();
  };
  add(nvme::NsIdType::eui64, eui64);
  add(nvme::NsIdType::nguid, nguid);
  add(nvme::NsIdType::csi, std::span(&kNvmCommandSet, 1));
  return page;
}

}  // namespace

Reply AdminCommands::identify(const nvme::Command& command) {
  state_.expect_zero(kCdw10Reserved.of(command.cdw10) | kCdw11Reserved.of(command.cdw11) | command.cdw12 |
                         command.cdw13 | (command.cdw14 & kCdw14Reserved) | command.cdw15,
                     "CDW10 to CDW15 of Identify");
  const std::uint32_t nsid = command.nsid;
  switch (static_cast<Cns>(nvme::identify::kCns.of(command.cdw10))) {
    case Cns::controller: {
      state_.expect_zero(nsid, "NSID of Identify Controller");
      return send(command, nvme::kIdentifyBytes, page_of(identify_controller(state_.config)));
    }
    case Cns::ns: {
      const std::uint32_t nn = identify_controller(state_.config).nn;
      if (nsid == 0 || nsid > nn) return refuse(StatusCode::invalid_namespace_or_format);
      nvme::IdentifyNamespace id{};  // an inactive namespace is all zeros
      if (const NamespaceConfig* ns = state_.find_namespace(nsid)) {
        id = identify_namespace(*ns);
        namespace_ids(state_.config, nsid, id.nguid, id.eui64);
      }
      return send(command, nvme::kIdentifyBytes, page_of(id));
    }
    case Cns::active_ns_list:
      if (nsid >= nvme::kNsidAll - 1) return refuse(StatusCode::invalid_namespace_or_format);
      return send(command, nvme::kIdentifyBytes, active_list(state_.config, nsid));
    case Cns::ns_descriptors:
      if (state_.find_namespace(nsid) == nullptr) return refuse(StatusCode::invalid_namespace_or_format);
      return send(command, nvme::kIdentifyBytes, descriptors(state_.config, nsid));
    case Cns::command_set_controller:
      state_.expect_zero(nsid, "NSID of Identify Controller for a command set");
      if (nvme::identify::kCsi.of(command.cdw11) != kNvmCommandSet) return refuse(StatusCode::invalid_field);
      return send(command, nvme::kIdentifyBytes, page_of(identify_nvm()));
    default:
      return refuse(StatusCode::invalid_field);
  }
}

}  // namespace pollux::softnvme
