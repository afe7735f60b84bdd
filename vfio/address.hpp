// A device address: one string, the same in every program.
//
//   0000:02:00.0              a PCI function, through the kernel's VFIO
//   vfio-user:/run/nvme.sock  a controller behind a UNIX socket
//   soft:size=1GiB,…          the software controller
//
// `,ns=N` as the last part names the namespace. The part behind the scheme is the backend's to read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

struct Address {
  std::string text;                   // as given, for messages
  std::string scheme;                 // "pci", "vfio-user", "soft", …
  std::string target;                 // the BDF in full form, the socket's path, the options
  std::optional<std::uint32_t> nsid;  // from `,ns=N`; 1 to FFFFFFFEh

  // The domain defaults to 0000 ("02:00.0"). Errors: nothing that looks like an address, a malformed BDF, ns= out of
  // range.
  static Result<Address> parse(std::string_view text);
};

}  // namespace pollux::vfio
