// Submission queue entries and the commands that pollux and the software controller know.
// NVMe base 2.0c, 3.3.3.1 (common format), 5 (admin commands); NVM command set 1.0c, 3.2 (I/O commands).
#pragma once

#include <cstddef>
#include <cstdint>

#include "pollux/driver/spec/field.hpp"

namespace pollux::nvme {

struct alignas(64) Command {
  std::uint32_t cdw0 = 0;  // opcode, FUSE, PSDT, CID
  std::uint32_t nsid = 0;
  std::uint32_t cdw2 = 0;
  std::uint32_t cdw3 = 0;
  std::uint64_t mptr = 0;
  std::uint64_t prp1 = 0;  // with PSDT set: the SGL descriptor's first half
  std::uint64_t prp2 = 0;
  std::uint32_t cdw10 = 0;
  std::uint32_t cdw11 = 0;
  std::uint32_t cdw12 = 0;
  std::uint32_t cdw13 = 0;
  std::uint32_t cdw14 = 0;
  std::uint32_t cdw15 = 0;
};
static_assert(sizeof(Command) == 64);
static_assert(offsetof(Command, mptr) == 16 && offsetof(Command, prp1) == 24 && offsetof(Command, cdw10) == 40);

// CDW0, figure 88.
namespace cdw0 {
inline constexpr Field kOpcode{0, 8};
inline constexpr Field kFuse{8, 2};
inline constexpr Field kPsdt{14, 2};
inline constexpr Field kCid{16, 16};
}  // namespace cdw0

// FFFFh never names a command: Error Information logs use it for "none" (5.16.1.2).
inline constexpr std::uint16_t kCidReserved = 0xffff;
inline constexpr std::uint32_t kNsidAll = 0xffff'ffff;

// Figure 138.
enum class AdminOpcode : std::uint8_t {
  delete_sq = 0x00,
  create_sq = 0x01,
  get_log_page = 0x02,
  delete_cq = 0x04,
  create_cq = 0x05,
  identify = 0x06,
  abort = 0x08,
  set_features = 0x09,
  get_features = 0x0a,
  async_event_request = 0x0c,
  namespace_management = 0x0d,
  firmware_commit = 0x10,
  namespace_attachment = 0x15,
  virtualization_management = 0x1c,
  doorbell_buffer_config = 0x7c,
  format_nvm = 0x80,
  sanitize = 0x84,
};

// NVM command set 1.0c, figure 14.
enum class IoOpcode : std::uint8_t {
  flush = 0x00,
  write = 0x01,
  read = 0x02,
  write_uncorrectable = 0x04,
  compare = 0x05,
  write_zeroes = 0x08,
  dataset_management = 0x09,
  verify = 0x0c,
};

// Create I/O Completion Queue, 5.4; Create I/O Submission Queue, 5.5; the Delete commands, 5.6 and 5.7.
namespace create_queue {
inline constexpr Field kQid{0, 16};     // CDW10
inline constexpr Field kQsize{16, 16};  // CDW10, 0's based
inline constexpr Field kPc{0, 1};       // CDW11
inline constexpr Field kIen{1, 1};      // CDW11 of a completion queue
inline constexpr Field kIv{16, 16};     // CDW11 of a completion queue
inline constexpr Field kQprio{1, 2};    // CDW11 of a submission queue
inline constexpr Field kCqid{16, 16};   // CDW11 of a submission queue
}  // namespace create_queue

// Identify, 5.17. CDW10.
namespace identify {
inline constexpr Field kCns{0, 8};
inline constexpr Field kCntid{16, 16};
inline constexpr Field kCsi{24, 8};  // CDW11; 00h: the NVM command set
}  // namespace identify

enum class Cns : std::uint8_t {
  ns = 0x00,
  controller = 0x01,
  active_ns_list = 0x02,
  ns_descriptors = 0x03,
  command_set_controller = 0x06,
  command_set_active_ns_list = 0x07,
  allocated_ns_list = 0x10,
  primary_controller_capabilities = 0x14,
  secondary_controller_list = 0x15,
};

// Get Log Page, 5.16. CDW10 and CDW11.
namespace get_log {
inline constexpr Field kLid{0, 8};
inline constexpr Field kRae{15, 1};
inline constexpr Field kNumdl{16, 16};  // 0's based count of dwords, low half
inline constexpr Field kNumdu{0, 16};   // CDW11, high half
}  // namespace get_log

enum class LogId : std::uint8_t {
  supported = 0x00,
  error_information = 0x01,
  smart = 0x02,
  firmware_slot = 0x03,
  changed_ns_list = 0x04,
  commands_supported = 0x05,
};

// Get and Set Features, 5.15 and 5.27. CDW10.
namespace features {
inline constexpr Field kFid{0, 8};
inline constexpr Field kSel{8, 3};     // Get Features
inline constexpr Field kSv{31, 1};     // Set Features
inline constexpr Field kNcqr{16, 16};  // Number of Queues, CDW11 and completion dword 0: completion queues, 0's based
inline constexpr Field kNsqr{0, 16};   // submission queues, 0's based
}  // namespace features

enum class FeatureId : std::uint8_t {
  arbitration = 0x01,
  power_management = 0x02,
  temperature_threshold = 0x04,
  error_recovery = 0x05,
  volatile_write_cache = 0x06,
  number_of_queues = 0x07,
  interrupt_coalescing = 0x08,
  interrupt_vector_configuration = 0x09,
  write_atomicity = 0x0a,
  async_event_configuration = 0x0b,
  host_memory_buffer = 0x0d,
  timestamp = 0x0e,
};

// Abort, 5.1. CDW10; completion dword 0.
namespace abort_command {
inline constexpr Field kSqid{0, 16};
inline constexpr Field kCid{16, 16};
inline constexpr Field kNotAborted{0, 1};
}  // namespace abort_command

// What changes namespaces: Format NVM, 5.14; Sanitize, 5.24; Namespace Management and Attachment, 5.23 and 5.22;
// Firmware Commit, 5.12. CDW10.
namespace format_command {
inline constexpr Field kSes{9, 3};  // secure erase; 0: none
}  // namespace format_command
namespace sanitize_command {
inline constexpr Field kSanact{0, 3};
inline constexpr std::uint32_t kExitFailureMode = 1;
}  // namespace sanitize_command
namespace namespace_management {
inline constexpr Field kSel{0, 4};
inline constexpr std::uint32_t kDelete = 1;  // 0: create
inline constexpr std::uint32_t kDetach = 1;  // of Namespace Attachment; 0: attach
}  // namespace namespace_management
namespace firmware_commit {
inline constexpr Field kCa{3, 3};
inline constexpr std::uint32_t kActivateNow = 3;  // without a reset
}  // namespace firmware_commit

// Virtualization Management, 5.28. CDW10 and CDW11; completion dword 0.
namespace virtualization {
inline constexpr Field kAct{0, 4};
inline constexpr Field kRt{8, 3};  // resource type
inline constexpr Field kCntlid{16, 16};
inline constexpr Field kNr{0, 16};   // CDW11, number of resources
inline constexpr Field kNrm{0, 16};  // completion dword 0, number of resources modified
}  // namespace virtualization

enum class VirtualizationAction : std::uint8_t {
  primary_flexible_allocation = 0x1,
  secondary_offline = 0x7,
  secondary_assign = 0x8,
  secondary_online = 0x9,
};

enum class ResourceType : std::uint8_t { vq = 0, vi = 1 };

// Read, Write, Write Zeroes: CDW12 (NVM command set 1.0c, 3.2.4, 3.2.6, 3.2.8). CDW10 and CDW11 hold the starting LBA.
namespace rw {
inline constexpr Field kNlb{0, 16};   // 0's based
inline constexpr Field kDeac{25, 1};  // Write Zeroes
inline constexpr Field kPrinfo{26, 4};
inline constexpr Field kFua{30, 1};
inline constexpr Field kLr{31, 1};
inline constexpr std::uint32_t kMaxBlocks = 1u << 16;
}  // namespace rw

// Dataset Management, NVM command set 1.0c, 3.2.3.
namespace dsm {
inline constexpr Field kNr{0, 8};  // CDW10, ranges, 0's based
inline constexpr Field kAd{2, 1};  // CDW11, deallocate
inline constexpr std::uint32_t kMaxRanges = 256;
}  // namespace dsm

struct DsmRange {
  std::uint32_t context_attributes = 0;
  std::uint32_t blocks = 0;  // not 0's based
  std::uint64_t slba = 0;
};
static_assert(sizeof(DsmRange) == 16);

}  // namespace pollux::nvme
