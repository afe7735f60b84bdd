#include "pollux/tools/softnvme/core/prp.hpp"

#include <fmt/format.h>

#include <cstring>

namespace pollux::softnvme {
namespace {
constexpr std::uint64_t kEntryBytes = 8;
}

bool PrpWalk::enter_later_page() {
  const std::uint64_t offset_mask = page_bytes_ - 1;
  std::uint64_t entry = prp2_;
  if (at_ == At::prp2 && left_ > page_bytes_) {
    if ((prp2_ & (kEntryBytes - 1)) != 0) return bad_offset("the PRP list's address", prp2_);
    list_ = prp2_;
    at_ = At::list;
  }
  if (at_ == At::list && !next_list_entry(entry)) return false;
  if ((entry & offset_mask) != 0) return bad_offset(at_ == At::list ? "a PRP list entry" : "PRP2", entry);
  page_ = entry;
  page_left_ = left_ < page_bytes_ ? left_ : page_bytes_;
  return true;
}

bool PrpWalk::next_list_entry(std::uint64_t& entry) {
  // Bounded: each data page takes one entry, and a page of a list holds at least one entry besides the pointer that
  // chains it, or is that pointer alone when the list begins at the page's last slot, which only its first page can.
  for (;;) {
    const std::span<std::byte> slot = dma_.run(list_, kEntryBytes, Access::read);
    if (slot.size() != kEntryBytes) {
      status_ = nvme::StatusCode::data_transfer_error;
      return false;
    }
    std::memcpy(&entry, slot.data(), kEntryBytes);
    const bool last_slot = (list_ & (page_bytes_ - 1)) == page_bytes_ - kEntryBytes;
    list_ += kEntryBytes;
    if (!last_slot || left_ <= page_bytes_) return true;
    if ((entry & (page_bytes_ - 1)) != 0) return bad_offset("the pointer to the next page of a PRP list", entry);
    list_ = entry;
  }
}

bool PrpWalk::bad_offset(const char* what, std::uint64_t value) {
  violations_.add(Rule::prp_offset, fmt::format("{} is {:#x}, with pages of {} bytes", what, value, page_bytes_));
  status_ = nvme::StatusCode::prp_offset_invalid;
  return false;
}

void PrpWalk::prp2_not_zero() {
  violations_.add(Rule::reserved_field, fmt::format("PRP2 is {:#x} and the data ends in PRP1's page", prp2_));
}

}  // namespace pollux::softnvme
