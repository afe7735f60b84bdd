// What tells a namespace from another, and from what it was before it was formatted: Identify Namespace and the
// namespace identification descriptors together, as either may have what the other lacks. NVMe base 2.0c, 5.17.2.3 and
// 4.5.1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/driver/controller/quirks.hpp"
#include "pollux/driver/spec/identify.hpp"

namespace pollux::nvme {

// A namespace identification descriptor.
struct NsId {
  NsIdType type;
  std::vector<std::uint8_t> value;
};

// The descriptors of a page that CNS 03h has filled, up to its end or the first that does not fit in it.
std::vector<NsId> parse_ns_descriptors(std::span<const std::byte> page);

struct NamespaceIdentity {
  std::uint32_t nsid = 0;                // 0: none
  unsigned block_shift = 0;              // a block is 2^n bytes
  std::array<std::uint8_t, 16> nguid{};  // this and the next two: all zeros where it has none
  std::array<std::uint8_t, 8> eui64{};
  std::array<std::uint8_t, 16> uuid{};
  CommandSet command_set = CommandSet::nvm;

  bool operator==(const NamespaceIdentity&) const = default;
};

// `quirks`: a drive whose identifiers are not to be believed (bogus_nid) has none.
NamespaceIdentity identity_of(std::uint32_t nsid, const IdentifyNamespace& identified,
                              std::span<const NsId> descriptors, Quirks quirks = {});

}  // namespace pollux::nvme
