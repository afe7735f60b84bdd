#include "pollux/bench/same_namespace.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

namespace pollux::bench {
namespace {

// ASCII fields are padded with blanks, the NQN with zeros.
template <std::size_t N>
std::string unpadded(const char (&field)[N]) {
  std::string_view text(field, N);
  text = text.substr(0, text.find('\0'));
  return std::string(text.substr(0, text.find_last_not_of(' ') + 1));
}

// Nothing: one of them has none.
template <std::size_t N>
std::optional<bool> same_id(const unsigned char (&a)[N], const unsigned char (&b)[N]) {
  const auto is_none = [](const auto& id) { return std::ranges::all_of(id, [](unsigned char c) { return c == 0; }); };
  if (is_none(a) || is_none(b)) return std::nullopt;
  return std::ranges::equal(a, b);
}

std::string canonical(const std::string& path) {
  std::error_code failed;
  const auto found = std::filesystem::weakly_canonical(path, failed);
  return failed || path.empty() ? path : found.string();
}

struct Part {
  std::size_t begin = 0, size = 0;
};

// Of the target.
std::optional<Part> path_in(const vfio::Address& address) {
  const std::string& target = address.target;
  if (address.scheme == "vfio-user") return Part{0, target.size()};
  if (address.scheme != "soft") return std::nullopt;
  constexpr std::string_view kFile = "file=";
  for (std::size_t at = 0; at < target.size();) {
    const std::size_t end = std::min(target.find(',', at), target.size());
    if (std::string_view(target).substr(at).starts_with(kFile)) return Part{at + kFile.size(), end - at - kFile.size()};
    at = end + 1;
  }
  return std::nullopt;
}

}  // namespace

ReachedNamespace::ReachedNamespace(const Namespace& reached, const nvme::IdentifyController& through)
    : ns(reached), subsystem_nqn(unpadded(through.subnqn)), serial(unpadded(through.sn)), model(unpadded(through.mn)) {}

bool is_same(const ReachedNamespace& a, const ReachedNamespace& b) {
  if (a.ns.controller == b.ns.controller) return a.ns.nsid == b.ns.nsid;
  if (const auto same = same_id(a.ns.uuid, b.ns.uuid)) return *same;
  if (const auto same = same_id(a.ns.nguid, b.ns.nguid)) return *same;
  if (const auto same = same_id(a.ns.eui64, b.ns.eui64)) return *same;
  return a.ns.nsid == b.ns.nsid && !a.subsystem_nqn.empty() && a.subsystem_nqn == b.subsystem_nqn &&
         a.serial == b.serial && a.model == b.model;
}

vfio::Address with_canonical_path(vfio::Address address) {
  const auto part = path_in(address);
  if (!part) return address;
  std::string path = canonical(address.target.substr(part->begin, part->size));
  std::error_code failed;
  // As the client takes a folder of SPDK's target.
  if (address.scheme == "vfio-user" && std::filesystem::is_directory(path, failed)) path = canonical(path + "/cntrl");
  address.target.replace(part->begin, part->size, path);
  return address;
}

std::string path_of(const vfio::Address& address) {
  const auto part = path_in(address);
  return part ? address.target.substr(part->begin, part->size) : std::string();
}

}  // namespace pollux::bench
