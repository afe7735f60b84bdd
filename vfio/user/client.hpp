// A controller behind a UNIX socket: the address scheme "vfio-user:PATH". PATH is the socket, or a folder with the
// socket "cntrl" in it, as SPDK's target makes it. Source: the specification (README.md).
#pragma once

#include "pollux/vfio/device.hpp"

namespace pollux::vfio::user {

// Each of its address spaces holds one device, and wants memory that has a file behind it. The server keeps a reference
// to that memory as long as it likes, and writes to it when it likes: it has to be trusted as a drive without an IOMMU.
// Errors of attach(): nobody listens there, no agreement on a version, no PCI device, answers that make no sense.
Scheme scheme();

}  // namespace pollux::vfio::user
