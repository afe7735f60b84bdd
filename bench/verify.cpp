#include "pollux/bench/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "pollux/bench/crc32c.hpp"
#include "pollux/bench/random.hpp"

namespace pollux::bench {
namespace {

std::uint32_t block_crc(const BlockHeader& header, std::span<const std::byte> block) {
  const auto head = std::as_bytes(std::span(&header, 1)).first(offsetof(BlockHeader, crc32c));
  return crc32c(block.subspan(sizeof(BlockHeader)), crc32c(head));
}

std::string header_text(const BlockHeader& header) {
  return fmt::format("offset={} job={} generation={} size={} crc32c={:08x} run={:016x}", header.offset_bytes,
                     header.job, header.generation, header.size_bytes, header.crc32c, header.run);
}

std::string hex_text(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes)
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned>(byte));
  return text;
}

bool all_equal(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [&](std::byte byte) { return byte == bytes[0]; });
}

}  // namespace

std::optional<Verifier> Verifier::create(const VerifyScope& scope) {
  // calloc: blocks that are never touched cost no page.
  States states(static_cast<std::uint32_t*>(std::calloc(scope.blocks, sizeof(std::uint32_t))));
  if (!states) return std::nullopt;
  return Verifier(scope, std::move(states));
}

BlockHeader Verifier::header(std::uint64_t block, std::uint32_t generation) const noexcept {
  return {kBlockMagic,        scope_.run, scope_.offset_bytes + block * scope_.block_bytes, scope_.job, generation,
          scope_.block_bytes, 0};
}

void Verifier::fill_generation(std::uint64_t block, std::uint32_t generation,
                               std::span<std::byte> into) const noexcept {
  BlockHeader head = header(block, generation);
  std::uint64_t word = mix(mix(mix(head.run) + head.offset_bytes) + generation);
  std::byte* out = into.data() + sizeof head;
  std::byte* const end = into.data() + into.size();
  // A Weyl sequence from a start of its own: no word repeats in a block, and equal words of two blocks do not stand at
  // equal places.
  for (; end - out >= static_cast<std::ptrdiff_t>(sizeof word); out += sizeof word) {
    std::memcpy(out, &word, sizeof word);
    word += kGolden;
  }
  head.crc32c = block_crc(head, into);
  std::memcpy(into.data(), &head, sizeof head);
}

void Verifier::fill(std::uint64_t block, std::span<std::byte> into) const noexcept {
  fill_generation(block, next_generation(block), into);
}

void Verifier::write_begins(std::uint64_t block) noexcept {
  states_[block] = next_generation(block) | kOutstanding | (states_[block] & kFailed);
}

void Verifier::write_ends(std::uint64_t block, bool ok) {
  const std::uint32_t generation = states_[block] & kMaxGeneration;
  const bool had_failed = (states_[block] & kFailed) != 0;
  if (ok) {
    states_[block] = generation;
    if (had_failed) failures_.erase(block);
    return;
  }
  states_[block] = generation | kFailed;
  if (!had_failed) failures_[block] = {generation - 1, 0};
  ++failures_[block].writes;
}

// Piece by piece, because a write that failed may have changed some of them.
bool Verifier::is_of_candidates(std::uint64_t block, std::uint32_t newest, std::span<const std::byte> found) const {
  std::vector<bool> known(found.size() / kPieceBytes);
  std::vector<std::byte> candidate(found.size());
  for (std::uint32_t generation = failures_.at(block).last_good;; generation = after(generation)) {
    fill_generation(block, generation, candidate);
    for (std::size_t piece = 0; piece < known.size(); ++piece) {
      const std::size_t at = piece * kPieceBytes;
      known[piece] = known[piece] || std::memcmp(&candidate[at], &found[at], kPieceBytes) == 0;
    }
    if (generation == newest) return std::ranges::find(known, false) == known.end();
  }
}

std::optional<std::string> Verifier::mismatch(std::uint64_t block, std::uint32_t state,
                                              std::span<const std::byte> found) const {
  const std::uint32_t generation = state & kMaxGeneration;
  const bool has_failed = (state & kFailed) != 0;
  if (has_failed && is_of_candidates(block, generation, found)) return std::nullopt;
  BlockHeader want = header(block, generation);
  BlockHeader head;
  std::memcpy(&head, found.data(), sizeof head);
  want.crc32c = head.crc32c;
  if (!has_failed && std::memcmp(&want, &head, sizeof head) == 0 && head.crc32c == block_crc(head, found)) {
    return std::nullopt;
  }

  std::vector<std::byte> expected(found.size());
  fill_generation(block, generation, expected);
  std::memcpy(&want, expected.data(), sizeof want);
  const auto at = std::ranges::mismatch(expected, found).in1 - expected.begin();
  const auto first =
      static_cast<std::size_t>(std::min<std::ptrdiff_t>(at, static_cast<std::ptrdiff_t>(found.size()) - 1));
  const std::size_t shown = std::min<std::size_t>(16, found.size() - first);
  const std::string content = head.magic == kBlockMagic ? header_text(head)
                              : all_equal(found)
                                  ? fmt::format("no header, every byte is {:02x}", static_cast<unsigned>(found[0]))
                                  : "no header";
  return fmt::format(
      "verify: mismatch at offset {} ({} bytes)\n"
      "  expected {}{}\n"
      "  found    {}\n"
      "  first difference at offset {}: expected {}\n"
      "  {:>{}} {}",
      want.offset_bytes, found.size(), header_text(want),
      has_failed ? fmt::format(", or pieces of any generation from {} on", failures_.at(block).last_good) : "", content,
      want.offset_bytes + first, hex_text(std::span(expected).subspan(first, shown)), "found",
      fmt::format("first difference at offset {}: expected", want.offset_bytes + first).size(),
      hex_text(found.subspan(first, shown)));
}

std::uint64_t Verifier::next_written(std::uint64_t block) const noexcept {
  while (block < scope_.blocks && !is_known(block)) ++block;
  return block;
}

std::uint64_t Verifier::written() const noexcept {
  std::uint64_t count = 0;
  for (std::uint64_t block = 0; block < scope_.blocks; ++block) count += is_known(block) ? 1 : 0;
  return count;
}

}  // namespace pollux::bench
