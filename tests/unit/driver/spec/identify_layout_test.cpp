// Identify data structures beside libnvme's.
#include <nvme/types.h>

#include "layout.hpp"
#include "pollux/driver/spec/identify.hpp"

namespace pollux::nvme::test {
namespace {

TEST_CASE("Identify Controller has every field where libnvme has it") {
  using Ours = IdentifyController;
  using Theirs = ::nvme_id_ctrl;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(vid),
      POLLUX_SAME(ssvid),
      POLLUX_SAME(sn),
      POLLUX_SAME(mn),
      POLLUX_SAME(fr),
      POLLUX_SAME(rab),
      POLLUX_SAME(ieee),
      POLLUX_SAME(cmic),
      POLLUX_SAME(mdts),
      POLLUX_SAME(cntlid),
      POLLUX_SAME(ver),
      POLLUX_SAME(rtd3r),
      POLLUX_SAME(rtd3e),
      POLLUX_SAME(oaes),
      POLLUX_SAME(ctratt),
      POLLUX_SAME(rrls),
      POLLUX_FIELD(reserved102, rsvd102),
      POLLUX_SAME(cntrltype),
      POLLUX_SAME(fguid),
      POLLUX_FIELD(crdt[0], crdt1),
      POLLUX_FIELD(crdt[1], crdt2),
      POLLUX_FIELD(crdt[2], crdt3),
      POLLUX_FIELD(reserved134, rsvd134),
      POLLUX_SAME(nvmsr),
      POLLUX_SAME(vwci),
      POLLUX_SAME(mec),
      POLLUX_SAME(oacs),
      POLLUX_SAME(acl),
      POLLUX_SAME(aerl),
      POLLUX_SAME(frmw),
      POLLUX_SAME(lpa),
      POLLUX_SAME(elpe),
      POLLUX_SAME(npss),
      POLLUX_SAME(avscc),
      POLLUX_SAME(apsta),
      POLLUX_SAME(wctemp),
      POLLUX_SAME(cctemp),
      POLLUX_SAME(mtfa),
      POLLUX_SAME(hmpre),
      POLLUX_SAME(hmmin),
      POLLUX_SAME(tnvmcap),
      POLLUX_SAME(unvmcap),
      POLLUX_SAME(rpmbs),
      POLLUX_SAME(edstt),
      POLLUX_SAME(dsto),
      POLLUX_SAME(fwug),
      POLLUX_SAME(kas),
      POLLUX_SAME(hctma),
      POLLUX_SAME(mntmt),
      POLLUX_SAME(mxtmt),
      POLLUX_SAME(sanicap),
      POLLUX_SAME(hmminds),
      POLLUX_SAME(hmmaxd),
      POLLUX_SAME(nsetidmax),
      POLLUX_SAME(endgidmax),
      POLLUX_SAME(anatt),
      POLLUX_SAME(anacap),
      POLLUX_SAME(anagrpmax),
      POLLUX_SAME(nanagrpid),
      POLLUX_SAME(pels),
      POLLUX_SAME(domainid),
      POLLUX_FIELD(reserved358, rsvd358),
      POLLUX_SAME(megcap),
      POLLUX_FIELD(reserved384, rsvd384),
      POLLUX_SAME(sqes),
      POLLUX_SAME(cqes),
      POLLUX_SAME(maxcmd),
      POLLUX_SAME(nn),
      POLLUX_SAME(oncs),
      POLLUX_SAME(fuses),
      POLLUX_SAME(fna),
      POLLUX_SAME(vwc),
      POLLUX_SAME(awun),
      POLLUX_SAME(awupf),
      POLLUX_SAME(icsvscc),
      POLLUX_SAME(nwpc),
      POLLUX_SAME(acwu),
      POLLUX_SAME(ocfs),
      POLLUX_SAME(sgls),
      POLLUX_SAME(mnan),
      POLLUX_SAME(maxdna),
      POLLUX_SAME(maxcna),
      POLLUX_FIELD(reserved564, rsvd564),
      POLLUX_SAME(subnqn),
      POLLUX_FIELD(reserved1024, rsvd1024),
      POLLUX_SAME(ioccsz),
      POLLUX_SAME(iorcsz),
      POLLUX_SAME(icdoff),
      POLLUX_SAME(fcatt),
      POLLUX_SAME(msdbd),
      POLLUX_SAME(ofcs),
      POLLUX_SAME(dctype),
      POLLUX_FIELD(reserved1807, rsvd1807),
      POLLUX_SAME(psd),
      POLLUX_SAME(vs),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("Identify Controller of the NVM command set has every field where libnvme has it") {
  using Ours = IdentifyControllerNvm;
  using Theirs = ::nvme_id_ctrl_nvm;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(vsl),
      POLLUX_SAME(wzsl),
      POLLUX_SAME(wusl),
      POLLUX_SAME(dmrl),
      POLLUX_SAME(dmrsl),
      POLLUX_SAME(dmsl),
      POLLUX_FIELD(reserved16, rsvd16),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("Power State Descriptor has every field where libnvme has it") {
  using Ours = PowerState;
  using Theirs = ::nvme_id_psd;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(mp),
      POLLUX_FIELD(reserved2, rsvd2),
      POLLUX_SAME(flags),
      POLLUX_SAME(enlat),
      POLLUX_SAME(exlat),
      POLLUX_SAME(rrt),
      POLLUX_SAME(rrl),
      POLLUX_SAME(rwt),
      POLLUX_SAME(rwl),
      POLLUX_SAME(idlp),
      POLLUX_SAME(ips),
      POLLUX_FIELD(reserved19, rsvd19),
      POLLUX_SAME(actp),
      POLLUX_SAME(apws),
      POLLUX_FIELD(reserved23, rsvd23),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("Identify Namespace has every field where libnvme has it") {
  // libnvme keeps LBSTM of the NVM command set's own structure (CNS 05h) here too; NVM command set 1.0c, figure 97 has
  // vendor specific bytes.
  using Ours = IdentifyNamespace;
  using Theirs = ::nvme_id_ns;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(nsze),
      POLLUX_SAME(ncap),
      POLLUX_SAME(nuse),
      POLLUX_SAME(nsfeat),
      POLLUX_SAME(nlbaf),
      POLLUX_SAME(flbas),
      POLLUX_SAME(mc),
      POLLUX_SAME(dpc),
      POLLUX_SAME(dps),
      POLLUX_SAME(nmic),
      POLLUX_SAME(rescap),
      POLLUX_SAME(fpi),
      POLLUX_SAME(dlfeat),
      POLLUX_SAME(nawun),
      POLLUX_SAME(nawupf),
      POLLUX_SAME(nacwu),
      POLLUX_SAME(nabsn),
      POLLUX_SAME(nabo),
      POLLUX_SAME(nabspf),
      POLLUX_SAME(noiob),
      POLLUX_SAME(nvmcap),
      POLLUX_SAME(npwg),
      POLLUX_SAME(npwa),
      POLLUX_SAME(npdg),
      POLLUX_SAME(npda),
      POLLUX_SAME(nows),
      POLLUX_SAME(mssrl),
      POLLUX_SAME(mcl),
      POLLUX_SAME(msrc),
      POLLUX_FIELD(reserved81, rsvd81),
      POLLUX_SAME(nulbaf),
      POLLUX_FIELD(reserved83, rsvd83),
      POLLUX_SAME(anagrpid),
      POLLUX_FIELD(reserved96, rsvd96),
      POLLUX_SAME(nsattr),
      POLLUX_SAME(nvmsetid),
      POLLUX_SAME(endgid),
      POLLUX_SAME(nguid),
      POLLUX_SAME(eui64),
      POLLUX_SAME(lbaf),
      {"lbstm", offsetof(Ours, vs), sizeof(::nvme_id_ns::lbstm), offsetof(Theirs, lbstm), sizeof(::nvme_id_ns::lbstm)},
      {"vs", offsetof(Ours, vs) + sizeof(::nvme_id_ns::lbstm), sizeof(Ours::vs) - sizeof(::nvme_id_ns::lbstm),
       offsetof(Theirs, vs), sizeof(Theirs::vs)},
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("LBA Format has every field where libnvme has it") {
  using Ours = LbaFormat;
  using Theirs = ::nvme_lbaf;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(ms),
      POLLUX_FIELD(lbads, ds),
      POLLUX_SAME(rp),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("a Namespace Identification Descriptor has every field where libnvme has it, and its value right behind") {
  using Ours = NsDescriptor;
  using Theirs = ::nvme_ns_id_desc;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(nidt),
      POLLUX_SAME(nidl),
      POLLUX_FIELD(reserved2, rsvd),
  };
  check_layout(kRows, sizeof(Ours), offsetof(Theirs, nid));
}

TEST_CASE("Primary Controller Capabilities has every field where libnvme has it") {
  using Ours = PrimaryControllerCapabilities;
  using Theirs = ::nvme_primary_ctrl_cap;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(cntlid),
      POLLUX_SAME(portid),
      POLLUX_SAME(crt),
      POLLUX_FIELD(reserved5, rsvd5),
      POLLUX_SAME(vqfrt),
      POLLUX_SAME(vqrfa),
      POLLUX_SAME(vqrfap),
      POLLUX_SAME(vqprt),
      POLLUX_SAME(vqfrsm),
      POLLUX_SAME(vqgran),
      POLLUX_FIELD(reserved48, rsvd48),
      POLLUX_SAME(vifrt),
      POLLUX_SAME(virfa),
      POLLUX_SAME(virfap),
      POLLUX_SAME(viprt),
      POLLUX_SAME(vifrsm),
      POLLUX_SAME(vigran),
      POLLUX_FIELD(reserved80, rsvd80),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("a Secondary Controller Entry has every field where libnvme has it") {
  using Ours = SecondaryControllerEntry;
  using Theirs = ::nvme_secondary_ctrl;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(scid), POLLUX_SAME(pcid), POLLUX_SAME(scs), POLLUX_FIELD(reserved5, rsvd5),
      POLLUX_SAME(vfn),  POLLUX_SAME(nvq),  POLLUX_SAME(nvi), POLLUX_FIELD(reserved14, rsvd14),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

TEST_CASE("the Secondary Controller List has every field where libnvme has it") {
  using Ours = SecondaryControllerList;
  using Theirs = ::nvme_secondary_ctrl_list;
  constexpr FieldPair kRows[] = {
      POLLUX_SAME(num),
      POLLUX_FIELD(reserved1, rsvd),
      POLLUX_FIELD(entries, sc_entry),
  };
  check_layout(kRows, sizeof(Ours), sizeof(Theirs));
}

}  // namespace
}  // namespace pollux::nvme::test
