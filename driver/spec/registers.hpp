// Controller properties (registers) of the memory-based transport, at the start of BAR0.
// NVMe base 2.0c, 3.1.3; doorbells: NVMe over PCIe transport 1.0c, 3.1.2.
#pragma once

#include <cstdint>

#include "pollux/driver/spec/field.hpp"

namespace pollux::nvme {

// Offsets in BAR0, figure 35.
namespace reg {
inline constexpr std::uint32_t kCap = 0x00;  // 64 bits
inline constexpr std::uint32_t kVs = 0x08;
inline constexpr std::uint32_t kIntms = 0x0c;
inline constexpr std::uint32_t kIntmc = 0x10;
inline constexpr std::uint32_t kCc = 0x14;
inline constexpr std::uint32_t kCsts = 0x1c;
inline constexpr std::uint32_t kNssr = 0x20;
inline constexpr std::uint32_t kAqa = 0x24;
inline constexpr std::uint32_t kAsq = 0x28;  // 64 bits
inline constexpr std::uint32_t kAcq = 0x30;  // 64 bits
inline constexpr std::uint32_t kCmbloc = 0x38;
inline constexpr std::uint32_t kCmbsz = 0x3c;
inline constexpr std::uint32_t kCrto = 0x68;
inline constexpr std::uint32_t kDoorbells = 0x1000;
}  // namespace reg

// CAP, 3.1.3.1.
namespace cap {
inline constexpr Field kMqes{0, 16};  // 0's based
inline constexpr Field kCqr{16, 1};
inline constexpr Field kAms{17, 2};
inline constexpr Field kTo{24, 8};     // in kTimeoutUnitMs
inline constexpr Field kDstrd{32, 4};  // stride is 4 << DSTRD bytes
inline constexpr Field kNssrs{36, 1};
inline constexpr Field kCss{37, 8};
inline constexpr Field kBps{45, 1};
inline constexpr Field kMpsmin{48, 4};  // 4 KiB << MPSMIN
inline constexpr Field kMpsmax{52, 4};
inline constexpr Field kPmrs{56, 1};
inline constexpr Field kCmbs{57, 1};
inline constexpr Field kCrms{59, 2};  // bit 0: with media (CRWMS), bit 1: independent of media (CRIMS)

inline constexpr std::uint64_t kCssNvm = 1u << 0;     // the NVM command set, as bits of kCss
inline constexpr std::uint64_t kCssIoSets = 1u << 6;  // one or more I/O command sets
inline constexpr std::uint64_t kCssAdminOnly = 1u << 7;
inline constexpr std::uint32_t kTimeoutUnitMs = 500;
}  // namespace cap

// VS, 3.1.3.2.
namespace vs {
inline constexpr Field kTertiary{0, 8};
inline constexpr Field kMinor{8, 8};
inline constexpr Field kMajor{16, 16};
}  // namespace vs

// CC, 3.1.3.5.
namespace cc {
inline constexpr Field kEn{0, 1};
inline constexpr Field kCss{4, 3};  // 000b: the NVM command set; 110b: all supported I/O command sets; 111b: none
inline constexpr Field kMps{7, 4};  // 4 KiB << MPS
inline constexpr Field kAms{11, 3};
inline constexpr Field kShn{14, 2};
inline constexpr Field kIosqes{16, 4};  // 2^n bytes
inline constexpr Field kIocqes{20, 4};
inline constexpr Field kCrime{24, 1};

inline constexpr std::uint32_t kShnNone = 0;
inline constexpr std::uint32_t kShnNormal = 1;
inline constexpr std::uint32_t kShnAbrupt = 2;
inline constexpr std::uint32_t kCssNvm = 0;
inline constexpr std::uint32_t kCssAll = 6;
inline constexpr std::uint32_t kCssAdminOnly = 7;
}  // namespace cc

// CSTS, 3.1.3.6.
namespace csts {
inline constexpr Field kRdy{0, 1};
inline constexpr Field kCfs{1, 1};
inline constexpr Field kShst{2, 2};
inline constexpr Field kNssro{4, 1};  // write 1 to clear
inline constexpr Field kPp{5, 1};

inline constexpr std::uint32_t kShstNormal = 0;
inline constexpr std::uint32_t kShstOccurring = 1;
inline constexpr std::uint32_t kShstComplete = 2;
}  // namespace csts

// AQA, 3.1.3.8. Both sizes are 0's based.
namespace aqa {
inline constexpr Field kAsqs{0, 12};
inline constexpr Field kAcqs{16, 12};
}  // namespace aqa

// CRTO, 3.1.3.20. In cap::kTimeoutUnitMs.
namespace crto {
inline constexpr Field kCrwmt{0, 16};
inline constexpr Field kCrimt{16, 16};
}  // namespace crto

// What a register of a device that is gone reads as.
inline constexpr std::uint32_t kAllOnes = 0xffff'ffff;

// Byte offset in BAR0 of the tail doorbell of submission queue `qid`; PCIe transport 1.0c, 3.1.2.1.
constexpr std::uint64_t submission_doorbell_offset(std::uint16_t qid, unsigned dstrd) {
  return reg::kDoorbells + (2ull * qid) * (4ull << dstrd);
}

// Byte offset in BAR0 of the head doorbell of completion queue `qid`; PCIe transport 1.0c, 3.1.2.2.
constexpr std::uint64_t completion_doorbell_offset(std::uint16_t qid, unsigned dstrd) {
  return reg::kDoorbells + (2ull * qid + 1) * (4ull << dstrd);
}

}  // namespace pollux::nvme
