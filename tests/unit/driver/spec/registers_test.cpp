// Registers and their fields beside libnvme's.
#include <nvme/types.h>

#include <catch2/catch.hpp>

#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme::test {
namespace {

TEST_CASE("every register lies where libnvme has it") {
  CHECK(reg::kCap == NVME_REG_CAP);
  CHECK(reg::kVs == NVME_REG_VS);
  CHECK(reg::kIntms == NVME_REG_INTMS);
  CHECK(reg::kIntmc == NVME_REG_INTMC);
  CHECK(reg::kCc == NVME_REG_CC);
  CHECK(reg::kCsts == NVME_REG_CSTS);
  CHECK(reg::kNssr == NVME_REG_NSSR);
  CHECK(reg::kAqa == NVME_REG_AQA);
  CHECK(reg::kAsq == NVME_REG_ASQ);
  CHECK(reg::kAcq == NVME_REG_ACQ);
  CHECK(reg::kCmbloc == NVME_REG_CMBLOC);
  CHECK(reg::kCmbsz == NVME_REG_CMBSZ);
  CHECK(reg::kCrto == NVME_REG_CRTO);
}

// libnvme's masks are applied after the shift.
#define POLLUX_CHECK_FIELD(ours, theirs) \
  CHECK((ours).shift == theirs##_SHIFT); \
  CHECK((ours).of(~0ull) == theirs##_MASK)

TEST_CASE("the fields of CAP are libnvme's") {
  POLLUX_CHECK_FIELD(cap::kMqes, NVME_CAP_MQES);
  POLLUX_CHECK_FIELD(cap::kCqr, NVME_CAP_CQR);
  POLLUX_CHECK_FIELD(cap::kAms, NVME_CAP_AMS);
  POLLUX_CHECK_FIELD(cap::kTo, NVME_CAP_TO);
  POLLUX_CHECK_FIELD(cap::kDstrd, NVME_CAP_DSTRD);
  POLLUX_CHECK_FIELD(cap::kNssrs, NVME_CAP_NSSRC);
  POLLUX_CHECK_FIELD(cap::kCss, NVME_CAP_CSS);
  POLLUX_CHECK_FIELD(cap::kBps, NVME_CAP_BPS);
  POLLUX_CHECK_FIELD(cap::kMpsmin, NVME_CAP_MPSMIN);
  POLLUX_CHECK_FIELD(cap::kMpsmax, NVME_CAP_MPSMAX);
  POLLUX_CHECK_FIELD(cap::kPmrs, NVME_CAP_PMRS);
  POLLUX_CHECK_FIELD(cap::kCmbs, NVME_CAP_CMBS);
  POLLUX_CHECK_FIELD(cap::kCrms, NVME_CAP_CRMS);
}

TEST_CASE("the fields of VS are libnvme's") {
  POLLUX_CHECK_FIELD(vs::kTertiary, NVME_VS_TER);
  POLLUX_CHECK_FIELD(vs::kMinor, NVME_VS_MNR);
  POLLUX_CHECK_FIELD(vs::kMajor, NVME_VS_MJR);
}

TEST_CASE("the fields of CC are libnvme's") {
  POLLUX_CHECK_FIELD(cc::kEn, NVME_CC_EN);
  POLLUX_CHECK_FIELD(cc::kCss, NVME_CC_CSS);
  POLLUX_CHECK_FIELD(cc::kMps, NVME_CC_MPS);
  POLLUX_CHECK_FIELD(cc::kAms, NVME_CC_AMS);
  POLLUX_CHECK_FIELD(cc::kShn, NVME_CC_SHN);
  POLLUX_CHECK_FIELD(cc::kIosqes, NVME_CC_IOSQES);
  POLLUX_CHECK_FIELD(cc::kIocqes, NVME_CC_IOCQES);
  POLLUX_CHECK_FIELD(cc::kCrime, NVME_CC_CRIME);
}

TEST_CASE("the fields of CSTS are libnvme's") {
  POLLUX_CHECK_FIELD(csts::kRdy, NVME_CSTS_RDY);
  POLLUX_CHECK_FIELD(csts::kCfs, NVME_CSTS_CFS);
  POLLUX_CHECK_FIELD(csts::kShst, NVME_CSTS_SHST);
  POLLUX_CHECK_FIELD(csts::kNssro, NVME_CSTS_NSSRO);
  POLLUX_CHECK_FIELD(csts::kPp, NVME_CSTS_PP);
}

TEST_CASE("the fields of AQA are libnvme's") {
  POLLUX_CHECK_FIELD(aqa::kAsqs, NVME_AQA_ASQS);
  POLLUX_CHECK_FIELD(aqa::kAcqs, NVME_AQA_ACQS);
}

TEST_CASE("the fields of CRTO are libnvme's, whose masks are in place here") {
  CHECK(crto::kCrwmt.mask() == NVME_CRTO_CRWMT_MASK);
  CHECK(crto::kCrimt.mask() == NVME_CRTO_CRIMT_MASK);
}

TEST_CASE("the values of register fields are libnvme's") {
  CHECK(cap::kCssNvm == NVME_CAP_CSS_NVM);
  CHECK(cap::kCssIoSets == NVME_CAP_CSS_CSI);
  CHECK(cap::kCssAdminOnly == NVME_CAP_CSS_ADMIN);
  CHECK(cc::kCssNvm == NVME_CC_CSS_NVM);
  CHECK(cc::kCssAll == NVME_CC_CSS_CSI);
  CHECK(cc::kShnNone == NVME_CC_SHN_NONE);
  CHECK(cc::kShnNormal == NVME_CC_SHN_NORMAL);
  CHECK(cc::kShnAbrupt == NVME_CC_SHN_ABRUPT);
  CHECK(csts::kShstNormal == NVME_CSTS_SHST_NORMAL);
  CHECK(csts::kShstOccurring == NVME_CSTS_SHST_OCCUR);
  CHECK(csts::kShstComplete == NVME_CSTS_SHST_CMPLT);
}

// NVMe over PCIe transport 1.0c, 3.1.2: 1000h + (2y) * (4 << DSTRD), and one stride further.
TEST_CASE("doorbells alternate by queue, a stride apart") {
  CHECK(submission_doorbell_offset(0, 0) == 0x1000);
  CHECK(completion_doorbell_offset(0, 0) == 0x1004);
  CHECK(submission_doorbell_offset(3, 0) == 0x1018);
  CHECK(completion_doorbell_offset(3, 0) == 0x101c);
  CHECK(submission_doorbell_offset(1, 4) == 0x1080);
  CHECK(completion_doorbell_offset(1, 4) == 0x10c0);
  CHECK(completion_doorbell_offset(0xffff, 15) == 0x1000 + 0x1'ffffull * 0x2'0000);
}

}  // namespace
}  // namespace pollux::nvme::test
