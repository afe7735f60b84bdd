// Whether two jobs reach one namespace: through two controllers of a subsystem, or by two spellings of one path. What
// is known of a namespace decides; where a drive says too little of itself, two are taken for different ones.
#pragma once

#include <string>

#include "pollux/driver/block/namespace.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/vfio/address.hpp"

namespace pollux::bench {

// A namespace, and the controller that it was reached through.
struct ReachedNamespace {
  Namespace ns;
  std::string subsystem_nqn, serial, model;  // SUBNQN, SN and MN, without padding

  ReachedNamespace(const Namespace& reached, const nvme::IdentifyController& through);
};

// By UUID, NGUID or EUI64 where both have one; else by NSID in one subsystem: an equal NQN, and the serial number and
// model that controllers of a subsystem have in common, as there are drives whose NQN is every such drive's. Source:
// NVMe base 2.0c, 4.5.1 and 5.17.2.1.
bool is_same(const ReachedNamespace& a, const ReachedNamespace& b);

// The same address, with the path in it (a vfio-user: socket, the file= of soft:) in its one canonical form, whether
// something is there or not.
vfio::Address with_canonical_path(vfio::Address address);

// That path; empty: there is none in it.
std::string path_of(const vfio::Address& address);

}  // namespace pollux::bench
