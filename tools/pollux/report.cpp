#include "pollux/tools/pollux/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace pollux::cli {
namespace {

constexpr int kIndent = 2;
constexpr int kMaxDepth = 8;

std::string value_text(std::string_view key, const Tree& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_unsigned() && key.ends_with("_bytes")) {
    const auto bytes = value.get<std::uint64_t>();
    return bytes < 1024 ? fmt::format("{}", bytes) : fmt::format("{} ({})", bytes, binary_size(bytes));
  }
  return value.dump();
}

std::string label(std::string_view key) {
  std::string text(key.ends_with("_bytes") ? key.substr(0, key.size() - 6) : key);
  std::ranges::replace(text, '_', ' ');
  return text;
}

// A list of plain values, or an object of them, in one line.
std::string line_text(const Tree& node) {
  std::string text;
  for (const auto& [key, value] : node.items()) {
    const std::string shown = value.is_structured() ? line_text(value) : value_text(key, value);
    const std::string part = node.is_array() ? shown : fmt::format("{} {}", label(key), shown);
    text += (text.empty() ? "" : node.is_array() ? ", " : "  ") + part;
  }
  return text.empty() ? "none" : text;
}

void print_text(const Tree& node, int depth) {
  if (depth > kMaxDepth) return;
  std::size_t width = 0;
  for (const auto& [key, value] : node.items())
    if (!value.is_object()) width = std::max(width, label(key).size());
  for (const auto& [key, value] : node.items()) {
    const std::string indent(static_cast<std::size_t>(depth * kIndent), ' ');
    if (value.is_object() && !value.empty()) {
      fmt::print("{}{}\n", indent, label(key));
      print_text(value, depth + 1);
    } else if (value.is_array() && !value.empty() && value.front().is_object()) {
      fmt::print("{}{}\n", indent, label(key));
      for (const auto& row : value) fmt::print("{}{:{}}{}\n", indent, "", kIndent, line_text(row));
    } else {
      fmt::print("{}{:{}}  {}\n", indent, label(key), width,
                 value.is_structured() ? line_text(value) : value_text(key, value));
    }
  }
}

}  // namespace

void print(const Tree& tree, Format format) {
  if (format == Format::json)
    fmt::print("{}\n", tree.dump(2, ' ', false, Tree::error_handler_t::replace));
  else
    print_text(tree, 0);
}

void print_table(const Tree& rows) {
  if (rows.empty()) return;
  std::vector<std::vector<std::string>> lines(rows.size() + 1);
  std::vector<std::size_t> widths;
  for (const auto& [key, value] : rows.front().items()) {
    std::string title = label(key);
    title.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(title.front())));
    widths.push_back(title.size());
    lines.front().push_back(std::move(title));
  }
  for (std::size_t row = 0; row < rows.size(); row++) {
    for (const auto& [key, value] : rows[row].items()) {
      std::string text = value.is_structured() ? (value.empty() ? "-" : line_text(value)) : value_text(key, value);
      auto& width = widths[lines[row + 1].size()];
      width = std::max(width, text.size());
      lines[row + 1].push_back(std::move(text));
    }
  }
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t column = 0; column < line.size(); column++)
      text += fmt::format("{:{}}", line[column], column + 1 == line.size() ? 0 : widths[column] + 2);
    fmt::print("{}\n", text);
  }
}

std::string binary_size(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  double value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < kUnits.size(); unit++) value /= 1024;
  return value == static_cast<double>(static_cast<std::uint64_t>(value))
             ? fmt::format("{:.0f} {}", value, kUnits[unit])
             : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0') break;
    out += c >= ' ' && c <= '~' ? c : '.';
  }
  while (out.ends_with(' ')) out.pop_back();
  out.erase(0, std::min(out.find_first_not_of(' '), out.size()));
  return out;
}

}  // namespace pollux::cli
