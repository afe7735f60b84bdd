// Device addresses as people type them who come from other programs: with fio's escapes (0000\:02\:00.0), as SPDK's
// transport ids (trtype=PCIe traddr=0000.02.00.0 ns=1), with points for colons. Source: fio(1), filename; SPDK's
// spdk_nvme_transport_id_parse() and the README of its fio plugin.
#pragma once

#include <string>
#include <string_view>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// The same address as Address has it; a text that no other program would write so stays as it is. Errors: a transport
// id that names no device pollux drives, or two of them, or a part of it twice.
Result<std::string> respelled(std::string_view text);

// The PCI function that a text names which is no address ("nvme://0000:02:00.0/1", "0000:02:00:0"), in our spelling,
// for a message; empty: none.
std::string function_named_in(std::string_view text);

// The same with ,ns=N, where the text ends in /N.
std::string address_named_in(std::string_view text);

// ASCII letters alone are changed.
std::string lower(std::string_view text);

}  // namespace pollux::vfio
