#include "pollux/tools/softnvme/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <vector>

#include "pollux/tools/softnvme/core/config.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::string_view kUnits = "kmgt";
constexpr std::string_view kValid =
    "size=N[k|M|G|T|KiB|MiB|GiB|TiB], block=512|1024|…|65536, file=PATH, null=0|1, mdts=N, queues=N, vectors=N, "
    "entries=N, vwc=0|1, shadow=0|1|poll, trap=0|1, faults=N%";

std::unexpected<Error> bad_value(std::string_view option, std::string_view value, std::string_view valid) {
  return fail(fmt::format("soft: option {}={} is not valid", option, value), fmt::format("{} takes {}", option, valid));
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A number in [low, high].
Result<std::uint64_t> parse_between(std::string_view option, std::string_view value, std::uint64_t low,
                                    std::uint64_t high) {
  const std::optional<std::uint64_t> number = parse_number(value);
  if (!number || *number < low || *number > high) return bad_value(option, value, fmt::format("{} to {}", low, high));
  return *number;
}

// "1%", "0.25%": a share with up to four places behind the point, as parts of a million.
std::optional<std::uint32_t> parse_share(std::string_view text) {
  constexpr std::size_t kPlaces = 4;
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(0, point));
  const std::string_view places = text.substr(std::min(point + 1, text.size()));
  if (digits.empty() || places.size() > kPlaces || (point != text.size() && places.empty())) return std::nullopt;
  digits.append(places).append(kPlaces - places.size(), '0');
  const std::optional<std::uint64_t> share = parse_number(digits);
  if (!share || *share > 1'000'000) return std::nullopt;
  return static_cast<std::uint32_t>(*share);
}

Result<void> set(Options& options, std::string_view option, std::string_view value) {
  if (option == "size") {
    options.size_bytes = parse_size(value);
    if (!options.size_bytes || *options.size_bytes == 0 || *options.size_bytes > Options::kMaxSizeBytes) {
      return bad_value(option, value, "a size from one block to 64TiB, such as 512MiB or 1G");
    }
  } else if (option == "block") {
    const std::uint64_t bytes = parse_number(value).value_or(0);
    if (!std::has_single_bit(bytes) || bytes < kMinBlockBytes || bytes > kMaxBlockBytes) {
      return bad_value(option, value, "a power of two from 512 to 65536");
    }
    options.block_size_bytes = static_cast<std::uint32_t>(bytes);
  } else if (option == "file") {
    if (value.empty()) return bad_value(option, value, "the path of a file");
    options.file = value;
  } else if (option == "null" || option == "trap" || option == "vwc") {
    if (value != "0" && value != "1") return bad_value(option, value, "0 or 1");
    (option == "null" ? options.null : option == "trap" ? options.trap : options.vwc) = value == "1";
  } else if (option == "shadow") {
    if (value != "0" && value != "1" && value != "poll") return bad_value(option, value, "0, 1 or poll");
    options.shadow = value != "0";
    options.shadow_polls = value == "poll";
  } else if (option == "mdts") {
    const Result<std::uint64_t> mdts = parse_between(option, value, 0, Options::kMaxMdts);
    if (!mdts) return std::unexpected(mdts.error());
    options.mdts = static_cast<std::uint8_t>(*mdts);
  } else if (option == "queues") {
    const Result<std::uint64_t> queues = parse_between(option, value, 0, kMaxIoQueues);
    if (!queues) return std::unexpected(queues.error());
    options.queues = static_cast<std::uint32_t>(*queues);
  } else if (option == "vectors") {
    const Result<std::uint64_t> vectors = parse_between(option, value, 1, kMaxIoQueues + 1);
    if (!vectors) return std::unexpected(vectors.error());
    options.vectors = static_cast<std::uint32_t>(*vectors);
  } else if (option == "entries") {
    const Result<std::uint64_t> entries = parse_between(option, value, 2, kMaxQueueEntries);
    if (!entries) return std::unexpected(entries.error());
    options.entries = static_cast<std::uint32_t>(*entries);
  } else if (option == "faults") {
    const std::optional<std::uint32_t> share = parse_share(value);
    if (!share) return bad_value(option, value, "a share of the I/O commands up to 100%, such as 1% or 0.05%");
    options.faults_of_a_million = *share;
  } else {
    return fail(fmt::format("soft: option {}={} is not known", option, value), fmt::format("valid are {}", kValid));
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const std::size_t digits = text.find_first_not_of("0123456789");
  const std::optional<std::uint64_t> number = parse_number(text.substr(0, digits));
  if (!number) return std::nullopt;
  if (digits == std::string_view::npos) return number;
  const std::string_view suffix = text.substr(digits);
  const std::size_t unit = kUnits.find(static_cast<char>(suffix[0] | 0x20));
  if (unit == std::string_view::npos || (suffix.size() != 1 && suffix.substr(1) != "iB")) return std::nullopt;
  const unsigned shift = 10 * (static_cast<unsigned>(unit) + 1);
  if (*number > ~0ull >> shift) return std::nullopt;
  return *number << shift;
}

Result<Options> Options::parse(std::string_view text) {
  Options options;
  std::vector<std::string_view> given;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return fail(fmt::format("soft: \"{}\" is not an option with a value", part), fmt::format("valid are {}", kValid));
    }
    const std::string_view option = part.substr(0, equals);
    if (std::ranges::find(given, option) != given.end()) {
      return fail(fmt::format("soft: {} is given twice", option), "give it once");
    }
    given.push_back(option);
    if (const Result<void> done = set(options, option, part.substr(equals + 1)); !done) {
      return std::unexpected(done.error());
    }
  }
  if (options.size_bytes && *options.size_bytes % options.block_size_bytes != 0) {
    return fail(
        fmt::format("soft: size={} is not a multiple of block={}", *options.size_bytes, options.block_size_bytes),
        "give a size of whole blocks");
  }
  if (options.null && !options.file.empty()) {
    return fail(fmt::format("soft: null=1 moves no data, and file={} would keep it", options.file),
                "give one of null=1 and file=PATH");
  }
  return options;
}

}  // namespace pollux::softnvme
