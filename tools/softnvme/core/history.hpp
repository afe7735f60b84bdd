// What blocks held before they were last written, so that a fault can return it. Filled only while a fault hook is set,
// and bounded: beyond kMaxBlocks nothing more is remembered, and such a block reads as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace pollux::softnvme {

class History {
 public:
  static constexpr std::size_t kMaxBlocks = 65536;

  void remember(std::uint32_t nsid, std::uint64_t lba, std::span<const std::byte> content) {
    const std::pair key{nsid, lba};
    const auto it = blocks_.find(key);
    if (it != blocks_.end()) {
      it->second.assign(content.begin(), content.end());
    } else if (blocks_.size() < kMaxBlocks) {
      blocks_.emplace(key, std::vector(content.begin(), content.end()));
    }
  }

  // Empty: nothing is known.
  std::span<const std::byte> before(std::uint32_t nsid, std::uint64_t lba) const {
    const auto it = blocks_.find({nsid, lba});
    return it == blocks_.end() ? std::span<const std::byte>() : std::span<const std::byte>(it->second);
  }

  void clear() { blocks_.clear(); }

 private:
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<std::byte>> blocks_;
};

}  // namespace pollux::softnvme
