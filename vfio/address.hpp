// A device address: one string, the same in every program.
//
//   0000:02:00.0              a PCI function, through the kernel's VFIO: iommufd where it is there, else its group
//   group:0000:02:00.0        through its group and a container
//   iommufd:0000:02:00.0      through iommufd and its character device
//   noiommu:0000:02:00.0      without an IOMMU: unsafe, and never chosen by itself
//   vfio-user:/run/nvme.sock  a controller behind a UNIX socket
//   soft:size=1GiB,…          the software controller
//
// `,ns=N` as the last part names the namespace, and `,quirks=NAME+NAME` beside it what the drive does otherwise than it
// says, on top of what is known of its kind (driver/quirks.hpp). Of a PCI function `,vf_token=UUID` before it is the
// token that a virtual function and its physical function share. The part behind another scheme is the backend's to
// read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

struct Address {
  std::string text;                   // as given, for messages
  std::string scheme;                 // "pci", "group", "vfio-user", "soft", …
  std::string target;                 // the BDF in full form, the socket's path, the options
  std::optional<std::uint32_t> nsid;  // from `,ns=N`; 1 to FFFFFFFEh
  std::string vf_token = {};          // of a PCI function, as VFIO takes it: 36 characters; empty: none
  std::string quirks = {};            // from `,quirks=NAME+NAME`, for the driver to read; empty: none

  // The domain defaults to 0000 ("02:00.0"); letters may be upper case, and the spellings of fio and SPDK are taken
  // (address_spelling.hpp). Errors: nothing that looks like an address, a malformed BDF, ns= out of
  // range, quirks= without any, a token that is no UUID, a part that is given twice, two devices in one text.
  static Result<Address> parse(std::string_view text);

  // Whether the target is a PCI function's BDF.
  bool is_pci() const;
};

}  // namespace pollux::vfio
