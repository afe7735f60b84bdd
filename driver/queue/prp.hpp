// Physical Region Pages: how a command names its data, page by page. NVMe base 2.0c, 4.1.1.
//
// PRP1 may begin anywhere in its page (at a dword); every later entry is a whole page. Two pages fit into the command;
// more go into a list that PRP2 points to. The last slot of a list's page points to the next page of the list, but only
// if entries remain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::nvme {

inline constexpr std::uint32_t kPageShift = 12;  // CC.MPS = 0: the host drives every controller with 4 KiB pages
inline constexpr std::uint64_t kPageBytes = 1ull << kPageShift;
inline constexpr std::uint32_t kPrpsAPage = kPageBytes / sizeof(std::uint64_t);

// Memory for one command's PRP list: whole pages, adjacent both for us and for the device.
struct PrpList {
  std::uint64_t* entries;
  std::uint64_t iova;
};

struct Prps {
  std::uint64_t prp1;
  std::uint64_t prp2;
};

// Pages of list memory that a transfer of `bytes` may need, whatever its offset in the first page. 0: PRP1 and PRP2
// suffice.
constexpr std::uint32_t prp_list_pages(std::uint64_t bytes) {
  const std::uint64_t entries = (bytes + kPageBytes - 1) / kPageBytes;  // after PRP1, which may cover a dword only
  if (entries <= 1) return 0;
  // Each page but the last gives one slot to the chain.
  return entries <= kPrpsAPage ? 1 : static_cast<std::uint32_t>((entries - 2) / (kPrpsAPage - 1) + 1);
}

// Describes [iova, iova + bytes), which is contiguous for the device. `iova` is a multiple of 4, `bytes` is not 0, and
// `list` has prp_list_pages(bytes) pages.
inline Prps build_prps(std::uint64_t iova, std::uint64_t bytes, const PrpList& list) noexcept {
  const std::uint64_t last_page = (iova + bytes - 1) & ~(kPageBytes - 1);
  std::uint64_t page = (iova & ~(kPageBytes - 1)) + kPageBytes;
  if (page > last_page) return {iova, 0};
  if (page == last_page) return {iova, page};

  std::uint64_t* entry = list.entries;
  for (std::uint32_t slot = 0; page <= last_page; ++slot) {
    if ((slot & (kPrpsAPage - 1)) == kPrpsAPage - 1 && page != last_page) {
      *entry++ = list.iova + (slot + 1) * sizeof(std::uint64_t);
      continue;
    }
    *entry++ = page;
    page += kPageBytes;
  }
  return {iova, list.iova};
}

// Describes several pieces, one after the other, as one transfer. `list` has prp_list_pages(bytes of all) pages; a
// piece has `iova` and `size_bytes`. False, with nothing described: PRPs cannot say it. Each piece but the first has to
// begin at a page, each but the last to end at one; the first begins at a dword and is not empty.
template <typename Piece>
[[nodiscard]] inline bool build_prps(std::span<const Piece> pieces, const PrpList& list, Prps& prps) noexcept {
  const std::uint64_t begin = pieces.front().iova;
  std::uint64_t end = begin + pieces.front().size_bytes;
  if ((begin & 3) != 0 || begin == end) return false;
  std::uint64_t page = (begin & ~(kPageBytes - 1)) + kPageBytes;  // PRP1 covers the one before
  std::uint64_t* entry = list.entries;
  std::uint64_t* chain = entry + kPrpsAPage;  // where this page of the list ends
  const Piece* const last = &pieces.back();
  for (const Piece* piece = &pieces.front();;) {
    for (; page < end; page += kPageBytes) {
      if (entry == chain) [[unlikely]] {
        // Entries remain: the last one moves to the next page of the list, and makes room for the chain.
        *entry = entry[-1];
        entry[-1] = list.iova + static_cast<std::uint64_t>(entry - list.entries) * sizeof *entry;
        ++entry;
        chain += kPrpsAPage;
      }
      *entry++ = page;
    }
    if (piece == last) break;
    ++piece;
    page = piece->iova;
    if (((end | page) & (kPageBytes - 1)) != 0) [[unlikely]]
      return false;
    end = page + piece->size_bytes;
  }
  prps.prp1 = begin;
  prps.prp2 = list.iova;
  if (entry <= list.entries + 1) [[unlikely]]
    prps.prp2 = entry == list.entries ? 0 : list.entries[0];
  return true;
}

}  // namespace pollux::nvme
