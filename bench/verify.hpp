// verify=crc32c: what a written block holds, what this run knows of each block, and the judgement of what was read.
//
// A block is one request's worth (bs bytes). It begins with a BlockHeader; the rest follows from run, offset and
// generation, so that no two blocks and no two writes of one block are alike, and the first wrong byte can be named. A
// block has one writer, its job; a second write of it waits until the first is answered, because NVMe promises no order
// between the two. A write that failed may have reached the medium, whole, in part or not at all: until the block is
// written again, each piece of it may be of any write since the last that succeeded. One thread: the job's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

namespace pollux::bench {

struct BlockHeader {
  std::uint64_t magic;
  std::uint64_t run;           // drawn anew for every run: an earlier run's block is never taken for this one's
  std::uint64_t offset_bytes;  // on the namespace
  std::uint32_t job;
  std::uint32_t generation;  // 1 for the block's first write in this run
  std::uint32_t size_bytes;  // of the block, header included
  std::uint32_t crc32c;      // over the header before this field, then what follows the header
};
static_assert(sizeof(BlockHeader) == 40 && offsetof(BlockHeader, crc32c) == 36);

inline constexpr std::uint64_t kBlockMagic = 0x3143'5243'5855'4c50;  // "PLUXCRC1"

// The identity of this run's blocks.
struct VerifyScope {
  std::uint64_t run = 0;
  std::uint32_t job = 0;
  std::uint64_t offset_bytes = 0;  // of the job's first block on the namespace
  std::uint32_t block_bytes = 0;
  std::uint64_t blocks = 0;
};

class Verifier {
 public:
  // Errors: no memory for the four bytes that each block costs: nothing returned.
  static std::optional<Verifier> create(const VerifyScope& scope);

  // A write of the block is outstanding: another has to wait, and a read of it is not judged.
  bool write_outstanding(std::uint64_t block) const noexcept { return (states_[block] & kOutstanding) != 0; }

  // Fills `into` (block_bytes) with what the block's next write carries.
  void fill(std::uint64_t block, std::span<std::byte> into) const noexcept;

  // The write that fill() prepared was accepted; it was answered. A block without a write of this run that succeeded
  // cannot be judged after one that failed, as what stood there before is unknown; nor can one that failed
  // kMaxFailedWrites times since.
  void write_begins(std::uint64_t block) noexcept;
  void write_ends(std::uint64_t block, bool ok);
  static constexpr unsigned kMaxFailedWrites = 8;

  // What a read submitted now has to find, for judgeable() and mismatch(); 0: not to be judged.
  std::uint32_t expected(std::uint64_t block) const noexcept {
    return write_outstanding(block) || !is_known(block) ? 0 : states_[block];
  }

  // The read, submitted when `state` was expected, has ended: whether it may be judged, that is, whether no write began
  // meanwhile.
  bool judgeable(std::uint64_t block, std::uint32_t state) const noexcept {
    return state != 0 && states_[block] == state;
  }

  // Nothing where `found` is what was expected; else lines that name the offset, what was expected and what was found.
  std::optional<std::string> mismatch(std::uint64_t block, std::uint32_t state, std::span<const std::byte> found) const;

  // The first block from `block` on that this run wrote and that can be judged; scope().blocks: none. And how many
  // there are.
  std::uint64_t next_written(std::uint64_t block) const noexcept;
  std::uint64_t written() const noexcept;

  const VerifyScope& scope() const { return scope_; }

 private:
  static constexpr std::uint32_t kOutstanding = 1u << 31;
  static constexpr std::uint32_t kFailed = 1u << 30;  // writes have failed since the last that succeeded
  static constexpr std::uint32_t kMaxGeneration = kFailed - 1;
  static constexpr std::size_t kPieceBytes = 512;  // of the smallest block of a namespace: what a write changes at once

  // Of a block whose writes have failed: where the candidates begin.
  struct Failures {
    std::uint32_t last_good;  // generation; 0: none
    unsigned writes;          // that failed since
  };

  struct Free {
    void operator()(std::uint32_t* states) const { std::free(states); }
  };
  using States = std::unique_ptr<std::uint32_t[], Free>;

  Verifier(const VerifyScope& scope, States states) : scope_(scope), states_(std::move(states)) {}

  static std::uint32_t after(std::uint32_t generation) noexcept {
    return generation == kMaxGeneration ? 1 : generation + 1;
  }
  std::uint32_t next_generation(std::uint64_t block) const noexcept { return after(states_[block] & kMaxGeneration); }
  bool is_known(std::uint64_t block) const noexcept {
    if ((states_[block] & kFailed) == 0) [[likely]]
      return states_[block] != 0;
    const Failures& failures = failures_.at(block);
    return failures.last_good != 0 && failures.writes <= kMaxFailedWrites;
  }
  bool is_of_candidates(std::uint64_t block, std::uint32_t newest, std::span<const std::byte> found) const;
  BlockHeader header(std::uint64_t block, std::uint32_t generation) const noexcept;
  void fill_generation(std::uint64_t block, std::uint32_t generation, std::span<std::byte> into) const noexcept;

  VerifyScope scope_;
  States states_;  // of each block: its generation, 0 where this run has not written it; kOutstanding and kFailed
  std::unordered_map<std::uint64_t, Failures> failures_;  // of the blocks with kFailed
};

}  // namespace pollux::bench
