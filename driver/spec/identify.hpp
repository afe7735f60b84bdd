// Identify data structures, 4096 bytes each. NVMe base 2.0c, 5.17.2; NVM command set 1.0c, 4.1.5. Written by the
// controller: nothing in them may be used as an index or a size before it was checked. Multi-byte fields of the wire
// are little-endian, and so is every host we build for.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "pollux/driver/spec/field.hpp"

namespace pollux::nvme {

static_assert(std::endian::native == std::endian::little, "wire structures are read in place");

inline constexpr std::size_t kIdentifyBytes = 4096;

// A 128-bit little-endian counter.
struct Uint128 {
  std::uint64_t low;
  std::uint64_t high;
};

// Power State Descriptor, figure 276.
struct PowerState {
  std::uint16_t mp;
  std::uint8_t reserved2;
  std::uint8_t flags;
  std::uint32_t enlat;
  std::uint32_t exlat;
  std::uint8_t rrt, rrl, rwt, rwl;
  std::uint16_t idlp;
  std::uint8_t ips;
  std::uint8_t reserved19;
  std::uint16_t actp;
  std::uint8_t apws;
  std::uint8_t reserved23[9];
};
static_assert(sizeof(PowerState) == 32);

// Identify Controller, CNS 01h, figure 275.
struct IdentifyController {
  std::uint16_t vid;
  std::uint16_t ssvid;
  char sn[20];  // ASCII, padded with spaces
  char mn[40];
  char fr[8];
  std::uint8_t rab;
  std::uint8_t ieee[3];
  std::uint8_t cmic;
  std::uint8_t mdts;  // 2^n units of CAP.MPSMIN; 0: no limit
  std::uint16_t cntlid;
  std::uint32_t ver;
  std::uint32_t rtd3r;  // microseconds
  std::uint32_t rtd3e;  // microseconds; bounds a normal shutdown
  std::uint32_t oaes;
  std::uint32_t ctratt;
  std::uint16_t rrls;
  std::uint8_t reserved102[9];
  std::uint8_t cntrltype;
  std::uint8_t fguid[16];
  std::uint16_t crdt[3];  // 100 ms units
  std::uint8_t reserved134[119];
  std::uint8_t nvmsr;
  std::uint8_t vwci;
  std::uint8_t mec;
  std::uint16_t oacs;
  std::uint8_t acl;   // 0's based
  std::uint8_t aerl;  // 0's based
  std::uint8_t frmw;
  std::uint8_t lpa;
  std::uint8_t elpe;  // 0's based
  std::uint8_t npss;  // 0's based
  std::uint8_t avscc;
  std::uint8_t apsta;
  std::uint16_t wctemp;  // kelvin
  std::uint16_t cctemp;
  std::uint16_t mtfa;
  std::uint32_t hmpre;  // 4 KiB units; not 0: wants a host memory buffer
  std::uint32_t hmmin;  // 4 KiB units
  Uint128 tnvmcap;      // bytes
  Uint128 unvmcap;
  std::uint32_t rpmbs;
  std::uint16_t edstt;
  std::uint8_t dsto;
  std::uint8_t fwug;
  std::uint16_t kas;
  std::uint16_t hctma;
  std::uint16_t mntmt;
  std::uint16_t mxtmt;
  std::uint32_t sanicap;
  std::uint32_t hmminds;  // 4 KiB units
  std::uint16_t hmmaxd;
  std::uint16_t nsetidmax;
  std::uint16_t endgidmax;
  std::uint8_t anatt;
  std::uint8_t anacap;
  std::uint32_t anagrpmax;
  std::uint32_t nanagrpid;
  std::uint32_t pels;
  std::uint16_t domainid;
  std::uint8_t reserved358[10];
  Uint128 megcap;
  std::uint8_t reserved384[128];
  std::uint8_t sqes;  // bits 3:0 required, 7:4 maximum; 2^n bytes
  std::uint8_t cqes;
  std::uint16_t maxcmd;
  std::uint32_t nn;
  std::uint16_t oncs;
  std::uint16_t fuses;
  std::uint8_t fna;
  std::uint8_t vwc;    // bit 0: a volatile write cache is present
  std::uint16_t awun;  // 0's based
  std::uint16_t awupf;
  std::uint8_t icsvscc;
  std::uint8_t nwpc;
  std::uint16_t acwu;
  std::uint16_t ocfs;
  std::uint32_t sgls;
  std::uint32_t mnan;
  Uint128 maxdna;
  std::uint32_t maxcna;
  std::uint8_t reserved564[204];
  char subnqn[256];
  std::uint8_t reserved1024[768];
  std::uint32_t ioccsz;  // this and what follows up to psd: NVMe over Fabrics only
  std::uint32_t iorcsz;
  std::uint16_t icdoff;
  std::uint8_t fcatt;
  std::uint8_t msdbd;
  std::uint16_t ofcs;
  std::uint8_t dctype;
  std::uint8_t reserved1807[241];
  PowerState psd[32];
  std::uint8_t vs[1024];
};
static_assert(sizeof(IdentifyController) == kIdentifyBytes);
static_assert(offsetof(IdentifyController, mdts) == 77 && offsetof(IdentifyController, oacs) == 256);
static_assert(offsetof(IdentifyController, hmpre) == 272 && offsetof(IdentifyController, sqes) == 512);
static_assert(offsetof(IdentifyController, subnqn) == 768 && offsetof(IdentifyController, psd) == 2048);

// I/O Command Set specific Identify Controller for the NVM command set, CNS 06h with CSI 00h. A limit of 0: none is
// reported.
struct IdentifyControllerNvm {
  std::uint8_t vsl;   // Verify: 2^n units of CAP.MPSMIN
  std::uint8_t wzsl;  // Write Zeroes: 2^n units of CAP.MPSMIN
  std::uint8_t wusl;
  std::uint8_t dmrl;    // Dataset Management: ranges of a command
  std::uint32_t dmrsl;  // blocks of a range
  std::uint64_t dmsl;   // blocks of a command
  std::uint8_t reserved16[4080];
};
static_assert(sizeof(IdentifyControllerNvm) == kIdentifyBytes);

// Bits of IdentifyController::oacs and ::oncs.
namespace oacs {
inline constexpr std::uint16_t kNamespaceManagement = 1u << 3;
inline constexpr std::uint16_t kDoorbellBufferConfig = 1u << 8;
}  // namespace oacs
namespace oncs {
inline constexpr std::uint16_t kCompare = 1u << 0;
inline constexpr std::uint16_t kWriteUncorrectable = 1u << 1;
inline constexpr std::uint16_t kDatasetManagement = 1u << 2;
inline constexpr std::uint16_t kWriteZeroes = 1u << 3;
inline constexpr std::uint16_t kSaveAndSelect = 1u << 4;
inline constexpr std::uint16_t kTimestamp = 1u << 6;
inline constexpr std::uint16_t kVerify = 1u << 7;
}  // namespace oncs

// LBA Format, NVM command set 1.0c, figure 98.
struct LbaFormat {
  std::uint16_t ms;    // metadata bytes a block
  std::uint8_t lbads;  // a block is 2^n bytes; 0: the format is not there
  std::uint8_t rp;
};
static_assert(sizeof(LbaFormat) == 4);

// Identify Namespace, CNS 00h, NVM command set 1.0c, figure 97.
struct IdentifyNamespace {
  std::uint64_t nsze;  // blocks; 0: the namespace is not active
  std::uint64_t ncap;
  std::uint64_t nuse;
  std::uint8_t nsfeat;
  std::uint8_t nlbaf;  // 0's based
  std::uint8_t flbas;
  std::uint8_t mc;
  std::uint8_t dpc;
  std::uint8_t dps;
  std::uint8_t nmic;
  std::uint8_t rescap;
  std::uint8_t fpi;
  std::uint8_t dlfeat;
  std::uint16_t nawun;
  std::uint16_t nawupf;
  std::uint16_t nacwu;
  std::uint16_t nabsn;
  std::uint16_t nabo;
  std::uint16_t nabspf;
  std::uint16_t noiob;  // blocks; 0: no boundary
  Uint128 nvmcap;
  std::uint16_t npwg;
  std::uint16_t npwa;
  std::uint16_t npdg;
  std::uint16_t npda;
  std::uint16_t nows;
  std::uint16_t mssrl;
  std::uint32_t mcl;
  std::uint8_t msrc;
  std::uint8_t reserved81;
  std::uint8_t nulbaf;
  std::uint8_t reserved83[9];
  std::uint32_t anagrpid;
  std::uint8_t reserved96[3];
  std::uint8_t nsattr;
  std::uint16_t nvmsetid;
  std::uint16_t endgid;
  std::uint8_t nguid[16];
  std::uint8_t eui64[8];
  LbaFormat lbaf[64];
  std::uint8_t vs[3712];
};
static_assert(sizeof(IdentifyNamespace) == kIdentifyBytes);
static_assert(offsetof(IdentifyNamespace, noiob) == 46 && offsetof(IdentifyNamespace, nguid) == 104);
static_assert(offsetof(IdentifyNamespace, lbaf) == 128 && offsetof(IdentifyNamespace, vs) == 384);

// Fields of IdentifyNamespace::flbas: the format's index is high * 16 + low.
namespace flbas {
inline constexpr Field kIndexLow{0, 4};
inline constexpr Field kExtended{4, 1};  // metadata follows each block in the same buffer
inline constexpr Field kIndexHigh{5, 2};
}  // namespace flbas

// The format in use: 6 bits name it, and the table has 64.
constexpr LbaFormat format_of(const IdentifyNamespace& ns) {
  return ns.lbaf[flbas::kIndexHigh.of(ns.flbas) << 4 | flbas::kIndexLow.of(ns.flbas)];
}

// Fields of IdentifyNamespace::nsfeat and ::dps.
namespace nsfeat {
inline constexpr Field kThinp{0, 1};
inline constexpr Field kNsabp{1, 1};
inline constexpr Field kOptperf{4, 1};  // NPWG, NPWA, NPDG, NPDA and NOWS are valid
}  // namespace nsfeat
namespace dps {
inline constexpr Field kPit{0, 3};  // not 0: end-to-end protection is on
}  // namespace dps

// Active Namespace ID list, CNS 02h: ascending, ended by 0.
inline constexpr std::size_t kNsListEntries = 1024;

// Namespace Identification Descriptor, CNS 03h, figure 277. Followed by `nidl` bytes; a list is ended by nidl = 0.
struct NsDescriptor {
  std::uint8_t nidt;
  std::uint8_t nidl;
  std::uint8_t reserved2[2];
};
static_assert(sizeof(NsDescriptor) == 4);

enum class NsIdType : std::uint8_t { eui64 = 1, nguid = 2, uuid = 3, csi = 4 };

// Command Set Identifier (CSI), figure 274; from 3 on, NVMe base 2.1.
enum class CommandSet : std::uint8_t {
  nvm = 0,
  key_value = 1,
  zoned = 2,
  local_memory = 3,
  computational_programs = 4
};

// Primary Controller Capabilities, CNS 14h. VQ: a submission and a completion queue. VI: an interrupt vector.
struct PrimaryControllerCapabilities {
  std::uint16_t cntlid;
  std::uint16_t portid;
  std::uint8_t crt;
  std::uint8_t reserved5[27];
  std::uint32_t vqfrt;   // flexible, in all
  std::uint32_t vqrfa;   // assigned to secondary controllers
  std::uint16_t vqrfap;  // allocated to the primary
  std::uint16_t vqprt;   // the primary's own, which it cannot give away
  std::uint16_t vqfrsm;  // what one secondary may have
  std::uint16_t vqgran;  // preferred step
  std::uint8_t reserved48[16];
  std::uint32_t vifrt;
  std::uint32_t virfa;
  std::uint16_t virfap;
  std::uint16_t viprt;
  std::uint16_t vifrsm;
  std::uint16_t vigran;
  std::uint8_t reserved80[4016];
};
static_assert(sizeof(PrimaryControllerCapabilities) == kIdentifyBytes);
static_assert(offsetof(PrimaryControllerCapabilities, vqfrt) == 32);
static_assert(offsetof(PrimaryControllerCapabilities, vifrt) == 64);

// Bits of PrimaryControllerCapabilities::crt: which kinds of resources are flexible.
namespace crt {
inline constexpr std::uint8_t kVq = 1u << 0;
inline constexpr std::uint8_t kVi = 1u << 1;
}  // namespace crt

// Secondary Controller Entry, and the Secondary Controller List, CNS 15h: those from CDW10.CNTID on, ascending.
struct SecondaryControllerEntry {
  std::uint16_t scid;
  std::uint16_t pcid;
  std::uint8_t scs;  // bit 0: online
  std::uint8_t reserved5[3];
  std::uint16_t vfn;  // from 1; 0: not a virtual function
  std::uint16_t nvq;
  std::uint16_t nvi;
  std::uint8_t reserved14[18];
};
static_assert(sizeof(SecondaryControllerEntry) == 32);

inline constexpr std::size_t kSecondaryEntries = 127;
struct SecondaryControllerList {
  std::uint8_t num;
  std::uint8_t reserved1[31];
  SecondaryControllerEntry entries[kSecondaryEntries];
};
static_assert(sizeof(SecondaryControllerList) == kIdentifyBytes);

// Fields of SecondaryControllerEntry::scs.
namespace scs {
inline constexpr Field kOnline{0, 1};
}  // namespace scs

}  // namespace pollux::nvme
