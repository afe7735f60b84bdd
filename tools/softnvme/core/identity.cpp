#include "pollux/tools/softnvme/core/identity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "pollux/driver/spec/async_event.hpp"
#include "pollux/tools/softnvme/core/events.hpp"
#include "pollux/tools/softnvme/core/logs.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::uint32_t kVersion = 0x0002'0000;
constexpr std::uint32_t kMicrosecondsPerSecond = 1'000'000;
constexpr std::uint8_t kLpaCommandsSupported = 1u << 1;
constexpr std::uint8_t kLpaExtendedData = 1u << 2;
constexpr std::uint8_t kFrmwSlot1ReadOnly = 1u << 0;
constexpr std::uint8_t kFrmwOneSlot = 1u << 1;
constexpr std::uint8_t kVwcPresent = 1u << 0;
constexpr std::uint8_t kVwcFlushAll = 3u << 1;  // Flush takes NSID FFFFFFFFh
constexpr std::uint8_t kDlfeatReadsZeros = 1;
constexpr std::uint8_t kDlfeatWriteZeroesDeac = 1u << 3;

// ASCII fields are padded with spaces (1.8).
template <std::size_t N>
void put_ascii(char (&field)[N], std::string_view text) {
  std::fill(std::begin(field), std::end(field), ' ');
  std::copy_n(text.begin(), std::min(N, text.size()), field);
}

}  // namespace

nvme::IdentifyController identify_controller(const Config& config) {
  nvme::IdentifyController id{};
  id.vid = id.ssvid = kVendorId;
  put_ascii(id.sn, config.serial);
  put_ascii(id.mn, kModel);
  put_ascii(id.fr, kFirmware);
  id.mdts = config.mdts;
  id.cntlid = 1;
  id.ver = kVersion;
  id.rtd3r = id.rtd3e = 5 * kMicrosecondsPerSecond;
  id.oaes = nvme::async_event_configuration::kNamespaceAttribute;
  id.cntrltype = 1;  // I/O controller
  if (config.shadow_doorbells) id.oacs = nvme::oacs::kDoorbellBufferConfig;
  id.acl = kAbortLimit;
  id.aerl = static_cast<std::uint8_t>(Events::kMaxRequests - 1);
  id.frmw = kFrmwSlot1ReadOnly | kFrmwOneSlot;
  id.lpa = kLpaCommandsSupported | kLpaExtendedData;
  id.elpe = static_cast<std::uint8_t>(kErrorLogEntries - 1);
  id.wctemp = 343;
  id.cctemp = 353;
  id.hmpre = kHmbPreferredUnits;
  id.hmmin = kHmbMinimumUnits;
  id.hmmaxd = kHmbMaxDescriptors;
  id.sqes = 0x66;  // 64 bytes, required and maximum
  id.cqes = 0x44;  // 16 bytes
  for (const NamespaceConfig& ns : config.namespaces) {
    id.nn = std::max(id.nn, ns.nsid);
    id.tnvmcap.low += ns.block_count * ns.block_size_bytes;
  }
  id.oncs = nvme::oncs::kCompare | nvme::oncs::kDatasetManagement | nvme::oncs::kWriteZeroes |
            nvme::oncs::kSaveAndSelect | nvme::oncs::kVerify;
  id.vwc = config.volatile_write_cache ? kVwcPresent | kVwcFlushAll : kVwcFlushAll;
  // The form for PCI functions without a name of their own (4.5): vendor, subsystem vendor, serial, model.
  const std::string nqn = fmt::format("nqn.2014.08.org.nvmexpress:{:04x}{:04x}{:<20}{:<40}", kVendorId, kVendorId,
                                      std::string_view(config.serial).substr(0, sizeof id.sn), kModel);
  std::copy_n(nqn.begin(), std::min(nqn.size(), sizeof id.subnqn - 1), id.subnqn);
  id.psd[0].mp = 500;  // centiwatts
  return id;
}

nvme::IdentifyControllerNvm identify_nvm() {
  nvme::IdentifyControllerNvm id{};
  id.wzsl = kWzsl;
  id.dmrl = kDmrl;
  id.dmrsl = kDmrsl;
  id.dmsl = kDmsl;
  return id;
}

nvme::IdentifyNamespace identify_namespace(const NamespaceConfig& ns) {
  nvme::IdentifyNamespace id{};
  id.nsze = id.ncap = id.nuse = ns.block_count;
  id.dlfeat = kDlfeatReadsZeros | kDlfeatWriteZeroesDeac;
  id.nvmcap.low = ns.block_count * ns.block_size_bytes;
  id.lbaf[0].lbads = static_cast<std::uint8_t>(std::countr_zero(ns.block_size_bytes));
  return id;
}

void namespace_ids(const Config& config, std::uint32_t nsid, std::span<std::uint8_t, 16> nguid,
                   std::span<std::uint8_t, 8> eui64) {
  // FNV-1a of the serial number: the same drive keeps its identifiers, two drives differ.
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : config.serial) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100'0000'01b3;
  std::memcpy(nguid.data(), &hash, sizeof hash);
  std::memcpy(nguid.data() + 12, &nsid, sizeof nsid);
  nguid[8] = 0x02;  // a locally administered OUI
  hash ^= std::uint64_t{nsid} << 32;
  std::memcpy(eui64.data(), &hash, sizeof hash);
  eui64[0] = 0x02;
}

}  // namespace pollux::softnvme
