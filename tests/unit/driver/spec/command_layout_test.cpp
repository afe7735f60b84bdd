// Commands and completions. libnvme leaves the submission queue entry to the kernel, so its offsets stand here as NVMe
// base 2.0c, figures 88 to 93 give them.
#include <nvme/types.h>

#include "layout.hpp"
#include "pollux/driver/spec/command.hpp"
#include "pollux/driver/spec/completion.hpp"

namespace pollux::nvme::test {
namespace {

TEST_CASE("a Dataset Management range has every field where libnvme has it") {
  using Ours = DsmRange;
  using Theirs = ::nvme_dsm_range;
  constexpr FieldPair kRows[] = {
      POLLUX_FIELD(context_attributes, cattr),
      POLLUX_FIELD(blocks, nlb),
      POLLUX_SAME(slba),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("a submission queue entry is 64 bytes with every dword in its place") {
  struct Row {
    std::size_t offset, expected;
  };
  constexpr Row kRows[] = {
      {offsetof(Command, cdw0), 0},   {offsetof(Command, nsid), 4},   {offsetof(Command, cdw2), 8},
      {offsetof(Command, cdw3), 12},  {offsetof(Command, mptr), 16},  {offsetof(Command, prp1), 24},
      {offsetof(Command, prp2), 32},  {offsetof(Command, cdw10), 40}, {offsetof(Command, cdw11), 44},
      {offsetof(Command, cdw12), 48}, {offsetof(Command, cdw13), 52}, {offsetof(Command, cdw14), 56},
      {offsetof(Command, cdw15), 60},
  };
  for (const Row& row : kRows) CHECK(row.offset == row.expected);
  CHECK(sizeof(Command) == 64);
  CHECK(alignof(Command) == 64);
}

TEST_CASE("dword 0 of a command holds opcode, FUSE, PSDT and CID") {
  CHECK(cdw0::kOpcode.mask() == 0x0000'00ff);
  CHECK(cdw0::kFuse.mask() == 0x0000'0300);
  CHECK(cdw0::kPsdt.mask() == 0x0000'c000);
  CHECK(cdw0::kCid.mask() == 0xffff'0000);
}

TEST_CASE("a completion's last qword holds SQ head, SQ id, CID, phase and status") {
  CHECK(sizeof(Completion) == 16);
  CHECK(offsetof(Completion, dw0) == 0);
  CHECK(offsetof(Completion, dw1) == 4);
  CHECK(offsetof(Completion, tail) == 8);
  CHECK(cqe::kSqhd.mask() == 0x0000'0000'0000'ffff);
  CHECK(cqe::kSqid.mask() == 0x0000'0000'ffff'0000);
  CHECK(cqe::kCid.mask() == 0x0000'ffff'0000'0000);
  CHECK(cqe::kPhase.mask() == 0x0001'0000'0000'0000);
  CHECK(cqe::kStatus.mask() == 0xfffe'0000'0000'0000);
}

TEST_CASE("the bits of Read, Write and Write Zeroes are libnvme's, which counts from bit 16 of dword 12") {
  CHECK(rw::kFua.mask() == std::uint64_t{NVME_IO_FUA} << 16);
  CHECK(rw::kLr.mask() == std::uint64_t{NVME_IO_LR} << 16);
  CHECK(rw::kDeac.mask() == std::uint64_t{NVME_IO_DEAC} << 16);
  CHECK(rw::kPrinfo.mask() == std::uint64_t{NVME_IO_PRINFO_PRACT | NVME_IO_PRINFO_PRCHK_GUARD |
                                            NVME_IO_PRINFO_PRCHK_APP | NVME_IO_PRINFO_PRCHK_REF}
                                  << 16);
  CHECK(rw::kNlb.mask() == 0xffff);
}

TEST_CASE("the bits of Dataset Management and of the Number of Queues feature are libnvme's") {
  CHECK(dsm::kAd.mask() == NVME_DSMGMT_AD);
  CHECK(dsm::kNr.mask() == 0xff);
  CHECK(features::kNsqr.shift == NVME_FEAT_NRQS_NSQR_SHIFT);
  CHECK(features::kNsqr.of(~0ull) == NVME_FEAT_NRQS_NSQR_MASK);
  CHECK(features::kNcqr.shift == NVME_FEAT_NRQS_NCQR_SHIFT);
  CHECK(features::kNcqr.of(~0ull) == NVME_FEAT_NRQS_NCQR_MASK);
}

// NVMe base 2.0c: 5.4 to 5.7 (queues), 5.1 (Abort), 5.15 to 5.17 (features, logs, Identify).
TEST_CASE("the fields of the admin commands lie where the specification has them") {
  CHECK(create_queue::kQid.mask() == 0x0000'ffff);
  CHECK(create_queue::kQsize.mask() == 0xffff'0000);
  CHECK(create_queue::kPc.mask() == 0x0000'0001);
  CHECK(create_queue::kIen.mask() == 0x0000'0002);
  CHECK(create_queue::kIv.mask() == 0xffff'0000);
  CHECK(create_queue::kQprio.mask() == 0x0000'0006);
  CHECK(create_queue::kCqid.mask() == 0xffff'0000);
  CHECK(abort_command::kSqid.mask() == 0x0000'ffff);
  CHECK(abort_command::kCid.mask() == 0xffff'0000);
  CHECK(identify::kCns.mask() == 0x0000'00ff);
  CHECK(identify::kCntid.mask() == 0xffff'0000);
  CHECK(get_log::kLid.mask() == 0x0000'00ff);
  CHECK(get_log::kRae.mask() == 0x0000'8000);
  CHECK(get_log::kNumdl.mask() == 0xffff'0000);
  CHECK(get_log::kNumdu.mask() == 0x0000'ffff);
  CHECK(features::kFid.mask() == 0x0000'00ff);
  CHECK(features::kSel.mask() == 0x0000'0700);
  CHECK(features::kSv.mask() == 0x8000'0000);
  CHECK(abort_command::kNotAborted.mask() == 0x0000'0001);
  CHECK(format_command::kSes.mask() == 0x0000'0e00);
  CHECK(sanitize_command::kSanact.mask() == 0x0000'0007);
  CHECK(sanitize_command::kExitFailureMode == NVME_SANITIZE_SANACT_EXIT_FAILURE);
  CHECK(namespace_management::kSel.mask() == 0x0000'000f);
  CHECK(namespace_management::kDelete == NVME_NS_MGMT_SEL_DELETE);
  CHECK(namespace_management::kDetach == NVME_NS_ATTACH_SEL_CTRL_DEATTACH);
  CHECK(firmware_commit::kCa.mask() == 0x0000'0038);
  CHECK(firmware_commit::kActivateNow == NVME_FW_COMMIT_CA_REPLACE_AND_ACTIVATE_IMMEDIATE);
}

}  // namespace
}  // namespace pollux::nvme::test
