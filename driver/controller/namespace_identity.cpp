#include "pollux/driver/controller/namespace_identity.hpp"

#include <algorithm>
#include <cstring>

namespace pollux::nvme {
namespace {

// A descriptor of another length is not what its type says. What Identify Namespace has told stays.
template <std::size_t N>
void fill_in(std::array<std::uint8_t, N>& id, const std::vector<std::uint8_t>& value) {
  if (value.size() == N && id == std::array<std::uint8_t, N>{}) std::copy(value.begin(), value.end(), id.begin());
}

}  // namespace

std::vector<NsId> parse_ns_descriptors(std::span<const std::byte> page) {
  std::vector<NsId> ids;
  while (page.size() >= sizeof(NsDescriptor)) {
    NsDescriptor descriptor;
    std::memcpy(&descriptor, page.data(), sizeof descriptor);
    page = page.subspan(sizeof descriptor);
    if (descriptor.nidl == 0 || descriptor.nidl > page.size()) break;
    const auto* const value = reinterpret_cast<const std::uint8_t*>(page.data());
    ids.push_back({static_cast<NsIdType>(descriptor.nidt), {value, value + descriptor.nidl}});
    page = page.subspan(descriptor.nidl);
  }
  return ids;
}

NamespaceIdentity identity_of(std::uint32_t nsid, const IdentifyNamespace& identified,
                              std::span<const NsId> descriptors, Quirks quirks) {
  NamespaceIdentity identity{nsid, format_of(identified).lbads, std::to_array(identified.nguid),
                             std::to_array(identified.eui64)};
  for (const NsId& descriptor : descriptors) {
    switch (descriptor.type) {
      case NsIdType::eui64:
        fill_in(identity.eui64, descriptor.value);
        break;
      case NsIdType::nguid:
        fill_in(identity.nguid, descriptor.value);
        break;
      case NsIdType::uuid:
        fill_in(identity.uuid, descriptor.value);
        break;
      case NsIdType::csi:
        if (descriptor.value.size() == 1) identity.command_set = static_cast<CommandSet>(descriptor.value.front());
        break;
    }
  }
  if (quirks.has(Quirk::bogus_nid)) {
    identity.nguid = {};
    identity.eui64 = {};
    identity.uuid = {};
  }
  return identity;
}

}  // namespace pollux::nvme
