#include "pollux/vfio/address_spelling.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace pollux::vfio {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::size_t kDomainDigits = 4;  // as lspci writes it; a domain that software made up (VMD's) may have more

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// fio splits a filename at colons that have no backslash. Who escapes one escapes all: with the first left plain, a
// backslash is part of a path.
std::string without_escapes(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || text[colon - 1] != '\\') return std::string(text);
  std::string plain;
  for (std::size_t i = 0; i < text.size(); i++)
    if (text[i] != '\\' || i + 1 == text.size() || text[i + 1] != ':') plain += text[i];
  return plain;
}

// A PCI address that begins at `text`, whatever stands between its parts: domain, bus, device, function.
struct Found {
  std::array<std::string_view, 4> parts;
  std::size_t length = 0;

  std::string text() const {
    return lower(fmt::format("{:0>4}:{:0>2}:{:0>2}.{}", parts[0], parts[1], parts[2], parts[3]));
  }
};

std::optional<Found> function_at(std::string_view text) {
  constexpr std::array<std::size_t, 4> kMaxDigits = {8, 2, 2, 1};
  Found found;
  for (std::size_t part = 0; part < kMaxDigits.size(); part++) {
    if (part > 0) {
      if (found.length == text.size() || (text[found.length] != ':' && text[found.length] != '.')) return std::nullopt;
      found.length++;
    }
    std::size_t digits = 0;
    while (found.length + digits < text.size() && is_hex(text[found.length + digits])) digits++;
    if (digits == 0 || digits > kMaxDigits[part]) return std::nullopt;
    found.parts[part] = text.substr(found.length, digits);
    found.length += digits;
  }
  return found;
}

// "0000.02.00.0", which is a PCI address where nothing else of it is left.
std::optional<std::string> whole_function(std::string_view text) {
  const auto found = function_at(text);
  if (!found || found->length != text.size()) return std::nullopt;
  return found->text();
}

// SPDK's: words KEY=VALUE or KEY:VALUE.
bool is_transport_id(std::string_view text) {
  const std::string begin = lower(text.substr(0, 7));
  return begin == "trtype=" || begin == "trtype:" || begin == "traddr=" || begin == "traddr:";
}

// fio's list: the next transport id begins behind a colon, in what looks like a value of the one before.
bool begins_another(std::string_view value) {
  for (auto colon = value.find(':'); colon != std::string_view::npos; colon = value.find(':', colon + 1))
    if (is_transport_id(value.substr(colon + 1))) return true;
  return false;
}

Result<std::string> of_transport_id(std::string_view text) {
  const auto refuse = [&](const std::string& why) {
    return fail(fmt::format("\"{}\" is not a device address: {}", text.substr(0, 200), why),
                "use 0000:02:00.0 or vfio-user:/run/nvme.sock, with ,ns=N at its end where a namespace is meant");
  };
  std::optional<std::string> type, place, nsid;
  for (std::string_view left = text; !left.empty();) {
    const std::string_view word = left.substr(0, left.find_first_of(kBlanks));
    left = trimmed(left.substr(word.size()));
    const auto mark = word.find_first_of("=:");
    const std::string key = lower(word.substr(0, mark));
    const std::string value(mark == std::string_view::npos ? "" : word.substr(mark + 1));
    std::optional<std::string>* const part = key == "trtype"   ? &type
                                             : key == "traddr" ? &place
                                             : key == "ns"     ? &nsid
                                                               : nullptr;
    if (part == nullptr) return refuse(fmt::format("pollux knows nothing of \"{}\"", word.substr(0, 40)));
    if (begins_another(value) || (key == "traddr" && place)) return refuse("it names two devices");
    if (*part) return refuse(key + " is given twice");
    *part = value;
  }
  if (place.value_or("").empty()) return refuse("it has no traddr");
  const std::string suffix = nsid ? ",ns=" + *nsid : "";
  const std::string transport = lower(type.value_or("pcie"));
  if (transport == "vfiouser") return "vfio-user:" + *place + suffix;
  if (transport != "pcie") return refuse(fmt::format("\"{}\" is no transport of pollux's", transport.substr(0, 40)));
  const auto function = whole_function(*place);
  // SPDK takes that as a function of domain 0.
  if (const auto meant = whole_function("0000." + *place); !function && !place->contains(':') && meant)
    return fail(fmt::format("\"{}\" is not a device address: there is no PCI domain in it", text.substr(0, 200)),
                fmt::format("is {}{} meant?", *meant, suffix));
  return function.value_or(*place) + suffix;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

Result<std::string> respelled(std::string_view text) {
  const std::string_view bare = trimmed(text);
  if (is_transport_id(bare)) return of_transport_id(bare);
  const std::string plain = without_escapes(bare);
  // With points alone a domain of four digits tells a function from an IP address.
  const std::string_view head = std::string_view(plain).substr(0, plain.find(','));
  if (head.find('.') >= kDomainDigits && !head.contains(':'))
    if (const auto function = whole_function(head)) return *function + plain.substr(head.size());
  return plain;
}

std::string function_named_in(std::string_view text) {
  const std::string address = address_named_in(text);
  return address.substr(0, address.find(','));
}

std::string address_named_in(std::string_view text) {
  for (std::size_t at = 0; at < text.size(); at++) {
    if (!is_hex(text[at]) || (at > 0 && (is_hex(text[at - 1]) || text[at - 1] == ':' || text[at - 1] == '.'))) continue;
    const auto found = function_at(text.substr(at));
    if (!found || found->parts[0].size() < kDomainDigits || found->parts[1].size() != 2) continue;
    const std::string_view rest = text.substr(at + found->length);
    if (!rest.empty() && (is_hex(rest[0]) || rest[0] == ':' || rest[0] == '.')) continue;
    // SPDK's programs once took the namespace so.
    const std::string_view nsid = rest.starts_with('/') ? rest.substr(1) : "";
    const bool has_nsid = !nsid.empty() && std::ranges::all_of(nsid, [](char c) { return c >= '0' && c <= '9'; });
    return found->text() + (has_nsid ? fmt::format(",ns={}", nsid) : "");
  }
  return {};
}

}  // namespace pollux::vfio
