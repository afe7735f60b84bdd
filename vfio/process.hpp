// Which process opened a device. fork() gives a child all objects of its parent, and the same files behind them: were
// the child to destroy them as its own, it would disable its parent's controller and unmap its memory. So what may
// reach the device notes here who opened it, and does nothing in any other process. vfork() and posix_spawn() copy no
// memory, and exec() closes every file that pollux opens: neither needs this. Any thread. Source: fork(2); madvise(2),
// MADV_WIPEONFORK (Linux 4.14).
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "pollux/vfio/error.hpp"

namespace pollux::vfio {

// Made in the process that opens something, and asked later.
class Opener {
 public:
  Opener() noexcept;
  // False in a child that was forked since, and in its children.
  bool is_this_process() const noexcept;

 private:
  std::uint64_t process_;
};

// What calls answer that are made in a child, of which nobody knows what its parent is doing at that moment.
std::unexpected<Error> not_the_opener(std::string_view what);

// A word that is 0 in every child that is forked: the data path asks whose process this is by what it reads anyway. In
// a page of its own, released by scope.
class OwnWord {
 public:
  static Result<OwnWord> create(std::uint64_t value);
  OwnWord(OwnWord&& other) noexcept : word_(std::exchange(other.word_, nullptr)) {}
  OwnWord& operator=(OwnWord&& other) noexcept {
    std::swap(word_, other.word_);
    return *this;
  }
  ~OwnWord();

  std::atomic<std::uint64_t>& operator*() const noexcept { return *word_; }

 private:
  explicit OwnWord(std::atomic<std::uint64_t>* word) : word_(word) {}
  std::atomic<std::uint64_t>* word_;
};

}  // namespace pollux::vfio
