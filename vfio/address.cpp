#include "pollux/vfio/address.hpp"

#include <algorithm>
#include <charconv>

#include "pollux/vfio/address_spelling.hpp"

namespace pollux::vfio {
namespace {

constexpr std::size_t kMaxAddressBytes = 4096;   // a path and its options
constexpr std::uint32_t kMaxNsid = 0xffff'fffe;  // FFFFFFFFh is the broadcast value (NVMe base 2.0c, 3.2.1.2)
constexpr std::string_view kPciSchemes[] = {"pci", "group", "iommufd", "noiommu"};
constexpr std::string_view kExamples =
    "use 0000:02:00.0, vfio-user:/run/nvme.sock or soft:size=1GiB, each with ,ns=N at its end where a namespace is "
    "meant";

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
// In lower case.
bool is_scheme_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

// In lower case; names, and what is between them.
bool is_quirk_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '+'; }

// The whole of `digits`, in `base`, or nothing.
std::optional<std::uint32_t> number(std::string_view digits, int base) {
  std::uint32_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
  if (digits.empty() || error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::unexpected<Error> bad(std::string_view text, std::string_view why) {
  const std::string meant = address_named_in(text.substr(0, 200));
  return fail(fmt::format("\"{}\" is not a device address: {}", text.substr(0, 200), why),
              meant.empty() ? std::string(kExamples) : fmt::format("is {} meant? {}", meant, kExamples));
}

// [domain:]bus:device.function, in full form. Widths as in PCI: 8 bits of bus, 5 of device, 3 of function.
Result<std::string> full_bdf(std::string_view text, std::string_view bdf) {
  const std::size_t dot = bdf.rfind('.');
  if (dot == std::string_view::npos) return bad(text, "a PCI address ends in .FUNCTION");
  std::string_view rest = bdf.substr(0, dot);
  const auto function = number(bdf.substr(dot + 1), 16);
  const std::size_t device_colon = rest.rfind(':');
  if (device_colon == std::string_view::npos) return bad(text, "a PCI address is BUS:DEVICE.FUNCTION");
  const auto device = number(rest.substr(device_colon + 1), 16);
  rest = rest.substr(0, device_colon);
  const std::size_t bus_colon = rest.rfind(':');
  const bool has_domain = bus_colon != std::string_view::npos;
  const auto bus = number(has_domain ? rest.substr(bus_colon + 1) : rest, 16);
  const auto domain = has_domain ? number(rest.substr(0, bus_colon), 16) : 0u;
  if (!domain || !bus || !device || !function)
    return bad(text, "a part of the PCI address is not a hexadecimal number");
  if (*bus > 0xff) return bad(text, fmt::format("bus {:x} is above ff", *bus));
  if (*device > 0x1f) return bad(text, fmt::format("device {:x} is above 1f", *device));
  if (*function > 7) return bad(text, fmt::format("function {:x} is above 7", *function));
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", *domain, *bus, *device, *function);
}

// "/dev/nvme0n1", "nvme0", "/dev/ng0n1"; "/dev/disk/by-id/nvme-…".
bool is_kernel_name(std::string_view text) {
  const auto slash = text.rfind('/');
  const std::string_view name = text.substr(slash == std::string_view::npos ? 0 : slash + 1);
  const auto is_numbered = [&](std::string_view kind) {
    return name.starts_with(kind) && name.size() > kind.size() && name[kind.size()] >= '0' && name[kind.size()] <= '9';
  };
  return is_numbered("nvme") || is_numbered("ng") || (name.starts_with("nvme") && slash != std::string_view::npos);
}

// 8-4-4-4-12 hexadecimal digits (RFC 4122).
bool is_uuid(std::string_view text) {
  constexpr std::string_view kShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  return std::ranges::equal(text, kShape, [](char c, char shape) { return shape == '-' ? c == '-' : is_hex(c); });
}

}  // namespace

bool Address::is_pci() const { return std::ranges::find(kPciSchemes, scheme) != std::end(kPciSchemes); }

Result<Address> Address::parse(std::string_view text) {
  if (text.empty()) return bad(text, "it is empty");
  if (text.size() > kMaxAddressBytes) return bad(text, fmt::format("it is longer than {} bytes", kMaxAddressBytes));
  Address address;
  address.text = text;
  const auto ours = respelled(text);
  if (!ours) return std::unexpected(ours.error());
  const std::string_view plain = *ours;

  const std::size_t first_colon = plain.find(':');
  // Also the first of fio's list of several.
  if (is_kernel_name(plain.substr(0, first_colon)))
    return bad(text,
               "that is the kernel's name for a drive, and pollux takes the address of its function, which \"pollux "
               "list\" shows");
  if (first_colon == std::string_view::npos) return bad(text, "there is no \":\" in it");

  // The last parts, in either order.
  std::string_view body = plain;
  for (;;) {
    const std::size_t last_comma = body.find_last_of(',');
    const std::size_t last_part = std::max(first_colon, last_comma == std::string_view::npos ? 0 : last_comma) + 1;
    if (last_part >= body.size()) break;
    constexpr std::string_view kNs = "ns=", kQuirks = "quirks=";
    if (lower(body.substr(last_part, kNs.size())) == kNs) {
      if (address.nsid) return bad(text, "ns is given twice");
      const std::string_view value = body.substr(last_part + kNs.size());
      address.nsid = number(value, 10);
      if (!address.nsid || *address.nsid == 0 || *address.nsid > kMaxNsid)
        return bad(text, fmt::format("\"ns={}\" is not a namespace id from 1 to {}", value, kMaxNsid));
    } else if (lower(body.substr(last_part, kQuirks.size())) == kQuirks) {
      if (!address.quirks.empty()) return bad(text, "quirks is given twice");
      address.quirks = lower(body.substr(last_part + kQuirks.size()));
      if (address.quirks.empty() || !std::ranges::all_of(address.quirks, is_quirk_char))
        return bad(text, fmt::format("\"quirks={}\" is not NAME+NAME", address.quirks));
    } else {
      break;
    }
    body = body.substr(0, body[last_part - 1] == ',' ? last_part - 1 : last_part);
  }

  // A text that begins with a hexadecimal number and a colon is a PCI function; no scheme is spelled in those letters
  // alone.
  const std::string head = lower(plain.substr(0, first_colon));
  const bool bare = std::ranges::all_of(head, is_hex);
  address.scheme = bare ? "pci" : head;
  if (address.is_pci()) {
    constexpr std::string_view kToken = ",vf_token=";
    std::string_view function = bare ? body : body.substr(first_colon + 1);
    if (const std::size_t at = lower(function).find(kToken); at != std::string_view::npos) {
      const std::string_view token = function.substr(at + kToken.size());
      if (lower(token).contains(kToken)) return bad(text, "vf_token is given twice");
      if (!is_uuid(token)) return bad(text, fmt::format("\"{}\" is not a UUID", token.substr(0, 40)));
      address.vf_token = token;
      function = function.substr(0, at);
    }
    auto bdf = full_bdf(text, function);
    if (!bdf) return std::unexpected(std::move(bdf.error()));
    address.target = std::move(*bdf);
    return address;
  }
  if (!std::ranges::all_of(head, is_scheme_char))
    return bad(text,
               fmt::format("\"{}\" names no kind of device", plain.substr(0, std::min<std::size_t>(first_colon, 40))));
  address.target = body.substr(first_colon + 1);
  return address;
}

}  // namespace pollux::vfio
