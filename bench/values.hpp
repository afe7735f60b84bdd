// How an option's value is read: sizes, times, shares, numbers, switches; and what was
// probably meant by a wrong one. Errors here name the value only; whoever knows the option puts its name in front.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pollux/bench/job.hpp"

namespace pollux::bench {

// A whole number with an optional suffix, a power of 1024: k, M, G, T (either case), also as kB or KiB. "4k" is 4096.
std::optional<std::uint64_t> parse_size(std::string_view text);

// A whole number of seconds, or with a suffix: us, ms, s, m, h, d. In nanoseconds.
std::optional<std::uint64_t> parse_time_ns(std::string_view text);

// A size, or "25%".
std::optional<Extent> parse_extent(std::string_view text);

// "", "1" and "true" switch on; "0" and "false" off.
std::optional<bool> parse_switch(std::string_view text);

// The longest beginning of `text` that `parse` accepts: what was probably meant by "4kk". Empty where there is none.
template <typename Parse>
std::string_view longest_valid(std::string_view text, Parse parse) {
  for (std::size_t length = text.size(); length > 0; --length) {
    if (parse(text.substr(0, length))) return text.substr(0, length);
  }
  return {};
}

// The candidate that `word` is a slip of the pen of: the same first letter, and one insertion, deletion, replacement or
// swap of neighbours away; two in words of six letters or more. The first of equals; empty where there is none, as a
// wrong hint is worse than none.
std::string_view meant_by(std::string_view word, std::span<const std::string_view> candidates);

// How many of these edits lead from one word to the other.
std::size_t distance(std::string_view from, std::string_view to);

// "4k", "1G", "1000": the shortest way to write a size that parse_size() reads.
std::string size_text(std::uint64_t bytes);

}  // namespace pollux::bench
