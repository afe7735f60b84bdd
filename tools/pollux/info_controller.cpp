#include <algorithm>
#include <span>

#include "pollux/driver/controller/identify.hpp"
#include "pollux/driver/spec/identify.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/pollux/info.hpp"
#include "pollux/vfio/pci/pci_config.hpp"

namespace pollux::cli {
namespace {

constexpr std::uint64_t kPageUnitBytes = 4096;  // CAP.MPSMIN, CAP.MPSMAX and CC.MPS count from it: 2^(12 + n)

std::string version_text(std::uint32_t version) {
  return fmt::format("{}.{}.{}", nvme::vs::kMajor.of(version), nvme::vs::kMinor.of(version),
                     nvme::vs::kTertiary.of(version));
}

Tree identity_of(nvme::Controller& controller) {
  const nvme::IdentifyController& identity = controller.identity();
  Tree facts;
  facts["model"] = printable({identity.mn, sizeof identity.mn});
  facts["serial"] = printable({identity.sn, sizeof identity.sn});
  facts["firmware"] = printable({identity.fr, sizeof identity.fr});
  facts["subsystem"] = printable({identity.subnqn, sizeof identity.subnqn});
  facts["vendor"] = fmt::format("{:04x}", identity.vid);
  facts["controller_id"] = identity.cntlid;
  const std::uint64_t page = kPageUnitBytes << nvme::cap::kMpsmin.of(controller.cap());
  facts["max_transfer_bytes"] =
      identity.mdts == 0 || identity.mdts > 32 ? Tree("no limit") : Tree(page << identity.mdts);
  facts["volatile_write_cache"] = (identity.vwc & 1) != 0;
  facts["host_memory_buffer_bytes"] = std::uint64_t{identity.hmpre} * kPageUnitBytes;
  return facts;
}

// A line each: what the drive does otherwise than it says, and whose kind that is, or that the address says so.
Tree quirks_of(nvme::Controller& controller) {
  const auto ids = vfio::read_ids(controller.device());
  const nvme::QuirkRow* const row = ids ? nvme::quirk_row_of(ids->vendor, ids->device) : nullptr;
  Tree lines = Tree::array();
  for (const nvme::QuirkMeaning& one : nvme::quirk_meanings()) {
    if (!controller.quirks().has(one.quirk)) continue;
    const bool is_known = row != nullptr && row->quirks.has(one.quirk);
    lines.push_back(
        {{"name", one.name},
         {"because", is_known ? fmt::format("{}: {}", row->drive, row->why) : std::string("the address says so")},
         {"effect", one.meaning}});
  }
  return lines;
}

Tree cap_of(std::uint64_t cap) {
  using namespace nvme::cap;
  Tree facts;
  facts["value"] = fmt::format("{:#018x}", cap);
  facts["queue_entries"] = kMqes.of(cap) + 1;
  facts["contiguous_queues_required"] = kCqr.of(cap) != 0;
  facts["timeout_ms"] = kTo.of(cap) * kTimeoutUnitMs;
  facts["doorbell_stride_bytes"] = std::uint64_t{4} << kDstrd.of(cap);
  facts["subsystem_reset"] = kNssrs.of(cap) != 0;
  facts["command_sets"] = fmt::format("{:#04x}", kCss.of(cap));
  facts["page_min_bytes"] = kPageUnitBytes << kMpsmin.of(cap);
  facts["page_max_bytes"] = kPageUnitBytes << kMpsmax.of(cap);
  facts["controller_memory_buffer"] = kCmbs.of(cap) != 0;
  facts["persistent_memory_region"] = kPmrs.of(cap) != 0;
  return facts;
}

Tree cc_of(std::uint32_t cc) {
  using namespace nvme::cc;
  Tree facts;
  facts["value"] = fmt::format("{:#010x}", cc);
  facts["enabled"] = kEn.of(cc) != 0;
  facts["command_set"] = kCss.of(cc);
  facts["page_bytes"] = kPageUnitBytes << kMps.of(cc);
  facts["shutdown_notification"] = kShn.of(cc);
  facts["submission_entry_bytes"] = std::uint64_t{1} << kIosqes.of(cc);
  facts["completion_entry_bytes"] = std::uint64_t{1} << kIocqes.of(cc);
  return facts;
}

Tree csts_of(std::uint32_t csts) {
  using namespace nvme::csts;
  Tree facts;
  facts["value"] = fmt::format("{:#010x}", csts);
  facts["ready"] = kRdy.of(csts) != 0;
  facts["fatal"] = kCfs.of(csts) != 0;
  facts["shutdown_status"] = kShst.of(csts);
  facts["subsystem_reset_occurred"] = kNssro.of(csts) != 0;
  facts["processing_paused"] = kPp.of(csts) != 0;
  return facts;
}

Result<void> add_registers(Tree& tree, nvme::Controller& controller) {
  const auto cc = controller.read_register32(nvme::reg::kCc);
  const auto csts = controller.read_register32(nvme::reg::kCsts);
  for (const auto* one : {&cc, &csts})
    if (!*one) return std::unexpected(one->error());
  Tree& facts = tree["registers"];
  facts["CAP"] = cap_of(controller.cap());
  facts["VS"] = fmt::format("{:#010x} (NVMe {})", controller.version(), version_text(controller.version()));
  facts["CC"] = cc_of(*cc);
  facts["CSTS"] = csts_of(*csts);
  return {};
}

// The format in use, as the namespace names it. Every number here was written by the device.
void add_format(Tree& facts, const nvme::IdentifyNamespace& identity) {
  const auto index = nvme::flbas::kIndexHigh.of(identity.flbas) * 16 + nvme::flbas::kIndexLow.of(identity.flbas);
  const nvme::LbaFormat& format = identity.lbaf[index];
  facts["blocks"] = identity.nsze;
  if (format.lbads < 9 || format.lbads > 32) {
    facts["format"] = fmt::format("LBA format {} names a block of 2^{} bytes", index, format.lbads);
    return;
  }
  const std::uint64_t block_bytes = std::uint64_t{1} << format.lbads;
  facts["block_bytes"] = block_bytes;
  if (identity.nsze > UINT64_MAX / block_bytes)
    facts["size"] = "beyond 64 bits";
  else
    facts["size_bytes"] = identity.nsze * block_bytes;
  facts["metadata_bytes"] = std::uint64_t{format.ms};
  facts["protection"] = nvme::dps::kPit.of(identity.dps);
}

// Of namespaces that pollux does not drive, too: what they are. One that cannot be identified costs the others nothing.
Tree namespace_of(nvme::Controller& controller, std::uint32_t nsid) {
  Tree facts;
  facts["nsid"] = nsid;
  const auto descriptors = nvme::namespace_descriptors(controller, nsid);
  const auto set = descriptors ? nvme::command_set(controller, nsid, *descriptors)
                               : Result<nvme::CommandSet>(std::unexpected(descriptors.error()));
  if (!set) {
    facts["error"] = set.error().what;
    return facts;
  }
  facts["command_set"] = nvme::name_of(*set);
  if (*set != nvme::CommandSet::nvm && *set != nvme::CommandSet::zoned) return facts;  // which have blocks
  const auto identified = nvme::identify_namespace(controller, nsid);
  if (!identified) {
    facts["error"] = identified.error().what;
    return facts;
  }
  add_format(facts, *identified);
  const nvme::NamespaceIdentity identity = nvme::identity_of(nsid, *identified, *descriptors);
  const auto add_id = [&](const char* name, std::span<const std::uint8_t> bytes) {
    const bool is_there = std::ranges::any_of(bytes, [](std::uint8_t byte) { return byte != 0; });
    if (is_there) facts[name] = fmt::format("{:02x}", fmt::join(bytes, ""));
  };
  add_id("NGUID", identity.nguid);
  add_id("EUI64", identity.eui64);
  add_id("UUID", identity.uuid);
  return facts;
}

Result<void> add_namespaces(Tree& tree, nvme::Controller& controller) {
  const auto active = nvme::active_namespaces(controller);
  if (!active) return std::unexpected(active.error());
  Tree rows = Tree::array();
  for (const std::uint32_t nsid : *active) rows.push_back(namespace_of(controller, nsid));
  tree["namespaces"] = rows;
  return {};
}

}  // namespace

Result<void> add_controller(Tree& tree, nvme::Controller& controller) {
  tree["controller"] = identity_of(controller);
  if (const Tree quirks = quirks_of(controller); !quirks.empty()) tree["quirks"] = quirks;
  if (auto added = add_registers(tree, controller); !added) return added;
  tree["queues"] = {{"io_queue_pairs_granted", controller.io_queue_limit()},
                    {"entries_max", nvme::cap::kMqes.of(controller.cap()) + 1}};
  return add_namespaces(tree, controller);
}

}  // namespace pollux::cli
