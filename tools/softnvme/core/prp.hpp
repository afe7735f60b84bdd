// A walk over the data of one command, as PRP1 and PRP2 describe it: piece after piece, each contiguous in memory.
// Checks the offset rules as it goes. Lists may be chained and may begin mid-page. NVMe base 2.0c, 4.1.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pollux/driver/spec/status.hpp"
#include "pollux/tools/softnvme/core/dma.hpp"

namespace pollux::softnvme {

class PrpWalk {
 public:
  // `access` is what the controller does to the host's memory: read it for a Write command, write it for a Read.
  PrpWalk(Dma& dma, ViolationLog& violations, unsigned page_shift, std::uint64_t prp1, std::uint64_t prp2,
          std::uint64_t length, Access access)
      : dma_(dma),
        violations_(violations),
        page_bytes_(1ull << page_shift),
        prp1_(prp1),
        prp2_(prp2),
        left_(length),
        access_(access) {}

  bool done() const { return left_ == 0; }

  // The next piece. Call only while !done(). Empty: status() says why.
  std::span<std::byte> next() {
    if (page_left_ == 0 && !enter_page()) [[unlikely]]
      return {};
    const std::span<std::byte> piece = dma_.run(page_, page_left_, access_);
    if (piece.empty()) [[unlikely]] {
      status_ = nvme::StatusCode::data_transfer_error;
      return {};
    }
    page_ += piece.size();
    page_left_ -= piece.size();
    left_ -= piece.size();
    return piece;
  }

  nvme::StatusCode status() const { return status_; }

  // Walks to the end and moves nothing. False: status() says why.
  bool walk() {
    while (!done()) {
      if (next().empty()) return false;
    }
    return true;
  }

 private:
  enum class At : std::uint8_t { prp1, prp2, list };

  // Makes page_ and page_left_ those of the next page of data.
  bool enter_page() {
    if (at_ != At::prp1) return enter_later_page();
    if ((prp1_ & 3) != 0) [[unlikely]]
      return bad_offset("PRP1", prp1_);
    const std::uint64_t room = page_bytes_ - (prp1_ & (page_bytes_ - 1));
    page_ = prp1_;
    page_left_ = left_ < room ? left_ : room;
    at_ = At::prp2;
    if (page_left_ == left_ && prp2_ != 0) [[unlikely]]
      prp2_not_zero();
    return true;
  }
  bool enter_later_page();
  bool next_list_entry(std::uint64_t& entry);
  bool bad_offset(const char* what, std::uint64_t value);
  void prp2_not_zero();

  Dma& dma_;
  ViolationLog& violations_;
  std::uint64_t page_bytes_;
  std::uint64_t prp1_;
  std::uint64_t prp2_;
  std::uint64_t left_;      // bytes of data not yet handed out
  std::uint64_t page_ = 0;  // where the current page of data goes on
  std::uint64_t page_left_ = 0;
  std::uint64_t list_ = 0;  // the next entry of the list
  Access access_;
  At at_ = At::prp1;
  nvme::StatusCode status_ = nvme::StatusCode::success;
};

}  // namespace pollux::softnvme
