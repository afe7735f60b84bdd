// Compares a wire structure of ours with libnvme's, field by field. A table names every field of theirs in order; the
// check fails where a field of either lies elsewhere or has another size, and where the table leaves a byte of the
// structure out.
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <span>

namespace pollux::nvme::test {

struct FieldPair {
  const char* name;
  std::size_t our_offset, our_size_bytes;
  std::size_t their_offset, their_size_bytes;
};

// A row: the field `ours` of the structure Ours beside the field `theirs` of Theirs, both types named at the table.
#define POLLUX_FIELD(ours, theirs)                                                                      \
  ::pollux::nvme::test::FieldPair {                                                                     \
    #theirs, offsetof(Ours, ours), sizeof(static_cast<Ours*>(nullptr)->ours), offsetof(Theirs, theirs), \
        sizeof(static_cast<Theirs*>(nullptr)->theirs)                                                   \
  }

// A row of a field that both call the same.
#define POLLUX_SAME(name) POLLUX_FIELD(name, name)

inline void check_layout(std::span<const FieldPair> rows, std::size_t our_size_bytes, std::size_t their_size_bytes) {
  std::size_t end = 0;
  for (const FieldPair& row : rows) {
    INFO("field " << row.name);
    CHECK(row.our_offset == row.their_offset);
    CHECK(row.our_size_bytes == row.their_size_bytes);
    CHECK(row.our_offset == end);
    end = row.our_offset + row.our_size_bytes;
  }
  CHECK(end == our_size_bytes);
  CHECK(our_size_bytes == their_size_bytes);
}

}  // namespace pollux::nvme::test
