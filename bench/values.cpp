#include "pollux/bench/values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <vector>

namespace pollux::bench {
namespace {

struct Number {
  std::uint64_t value;
  std::string_view suffix;
};

std::optional<Number> split_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number.value);
  if (error != std::errc{}) return std::nullopt;
  number.suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  return number;
}

std::optional<std::uint64_t> multiply(std::uint64_t value, std::uint64_t factor) {
  if (value > std::numeric_limits<std::uint64_t>::max() / factor) return std::nullopt;
  return value * factor;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lowered(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), lower);
  return result;
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto number = split_number(text);
  if (!number) return std::nullopt;
  if (number->suffix.empty()) return number->value;
  const std::string suffix = lowered(number->suffix);
  const std::string_view rest = std::string_view(suffix).substr(1);
  if (!rest.empty() && rest != "b" && rest != "ib") return std::nullopt;
  switch (suffix[0]) {
    case 'k':
      return multiply(number->value, 1ull << 10);
    case 'm':
      return multiply(number->value, 1ull << 20);
    case 'g':
      return multiply(number->value, 1ull << 30);
    case 't':
      return multiply(number->value, 1ull << 40);
    default:
      return std::nullopt;
  }
}

std::optional<std::uint64_t> parse_time_ns(std::string_view text) {
  struct Unit {
    std::string_view suffix;
    std::uint64_t ns;
  };
  static constexpr std::array kUnits = {
      Unit{"", 1'000'000'000},
      Unit{"s", 1'000'000'000},
      Unit{"ms", 1'000'000},
      Unit{"us", 1'000},
      Unit{"m", 60ull * 1'000'000'000},
      Unit{"h", 3600ull * 1'000'000'000},
      Unit{"d", 86400ull * 1'000'000'000},
  };
  const auto number = split_number(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : kUnits) {
    if (lowered(number->suffix) == unit.suffix) return multiply(number->value, unit.ns);
  }
  return std::nullopt;
}

std::optional<Extent> parse_extent(std::string_view text) {
  if (text.ends_with('%')) {
    const auto number = split_number(text);
    if (!number || number->suffix != "%" || number->value > 100) return std::nullopt;
    return Extent{number->value, true};
  }
  const auto bytes = parse_size(text);
  if (!bytes) return std::nullopt;
  return Extent{*bytes, false};
}

std::optional<bool> parse_switch(std::string_view text) {
  if (text.empty() || text == "1" || text == "true") return true;
  if (text == "0" || text == "false") return false;
  return std::nullopt;
}

std::size_t distance(std::string_view from, std::string_view to) {
  // Optimal string alignment, rows of the table kept apart: two back (for swaps), one back, the present one.
  std::vector<std::size_t> before(to.size() + 1), last(to.size() + 1), row(to.size() + 1);
  for (std::size_t j = 0; j <= to.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t change = from[i - 1] == to[j - 1] ? 0 : 1;
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + change});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[to.size()];
}

std::string_view meant_by(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr std::size_t kLongWord = 6;
  std::string_view best;
  std::size_t best_distance = (word.size() < kLongWord ? 1 : 2) + 1;
  for (const std::string_view candidate : candidates) {
    if (word.empty() || candidate.empty() || word[0] != candidate[0]) continue;
    const std::size_t edits = distance(word, candidate);
    if (edits >= best_distance) continue;
    best_distance = edits;
    best = candidate;
  }
  return best;
}

std::string size_text(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> kSuffixes = {"", "k", "M", "G", "T"};
  std::size_t power = 0;
  while (power + 1 < kSuffixes.size() && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++power;
  }
  return fmt::format("{}{}", bytes, kSuffixes[power]);
}

}  // namespace pollux::bench
