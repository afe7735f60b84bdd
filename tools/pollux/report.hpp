// What a command found, as one tree that is printed as JSON or for people, so that both say the same.
// Numbers whose key ends in _bytes are shown to people with a binary unit as well.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "pollux/tools/pollux/commands.hpp"

namespace pollux::cli {

using Tree = nlohmann::ordered_json;

// To stdout. As text an object is a heading with its members below it, a list of values one line, a list of objects a
// line each.
void print(const Tree& tree, Format format);

// To stdout, in columns: a list of objects with the same keys. The first letters of the keys are made capitals.
void print_table(const Tree& rows);

// 268435456 → "256 MiB"; what is no whole number of a unit keeps a decimal.
std::string binary_size(std::uint64_t bytes);

// Text that a device wrote: what is not printable ASCII becomes a dot, the padding goes.
std::string printable(std::string_view text);

}  // namespace pollux::cli
