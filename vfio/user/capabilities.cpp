#include "pollux/vfio/user/capabilities.hpp"

#include <algorithm>
#include <charconv>

namespace pollux::vfio::user {
namespace {

constexpr unsigned kMaxDepth = 16;

// A cursor over a JSON text. Each read_ and skip_ function returns false, and leaves the cursor anywhere, where the
// text is not what it wants. RFC 8259.
class Json {
 public:
  explicit Json(std::string_view text) : left_(text) {}

  bool at_end() {
    skip_space();
    return left_.empty();
  }

  // Calls visit(key), which consumes the value and returns whether it was good, for each member of the object that is
  // next.
  template <typename Visit>
  bool read_object(Visit&& visit) {
    if (!take('{')) return false;
    if (take('}')) return true;
    do {
      std::string key;
      if (!read_string(key) || !take(':') || !visit(key)) return false;
    } while (take(','));
    return take('}');
  }

  bool read_unsigned(std::uint64_t& value) {
    skip_space();
    const auto [end, error] = std::from_chars(left_.data(), left_.data() + left_.size(), value);
    if (error != std::errc()) return false;
    left_.remove_prefix(static_cast<std::size_t>(end - left_.data()));
    return left_.empty() || std::string_view(".eE").find(left_.front()) == std::string_view::npos;
  }

  bool read_bool(bool& value) {
    value = take_word("true");
    return value || take_word("false");
  }

  // Steps over whatever value is next.
  bool skip_value(unsigned depth = 0) {
    if (depth > kMaxDepth) return false;
    skip_space();
    if (left_.empty()) return false;
    std::string ignored;
    if (left_.front() == '"') return read_string(ignored);
    if (left_.front() == '{') return read_object([&](const std::string&) { return skip_value(depth + 1); });
    if (take('[')) {
      if (take(']')) return true;
      do {
        if (!skip_value(depth + 1)) return false;
      } while (take(','));
      return take(']');
    }
    if (take_word("true") || take_word("false") || take_word("null")) return true;
    const std::size_t length = std::min(left_.find_first_not_of("+-.0123456789eE"), left_.size());
    left_.remove_prefix(length);
    return length != 0;
  }

 private:
  void skip_space() { left_.remove_prefix(std::min(left_.find_first_not_of(" \t\r\n"), left_.size())); }

  bool take(char wanted) {
    skip_space();
    if (left_.empty() || left_.front() != wanted) return false;
    left_.remove_prefix(1);
    return true;
  }

  bool take_word(std::string_view word) {
    skip_space();
    if (!left_.starts_with(word)) return false;
    left_.remove_prefix(word.size());
    return true;
  }

  // Escapes are kept as they are: no member that we know has any.
  bool read_string(std::string& text) {
    if (!take('"')) return false;
    for (std::size_t at = 0; at < left_.size(); ++at) {
      if (left_[at] == '\\') {
        ++at;
      } else if (left_[at] == '"') {
        text = left_.substr(0, at);
        left_.remove_prefix(at + 1);
        return true;
      }
    }
    return false;
  }

  std::string_view left_;
};

}  // namespace

Result<Capabilities> parse_capabilities(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  Capabilities found;
  Json json(text);
  if (json.at_end()) return found;
  const auto one = [&](const std::string& key) {
    if (key == "max_msg_fds") return json.read_unsigned(found.max_msg_fds);
    if (key == "max_data_xfer_size") return json.read_unsigned(found.max_data_xfer_size);
    if (key == "max_dma_maps") return json.read_unsigned(found.max_dma_maps);
    if (key == "pgsizes") return json.read_unsigned(found.page_sizes);
    if (key == "write_multiple") return json.read_bool(found.write_multiple);
    return json.skip_value();
  };
  const bool good = json.read_object(
      [&](const std::string& key) { return key == "capabilities" ? json.read_object(one) : json.skip_value(); });
  if (!good || !json.at_end()) return fail(fmt::format("version data that cannot be read: {:?}", text.substr(0, 200)));
  return found;
}

std::string format_capabilities(const Capabilities& capabilities) {
  return fmt::format(
      R"({{"capabilities":{{"max_msg_fds":{},"max_data_xfer_size":{},"max_dma_maps":{},"pgsizes":{},"write_multiple":{}}}}})",
      capabilities.max_msg_fds, capabilities.max_data_xfer_size, capabilities.max_dma_maps, capabilities.page_sizes,
      capabilities.write_multiple);
}

}  // namespace pollux::vfio::user
