// Two sets of command indices that threads share: the free ones, and those that are ready to be told to the controller.
// A member is a bit of an atomic word, and the word is all there is: one that changed and changed back is the same set
// again, so there is no ABA and no tag against it. No call waits for another thread, each ends after a bounded number
// of steps.
//
// Whoever took an index owns what belongs to it until it puts it somewhere: what it wrote before it put, the next one
// reads after it took.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstdint>
#include <span>

namespace pollux::nvme {

// A line each, or threads that are at different words would still pass one line to and fro.
struct alignas(64) IndexWord {
  std::atomic<std::uint64_t> bits{0};
};
static_assert(sizeof(IndexWord) == 64);

// Where in the words an index stands. Neighbours are in one word, at least eight, so that threads at different words
// are at different lines of records too; a small set is spread over up to eight words, so that threads find one to
// themselves.
class IndexLayout {
 public:
  static constexpr unsigned kMaxWords = 64;
  static constexpr std::uint32_t kMaxIndices = kMaxWords * 64;

  explicit constexpr IndexLayout(std::uint32_t indices) noexcept
      : shift_(std::clamp(std::countr_zero(std::bit_ceil(indices)) - 3, 3, 6)),
        mask_((1u << shift_) - 1),
        words_(((indices - 1) >> shift_) + 1),
        indices_(indices) {
    assert(indices >= 1 && indices <= kMaxIndices);
  }

  constexpr unsigned words() const noexcept { return words_; }
  constexpr std::uint32_t indices() const noexcept { return indices_; }
  constexpr unsigned word(std::uint32_t index) const noexcept { return index >> shift_; }
  constexpr std::uint64_t bit(std::uint32_t index) const noexcept { return 1ull << (index & mask_); }
  constexpr std::uint32_t index(unsigned word, unsigned bit) const noexcept { return (word << shift_) + bit; }

 private:
  std::uint32_t shift_;
  std::uint32_t mask_;
  std::uint32_t words_;
  std::uint32_t indices_;
};

class FreeIndices {
 public:
  // How often a word is tried that others change at that moment.
  static constexpr unsigned kTries = 8;
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  // `words` are layout.words() words; all indices of the layout are free at first.
  FreeIndices(IndexLayout layout, std::span<IndexWord> words) noexcept : layout_(layout), words_(words.data()) {
    assert(words.size() >= layout.words());
    for (unsigned word = 0; word < layout.words(); ++word) words_[word].bits.store(0, std::memory_order_relaxed);
    for (std::uint32_t index = 0; index < layout.indices(); ++index) {
      words_[layout.word(index)].bits.fetch_or(layout.bit(index), std::memory_order_relaxed);
    }
  }

  // A free index, now the caller's. kNone: no word had one, or others changed it each time that it was tried.
  std::uint32_t take() noexcept {
    unsigned word = home();
    for (unsigned seen = 0; seen < layout_.words(); ++seen) {
      std::atomic<std::uint64_t>& bits = words_[word].bits;
      std::uint64_t free = bits.load(std::memory_order_relaxed);
      for (unsigned tries = 0; tries < kTries && free != 0; ++tries) {
        const std::uint32_t index = layout_.index(word, static_cast<unsigned>(std::countr_zero(free)));
        // Not fetch_and: where its result is used, x86 makes it a loop without a bound. Acquire pairs with put().
        if (bits.compare_exchange_weak(free, free & (free - 1), std::memory_order_acquire, std::memory_order_relaxed)) {
          return index;
        }
      }
      if (++word == layout_.words()) word = 0;
    }
    return kNone;
  }

  // Gives back indices of the caller's, all in one word. Release: pairs with take().
  void put(unsigned word, std::uint64_t bits) noexcept { words_[word].bits.fetch_or(bits, std::memory_order_release); }

  // Of some moment that is past.
  std::uint32_t count() const noexcept {
    int count = 0;
    for (unsigned word = 0; word < layout_.words(); ++word) {
      count += std::popcount(words_[word].bits.load(std::memory_order_relaxed));
    }
    return static_cast<std::uint32_t>(count);
  }

  const IndexLayout& layout() const noexcept { return layout_; }

 private:
  // Where this thread begins to look. A hint: threads that begin at different words rarely meet. The address of
  // something that each thread has one of stands for the thread.
  unsigned home() const noexcept {
    static constinit thread_local char mine = 0;
    const std::uint64_t thread = reinterpret_cast<std::uintptr_t>(&mine) >> 12;
    return static_cast<unsigned>((thread * 0x9e37'79b9'7f4a'7c15 >> 32) * layout_.words() >> 32);
  }

  IndexLayout layout_;
  IndexWord* words_;
};

// Any thread puts; one at a time takes, everything at once. A summary has a bit for each word that may have members, so
// that an empty set is seen by one load.
//
// All of it is sequentially consistent. put() sets the bit, then looks whether the summary tells of the word;
// take_all() clears the summary, then the word. In the one order of these four either put() finds the summary's bit
// cleared and sets it again, or take_all() finds the index.
class ReadyIndices {
 public:
  // `words` are layout.words() words.
  ReadyIndices(IndexLayout layout, std::span<IndexWord> words) noexcept : layout_(layout), words_(words.data()) {
    assert(words.size() >= layout.words());
    for (unsigned word = 0; word < layout.words(); ++word) words_[word].bits.store(0, std::memory_order_relaxed);
  }

  void put(std::uint32_t index) noexcept {
    const unsigned word = layout_.word(index);
    words_[word].bits.fetch_or(layout_.bit(index), std::memory_order_seq_cst);
    if ((summary_.load(std::memory_order_seq_cst) >> word & 1) == 0) {
      summary_.fetch_or(1ull << word, std::memory_order_seq_cst);
    }
  }

  bool empty() const noexcept { return summary_.load(std::memory_order_seq_cst) == 0; }

  // Calls `each(index)` for all that were put before.
  template <typename Each>
  void take_all(Each&& each) noexcept {
    for (std::uint64_t words = summary_.exchange(0, std::memory_order_seq_cst); words != 0; words &= words - 1) {
      const auto word = static_cast<unsigned>(std::countr_zero(words));
      for (std::uint64_t bits = words_[word].bits.exchange(0, std::memory_order_seq_cst); bits != 0; bits &= bits - 1) {
        each(layout_.index(word, static_cast<unsigned>(std::countr_zero(bits))));
      }
    }
  }

 private:
  alignas(64) std::atomic<std::uint64_t> summary_{0};  // submitters and whoever rings meet here
  alignas(64) IndexLayout layout_;
  IndexWord* words_;
};

}  // namespace pollux::nvme
