#include "pollux/tools/pollux/targets.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "pollux/vfio/address.hpp"
#include "pollux/vfio/address_spelling.hpp"

namespace pollux::cli {
namespace {

// One half of an id: four hexadecimal digits, or * for any.
struct Half {
  std::optional<std::uint16_t> value;

  bool matches(std::uint16_t id) const { return !value || *value == id; }
};

std::optional<Half> half_of(std::string_view text) {
  constexpr std::size_t kDigits = 4;
  if (text == "*") return Half{};
  if (text.size() != kDigits) return std::nullopt;
  std::uint16_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return Half{value};
}

struct Pattern {
  Half vendor, device;
};

std::optional<Pattern> pattern_of(std::string_view word) {
  const auto colon = word.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto vendor = half_of(word.substr(0, colon));
  const auto device = half_of(word.substr(colon + 1));
  if (!vendor || !device) return std::nullopt;
  return Pattern{*vendor, *device};
}

Result<std::vector<std::string>> meant_by(const vfio::Sysfs& sysfs, const std::string& word) {
  if (const auto pattern = pattern_of(word)) {
    std::vector<std::string> found;
    for (const auto& function : sysfs.nvm_functions())
      if (pattern->vendor.matches(function.vendor) && pattern->device.matches(function.device))
        found.push_back(function.bdf);
    if (found.empty())
      return fail(fmt::format("no NVMe function has the id {}", word), "\"pollux list\" shows the ids that there are");
    return found;
  }
  auto address = vfio::Address::parse(word);
  if (!address || !address->is_pci() || address->nsid) {
    const std::string function = address && address->is_pci() ? address->target : vfio::function_named_in(word);
    return fail(fmt::format("\"{}\" is not a PCI function", word),
                (function.empty() ? "" : fmt::format("is {} meant? ", function)) +
                    "name whole functions, as 0000:02:00.0, or ids, as 1cc1:0021 or 1cc1:*");
  }
  return std::vector{std::move(address->target)};
}

}  // namespace

Result<std::vector<std::string>> targets(const vfio::Sysfs& sysfs, const std::vector<std::string>& words) {
  std::vector<std::string> bdfs;
  for (const auto& word : words) {
    auto found = meant_by(sysfs, word);
    if (!found) return found;
    for (auto& bdf : *found)
      if (std::ranges::find(bdfs, bdf) == bdfs.end()) bdfs.push_back(std::move(bdf));
  }
  return bdfs;
}

}  // namespace pollux::cli
